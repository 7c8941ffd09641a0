-- Remembers the device of a batch: what it is called, when it was last seen, how much it has queued.
--
-- $1 scope text, $2 device_id text, $3 label text, $4 platform text, $5 app_version text,
-- $6 pending_count integer (null: not said this time, what is known stays), $7 now timestamptz,
-- $8 how many devices the scope may have bigint,
-- $9 batch_number bigint, $10 batch_digest uuid (null: it did not count, what is known stays)
-- Row: known boolean; false: the device is new and would be one too many, nothing was written. A device
-- that only says "still here" is written once a minute, so that a replayed batch costs no write.
-- Devices are counted for new ones only. A revoked one makes room, ten times over.
with recorded as (
    insert into devices as known (
        scope, device_id, label, platform, app_version, pending_count, first_seen_at, last_seen_at,
        batch_number, batch_digest
    )
    select $1, $2, $3, $4, $5, coalesce($6, 0), $7, $7, coalesce($9::bigint, 0), $10
    where exists (select from devices where scope = $1 and device_id = $2)
        or (
            select count(*) filter (where revoked_at is null) < $8 and count(*) / 10 < $8
            from devices
            where scope = $1
        )
    on conflict on constraint devices_pkey do update
    set label = coalesce(excluded.label, known.label),
        platform = coalesce(excluded.platform, known.platform),
        app_version = coalesce(excluded.app_version, known.app_version),
        pending_count = coalesce($6, known.pending_count),
        last_seen_at = greatest(excluded.last_seen_at, known.last_seen_at),
        batch_number = coalesce($9, known.batch_number),
        batch_digest = coalesce($10, known.batch_digest)
    where (
            coalesce(excluded.label, known.label),
            coalesce(excluded.platform, known.platform),
            coalesce(excluded.app_version, known.app_version),
            coalesce($6, known.pending_count),
            coalesce($9, known.batch_number)
        ) is distinct from (
            known.label, known.platform, known.app_version, known.pending_count, known.batch_number
        )
        or excluded.last_seen_at >= known.last_seen_at + interval '1 minute'
    returning device_id
)
select exists (select from recorded)
    or exists (select from devices where scope = $1 and device_id = $2) as known
