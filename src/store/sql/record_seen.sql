-- Remembers that devices were here, and how far they have got.
--
-- $1 scope text[], $2 device_id text[], $3 seen_at timestamptz[],
-- $4 pulled_revision bigint[] (null: did not pull), $5 how many devices a scope may have bigint
-- Count: one per device; none for a new one of a scope that has as many as it may, and for those of deleted
-- accounts. Behind share_registry.sql.
insert into devices as known (
    scope, device_id, pending_count, first_seen_at, last_seen_at, pulled_revision
)
select seen.scope, seen.device_id, 0, seen.seen_at, seen.seen_at, seen.pulled_revision
from (
    -- Those before it in this statement, known or new, are counted with it: a new one that finds no
    -- room for that is remembered the next time.
    select scope, device_id, seen_at, pulled_revision,
        row_number() over (partition by scope order by device_id) as place
    from unnest($1::text[], $2::text[], $3::timestamptz[], $4::bigint[])
        as seen (scope, device_id, seen_at, pulled_revision)
) as seen
where (
        select true
        from erasures
        where scope_digest = sha256(convert_to(seen.scope, 'UTF8'))
        limit 1
    ) is null
    and (exists (
        select
        from devices as old
        where old.scope = seen.scope
            and old.device_id = seen.device_id
    )
    or (
        select count(*) filter (where old.revoked_at is null) + seen.place <= $5
            and (count(*) + seen.place) / 10 < $5
        from devices as old
        where old.scope = seen.scope
    ))
on conflict on constraint devices_pkey do update
set last_seen_at = greatest(excluded.last_seen_at, known.last_seen_at),
    pulled_revision = coalesce(excluded.pulled_revision, known.pulled_revision)
