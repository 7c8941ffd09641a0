-- Counts what others have changed since a device last pulled.
--
-- $1 scope text, $2 device_id text, $3 how many changes to look at bigint
-- Row: last_seen_at timestamptz (null: never seen), waiting bigint,
-- open_conflicts integer
select
    device.last_seen_at,
    (
        select count(*) filter (where changed.device_id <> $2)
        from (
            select entity.device_id
            from entities as entity
            where entity.scope = $1
                and entity.revision > 0
                and entity.revision > coalesce(device.pulled_revision, 0)
            order by entity.revision
            limit $3
        ) as changed
    ) as waiting,
    coalesce((select open_conflicts from scopes where scope = $1), 0) as open_conflicts
from (select $2::text as device_id) as asked
left join devices as device
    on device.scope = $1
    and device.device_id = asked.device_id
