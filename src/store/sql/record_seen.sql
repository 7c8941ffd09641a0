-- Remembers that devices were here, and how far they have got.
--
-- $1 scope text[], $2 device_id text[], $3 seen_at timestamptz[],
-- $4 pulled_revision bigint[] (null: did not pull)
-- Count: one per device.
insert into devices as known (
    scope, device_id, pending_count, first_seen_at, last_seen_at, pulled_revision
)
select seen.scope, seen.device_id, 0, seen.seen_at, seen.seen_at, seen.pulled_revision
from unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
    as seen (scope, device_id, seen_at, pulled_revision)
on conflict on constraint devices_pkey do update
set last_seen_at = greatest(excluded.last_seen_at, known.last_seen_at),
    pulled_revision = coalesce(excluded.pulled_revision, known.pulled_revision)
