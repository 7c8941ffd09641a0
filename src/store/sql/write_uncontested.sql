-- Writes a batch that nothing stands in the way of: all of it, or nothing.
--
-- $1 scope text, $2 device_id text, $3 now timestamptz: of the batch
-- $4 entity_type text[], $5 entity_id uuid[], $6 base integer[] (0: a new entity), $7 data text[] (JSON; null
-- for a tombstone), $8 mutation_id uuid[], $9 edit_time timestamptz[], $10 clock_offset_ms bigint[],
-- $11 began_at timestamptz[], $12 rule smallint[], $13 from timestamptz[], $14 until timestamptz[] (null: it may
-- have neighbours): one per entity, no entity twice
-- $15 how many entities the scope may hold bigint
-- $16 label text, $17 platform text, $18 app_version text, $19 pending_count integer, $20 batch_number bigint,
-- $21 batch_digest uuid: of the device, see record_device.sql
-- Row: revision bigint (the scope's before; null: something stands in the way, nothing was written), how many
-- rows were kept, updated, inserted, moved bigint; and what read_standing.sql reads, as it was before. Always one.
-- In a LATER statement than the one that locks the scope: what it finds stays as it is until it writes.
-- Lateral, with a limit, and rows by their place (ctid): see read_written.sql and update_entities.sql.
with new as materialized (
    select
        entity_type, entity_id, base, data, mutation_id, edit_time, clock_offset_ms,
        began_at, rule, from_time, until_time, ordinal
    from unnest(
        $4::text[], $5::uuid[], $6::integer[], $7::text[], $8::uuid[], $9::timestamptz[], $10::bigint[],
        $11::timestamptz[], $12::smallint[], $13::timestamptz[], $14::timestamptz[]
    ) with ordinality as new (
        entity_type, entity_id, base, data, mutation_id, edit_time, clock_offset_ms,
        began_at, rule, from_time, until_time, ordinal
    )
),
found as materialized (
    select
        new.ordinal, entity.place, entity.scope, entity.entity_type, entity.entity_id, entity.version,
        entity.revision, entity.deleted, entity.data, entity.resolution, entity.device_id,
        entity.foreign_version, entity.mutation_id, entity.edit_time, entity.cause, entity.rule, entity.policy,
        entity.updated_at
    from new
    cross join lateral (
        select
            ctid as place, scope, entity_type, entity_id, version, revision, deleted, data, resolution,
            device_id, foreign_version, mutation_id, edit_time, cause, rule, policy, updated_at
        from entities
        where scope = $1
            and entity_type = new.entity_type
            and entity_id = new.entity_id
        limit 1
    ) as entity
),
gate as materialized (
    select revision
    from scopes
    where scope = $1
        and open_conflicts = 0
        and entities + (select count(*) from new where base = 0) <= $15
        and exists (
            select
            from devices
            where scope = $1
                and device_id = $2
                and revoked_at is null
                and ($20::bigint is null or batch_number < $20)
        )
        and not exists (
            select
            from new
            left join found using (ordinal)
            where coalesce(found.version, 0) <> new.base
                or found.deleted
                or found.mutation_id = new.mutation_id
        )
        and not exists (
            select
            from new
            cross join lateral (
                select
                from entity_versions
                where scope = $1
                    and entity_type = new.entity_type
                    and entity_id = new.entity_id
                    and mutation_id = new.mutation_id
                limit 1
            ) as written
            where new.base > 0
        )
        and not exists (
            select
            from new
            cross join lateral (
                select
                from entities
                where scope = $1
                    and entity_type = new.entity_type
                    and began_at between new.from_time and new.until_time
                    and began_at is not null
                    and not deleted
                limit 1
            ) as neighbour
            where new.from_time is not null
        )
),
kept as (
    insert into entity_versions (
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, cause, rule, policy, updated_at
    )
    select
        found.scope, found.entity_type, found.entity_id, found.version, found.revision, found.deleted, found.data,
        found.resolution, found.device_id, found.mutation_id, found.edit_time, found.cause, found.rule,
        found.policy, found.updated_at
    from gate
    cross join found
    returning 1
),
updated as (
    update entities as entity
    set version = new.base + 1,
        revision = gate.revision + new.ordinal,
        deleted = new.data is null,
        data = new.data::jsonb,
        data_bytes = coalesce(octet_length(new.data::jsonb::text), 0),
        resolution = 'applied',
        device_id = $2,
        foreign_version = case when found.device_id = $2 then found.foreign_version else found.version end,
        mutation_id = new.mutation_id,
        base_version = new.base,
        edit_time = new.edit_time,
        clock_offset_ms = new.clock_offset_ms,
        began_at = new.began_at,
        cause = 'push',
        rule = new.rule,
        policy = null,
        updated_at = $3
    from gate
    cross join new
    join found using (ordinal)
    where entity.ctid = found.place
        and (entity.scope, entity.version) is not distinct from ($1, new.base)
    returning 1
),
inserted as (
    insert into entities (
        scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
        device_id, foreign_version, mutation_id, base_version, edit_time, clock_offset_ms, began_at,
        cause, rule, policy, created_at, updated_at
    )
    select
        $1, new.entity_type, new.entity_id, 1, gate.revision + new.ordinal, false,
        new.data::jsonb, octet_length(new.data::jsonb::text), 'applied',
        $2, 0, new.mutation_id, 0, new.edit_time, new.clock_offset_ms, new.began_at,
        'push', new.rule, null, $3, $3
    from gate
    cross join new
    where new.base = 0
    returning 1
),
moved as (
    update scopes
    set revision = scopes.revision + (select count(*) from new),
        entities = entities + (select count(*) from new where base = 0)
    from gate
    where scope = $1
    returning 1
),
recorded as (
    update devices as device
    set label = coalesce($16, device.label),
        platform = coalesce($17, device.platform),
        app_version = coalesce($18, device.app_version),
        pending_count = coalesce($19, device.pending_count),
        last_seen_at = greatest($3, device.last_seen_at),
        batch_number = coalesce($20, device.batch_number),
        batch_digest = coalesce($21, device.batch_digest)
    from gate
    where device.scope = $1
        and device.device_id = $2
        and (
            (
                coalesce($16, device.label),
                coalesce($17, device.platform),
                coalesce($18, device.app_version),
                coalesce($19, device.pending_count),
                coalesce($20, device.batch_number)
            ) is distinct from (
                device.label, device.platform, device.app_version, device.pending_count, device.batch_number
            )
            or $3 >= device.last_seen_at + interval '1 minute'
        )
)
select
    gate.revision,
    (select count(*) from kept) as kept,
    (select count(*) from updated) as updated,
    (select count(*) from inserted) as inserted,
    (select count(*) from moved) as moved,
    device.revoked_at,
    nullif(device.batch_number, 0) as batch_number,
    device.batch_digest,
    account.plan,
    account.expires_at,
    exists (
        select
        from erasures
        where scope_digest = sha256(convert_to($1, 'UTF8'))
    ) as erased
from (select $2::text as device_id) as asked
left join gate on true
left join devices as device
    on device.scope = $1
    and device.device_id = asked.device_id
left join accounts as account on account.scope = $1
