-- Counts what others have changed since a device last pulled.
--
-- $1 scope text, $2 device_id text, $3 how many changes to look at bigint
-- Row: last_seen_at timestamptz (null: never seen), waiting bigint,
-- open_conflicts integer
-- The revision is a case and no coalesce, which Postgres asks only of rows that the policies have let pass: it would
-- not look changes up by it but read them from the first.
select
    device.last_seen_at,
    (
        select count(*) filter (where changed.device_id <> $2)
        from (
            select entity.device_id
            from entities as entity
            where entity.scope = $1
                and entity.revision > 0
                and entity.revision > case when device.pulled_revision is null then 0 else device.pulled_revision end
            order by entity.revision
            limit $3
        ) as changed
    ) as waiting,
    coalesce((select open_conflicts from scopes where scope = $1), 0) as open_conflicts
from (select $2::text as device_id) as asked
left join devices as device
    on device.scope = $1
    and device.device_id = asked.device_id
