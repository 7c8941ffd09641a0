-- Reads the losing sides of an entity, without what they hold.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 how many at most bigint
-- Rows: one per side, those that met the newest version first.
select
    side.mutation_id, side.conflict_id, side.device_id, side.base_version, side.server_version, side.deleted,
    side.edit_time, side.received_at,
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
    and side.entity_type = $2
    and side.entity_id = $3
order by side.server_version desc, side.mutation_id desc
limit $4
