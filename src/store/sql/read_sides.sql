-- Reads the losing sides of a conflict, the newest first.
--
-- $1 scope text, $2 conflict_id uuid, $3 how many at most bigint
-- Rows: all columns of each side, and device_label text.
select
    side.entity_type,
    side.entity_id,
    side.mutation_id,
    side.conflict_id,
    side.device_id,
    side.base_version,
    side.server_version,
    side.data::text as data,
    side.edit_time,
    side.received_at,
    device.label as device_label
from losing_sides as side
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = side.device_id
    limit 1
) as device on true
where side.scope = $1
    and side.conflict_id = $2
order by side.received_at desc, side.mutation_id
limit $3
