-- Finds what the mutations of a batch wrote before (rule 1).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: one per item
-- Rows: one per item whose mutation has written a version of its entity; with data only where it was
-- merged.
-- Lateral, with a limit: one index look-up per item whatever the planner believes of the tables, which
-- on a young database is nothing; a join might read the whole history of the scope.
select
    item.ordinal,
    written.version,
    written.resolution,
    written.updated_at,
    written.edit_time,
    case when written.resolution = 'merged' then written.data::text end as data
from unnest($2::text[], $3::uuid[], $4::uuid[])
    with ordinality as item (entity_type, entity_id, mutation_id, ordinal)
cross join lateral (
    (
        select entity.version, entity.resolution, entity.updated_at, entity.edit_time, entity.data
        from entities as entity
        where entity.scope = $1
            and entity.entity_type = item.entity_type
            and entity.entity_id = item.entity_id
            and entity.mutation_id = item.mutation_id
    )
    union all
    (
        select old.version, old.resolution, old.updated_at, old.edit_time, old.data
        from entity_versions as old
        where old.scope = $1
            and old.entity_type = item.entity_type
            and old.entity_id = item.entity_id
            and old.mutation_id = item.mutation_id
    )
    limit 1
) as written
