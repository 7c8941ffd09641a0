-- Finds which items of a batch are kept as losing sides.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: the names items may be kept by,
-- $5 conflict_id uuid[]: the conflict the device itself would have opened with each
-- Rows: one per name that is kept, with its conflict: the device's own if there is one. Another device, or
-- this one under another id, may have sent the same item before.
-- Lateral, with a limit, and the last column of the key as a range: see read_written.sql.
select
    item.ordinal,
    coalesce(own.conflict_id, conflict.conflict_id) as conflict_id,
    side.content_id,
    side.server_version,
    coalesce(own.open, conflict.open) as open,
    coalesce(own.asked, conflict.asked) as asked
from unnest($2::text[], $3::uuid[], $4::uuid[], $5::uuid[])
    with ordinality as item (entity_type, entity_id, mutation_id, own_conflict_id, ordinal)
cross join lateral (
    select conflict_id, content_id, server_version
    from losing_sides
    where scope = $1
        and entity_type = item.entity_type
        and entity_id = item.entity_id
        and mutation_id between item.mutation_id and item.mutation_id
    order by mutation_id
    limit 1
) as side
cross join lateral (
    select conflict_id, open, asked
    from conflicts
    where scope = $1
        and conflict_id = side.conflict_id
    limit 1
) as conflict
left join lateral (
    select conflict_id, open, asked
    from conflicts
    where scope = $1
        and conflict_id = item.own_conflict_id
    limit 1
) as own on true
