-- Of which types a scope has an entity with this id.
--
-- $1 scope text, $2 entity_types text[]: the types to look for, $3 entity_id uuid
-- Rows: entity_type text, in the order asked
select wanted.entity_type
from unnest($2::text[]) with ordinality as wanted (entity_type, ordinal)
cross join lateral (
    select version
    from entities
    where scope = $1
        and entity_type = wanted.entity_type
        and entity_id = $3
    limit 1
) as found
order by wanted.ordinal
