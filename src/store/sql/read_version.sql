-- Reads what an entity held at one version.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 version integer
-- Row: deleted boolean, data text (null: a tombstone, or removed by retention).
-- The last column of the key is looked for as a range: see read_written.sql.
select deleted, data::text as data
from entities
where scope = $1
    and entity_type = $2
    and entity_id = $3
    and version = $4
union all
(
    select deleted, data::text
    from entity_versions
    where scope = $1
        and entity_type = $2
        and entity_id = $3
        and version between $4 and $4
    order by version
    limit 1
)
