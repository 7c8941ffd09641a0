-- Counts what others have changed since a device last pulled.
--
-- $1 scope text, $2 device_id text, $3 where to stop counting bigint
-- Row: last_seen_at timestamptz (null: never seen), waiting bigint
select
    device.last_seen_at,
    (
        select count(*)
        from (
            select
            from entities as entity
            where entity.scope = $1
                and entity.revision > coalesce(device.pulled_revision, 0)
                and entity.device_id <> $2
            limit $3
        ) as changed
    ) as waiting
from (select $2::text as device_id) as asked
left join devices as device
    on device.scope = $1
    and device.device_id = asked.device_id
