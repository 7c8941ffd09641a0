-- Finds what the mutations of a batch wrote before (rule 1).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: one per item
-- $5 bigint: how many bytes of data to read
-- Rows: one per item whose mutation has written a version of its entity. Data is read only where it was
-- merged; beyond $5 bytes it is withheld, except for the first.
-- Lateral, with a limit: one index look-up per item whatever the planner believes of the tables, which
-- on a young database is nothing; a join might read the whole history of the scope.
-- Elsewhere the last column of a key is looked for as a range of one, in order: for a value alone, another
-- index that begins with the same columns is as good to a planner that does not know how many versions or
-- losing sides an entity has, and reads them all.
with found as (
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
),
measured as (
    select
        found.*,
        octet_length(data) as size,
        sum(octet_length(data)) over (order by ordinal) as so_far
    from found
)
select
    ordinal,
    version,
    resolution,
    updated_at,
    edit_time,
    coalesce(so_far > $5 and so_far > size, false) as withheld,
    case when so_far <= $5 or so_far <= size then data end as data
from measured
