-- Lists the live entities of one type.
--
-- $1 scope text, $2 entity_type text
-- Rows: entity_id uuid
select entity_id
from entities
where scope = $1
    and entity_type = $2
    and not deleted
