-- Reads a losing side.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 mutation_id uuid
-- Row: deleted boolean, data text (null: a deletion).
select deleted, data::text as data
from losing_sides
where scope = $1
    and entity_type = $2
    and entity_id = $3
    and mutation_id = $4
