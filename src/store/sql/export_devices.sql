-- Reads a page of a user's devices, by id.
--
-- $1 scope text, $2 device_id text: behind this one (empty: from the first), $3 how many at most bigint
-- Rows: one per device, in order.
select
    device_id, label, platform, app_version, pending_count, first_seen_at, last_seen_at, revoked_at,
    pulled_revision, batch_number, last_errors::text as last_errors
from devices
where scope = $1
    and device_id > $2
order by device_id
limit $3
