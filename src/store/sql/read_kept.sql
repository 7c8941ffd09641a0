-- Finds which items of a batch are kept as losing sides.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: the names items may be kept by
-- Rows: one per name that is kept.
-- Lateral, with a limit: see read_written.sql.
select
    item.ordinal,
    side.conflict_id,
    side.content_id,
    side.server_version,
    conflict.open,
    conflict.asked
from unnest($2::text[], $3::uuid[], $4::uuid[])
    with ordinality as item (entity_type, entity_id, mutation_id, ordinal)
cross join lateral (
    select conflict_id, content_id, server_version
    from losing_sides
    where scope = $1
        and entity_type = item.entity_type
        and entity_id = item.entity_id
        and mutation_id = item.mutation_id
    limit 1
) as side
cross join lateral (
    select open, asked
    from conflicts
    where scope = $1
        and conflict_id = side.conflict_id
    limit 1
) as conflict
