-- Reads the devices of a user.
--
-- $1 scope text, $2 how many at most bigint
-- Rows: one per device, the one seen last first.
select device_id, label, platform, app_version, pending_count, last_seen_at, revoked_at
from devices
where scope = $1
order by last_seen_at desc, device_id
limit $2
