-- Finds devices of all users that seem to be stuck, as the keeper: not revoked, not seen since a time, and with
-- something queued, or far behind what they have pulled.
--
-- $1 seen before timestamptz, $2 revisions behind bigint: more than so many, $3 how many at most bigint
-- Rows: the one seen last first. scope text, device_id text, pending_count integer, last_seen_at timestamptz,
-- behind bigint (null: never pulled), all_stuck bigint: how many there are
select
    device.scope,
    device.device_id,
    device.pending_count,
    device.last_seen_at,
    scopes.revision - device.pulled_revision as behind,
    count(*) over () as all_stuck
from devices as device
join scopes on scopes.scope = device.scope
where device.revoked_at is null
    and device.last_seen_at < $1
    and (device.pending_count > 0 or scopes.revision - device.pulled_revision > $2)
order by device.last_seen_at desc, device.scope, device.device_id
limit $3
