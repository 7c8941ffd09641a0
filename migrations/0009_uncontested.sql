-- Pushes that meet nothing, at the price of their writes.
--
-- A statement with a part for each thing to look at and to write takes longer to start than to run, and most
-- pushes are one item. A function runs only what its batch needs, and each of its statements sees what was
-- committed before it began: so it can lock and look in one call, and several calls fit into one round trip.

-- The same walls (0004_isolation.sql), with the scope as it is in ironflow.scope instead of in hex, and without a
-- sub-select, which was started for each table of each statement and took longer than comparing the rows of a push.
-- Still no `=`. An instance of before would see nothing.
do $$
declare
    scoped name;
    own constant text := 'scope is not distinct from current_setting(''ironflow.scope'', true)';
begin
    foreach scoped in array array[
        'scopes', 'entities', 'entity_versions', 'devices', 'conflicts', 'losing_sides', 'accounts'
    ] loop
        execute format('alter policy own_scope on %I using (%s) with check (%s)', scoped, own, own);
    end loop;
end
$$;

alter policy own_scope on erasures
    using (
        scope_digest is not distinct from sha256(convert_to(current_setting('ironflow.scope', true), 'UTF8'))
    )
    with check (
        scope_digest is not distinct from sha256(convert_to(current_setting('ironflow.scope', true), 'UTF8'))
    );

-- Writes a batch that nothing stands in the way of: all of it, or nothing.
--
-- own_scope: whose. The wall is set to it, for what follows in the transaction too.
-- device: who sent it. at: of the batch. entities_max: how many entities the scope may hold.
-- must_be_paid: the account has to have a subscription.
-- Of the batch, one per entity, no entity twice: bases (0: a new entity), documents (JSON; null for a
-- tombstone), mutation_ids, edit_times, clock_offsets (in ms), beginnings, rules, froms and untils (null: it may
-- have neighbours).
-- Of the device, see record_device.sql: its_label, its_platform, its_app_version, its_pending_count,
-- its_batch_number, its_batch_digest.
-- Result: the scope's revision before; null: something stands in the way, nothing was written. That the scope
-- is locked just now is such a thing: nobody waits here, so many scopes can be written in one transaction.
create function write_uncontested(
    own_scope text, device text, at timestamptz,
    entity_types text[], entity_ids uuid[], bases integer[], documents text[], mutation_ids uuid[],
    edit_times timestamptz[], clock_offsets bigint[], beginnings timestamptz[], rules smallint[],
    froms timestamptz[], untils timestamptz[],
    entities_max bigint, must_be_paid boolean,
    its_label text, its_platform text, its_app_version text, its_pending_count integer,
    its_batch_number bigint, its_batch_digest uuid
) returns bigint
language plpgsql
as $$
declare
    items constant integer := cardinality(entity_ids);
    before bigint;
    held bigint;
    known devices;
    found_version integer;
    found_deleted boolean;
    found_mutation uuid;
    found_foreign integer;
    found_device text;
    document jsonb;
    created integer := 0;
    missed integer;
    written integer;
begin
    perform set_config('ironflow.scope', own_scope, true);

    -- What is found in later statements stays as it is until they write. A scope with an open conflict is not locked,
    -- so there is nothing to commit.
    select revision, entities
    into before, held
    from scopes
    where scope = own_scope and open_conflicts = 0
    for no key update skip locked;
    if not found then
        return null;
    end if;

    select *
    into known
    from devices
    where scope = own_scope and device_id = device;
    if not found or known.revoked_at is not null or its_batch_number <= known.batch_number then
        return null;
    end if;
    perform from erasures where scope_digest = sha256(convert_to(own_scope, 'UTF8'));
    if found then
        return null;
    end if;
    if must_be_paid then
        perform
        from accounts
        where scope = own_scope and plan = 'premium' and (expires_at is null or expires_at > at);
        if not found then
            return null;
        end if;
    end if;

    if items = 1 then
        select version, deleted, mutation_id, foreign_version, device_id
        into found_version, found_deleted, found_mutation, found_foreign, found_device
        from entities
        where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1];
        created := (bases[1] = 0)::integer;
        if coalesce(found_version, 0) <> bases[1] or found_deleted or found_mutation = mutation_ids[1] then
            return null;
        end if;
        if bases[1] > 0 then
            perform
            from entity_versions
            where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1]
                and mutation_id = mutation_ids[1];
            if found then
                return null;
            end if;
        end if;
    else
        select
            count(*) filter (where new.base = 0),
            count(*) filter (
                where coalesce(entity.version, 0) <> new.base
                    or entity.deleted
                    or entity.mutation_id = new.mutation_id
            )
        into created, missed
        from unnest(entity_types, entity_ids, bases, mutation_ids) as new (entity_type, entity_id, base, mutation_id)
        left join lateral (
            select version, deleted, mutation_id
            from entities
            where scope = own_scope
                and entity_type = new.entity_type
                and entity_id = new.entity_id
            limit 1
        ) as entity on true;
        if missed > 0 then
            return null;
        end if;
        perform
        from unnest(entity_types, entity_ids, mutation_ids) as new (entity_type, entity_id, mutation_id)
        cross join lateral (
            select
            from entity_versions
            where scope = own_scope
                and entity_type = new.entity_type
                and entity_id = new.entity_id
                and mutation_id = new.mutation_id
            limit 1
        ) as known_edit
        limit 1;
        if found then
            return null;
        end if;
    end if;
    if created > 0 then
        if held + created > entities_max then
            return null;
        end if;
        perform
        from unnest(entity_types, froms, untils) as new (entity_type, from_time, until_time)
        cross join lateral (
            select
            from entities
            where scope = own_scope
                and entity_type = new.entity_type
                and began_at between new.from_time and new.until_time
                and began_at is not null
                and not deleted
            limit 1
        ) as neighbour
        where new.from_time is not null
        limit 1;
        if found then
            return null;
        end if;
    end if;

    update scopes
    set revision = before + items,
        entities = held + created
    where scope = own_scope;

    if items = 1 and created = 0 then
        insert into entity_versions (
            scope, entity_type, entity_id, version, revision, deleted, data, resolution,
            device_id, mutation_id, edit_time, cause, rule, policy, updated_at
        )
        select
            scope, entity_type, entity_id, version, revision, deleted, data, resolution,
            device_id, mutation_id, edit_time, cause, rule, policy, updated_at
        from entities
        where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1];
        document := documents[1];
        update entities
        set version = bases[1] + 1,
            revision = before + 1,
            deleted = document is null,
            data = document,
            data_bytes = coalesce(octet_length(document::text), 0),
            resolution = 'applied',
            device_id = device,
            foreign_version = case when found_device = device then found_foreign else found_version end,
            mutation_id = mutation_ids[1],
            base_version = bases[1],
            edit_time = edit_times[1],
            clock_offset_ms = clock_offsets[1],
            began_at = beginnings[1],
            cause = 'push',
            rule = rules[1],
            policy = null,
            updated_at = at
        where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1];
        get diagnostics written = row_count;
    else
        written := 0;
        if created < items then
            with new as materialized (
                select
                    new.base, new.document::jsonb as document, new.mutation_id, new.edit_time, new.clock_offset,
                    new.beginning, new.rule, new.ordinal, entity.place
                from unnest(
                    entity_types, entity_ids, bases, documents, mutation_ids, edit_times, clock_offsets, beginnings, rules
                ) with ordinality as new (
                    entity_type, entity_id, base, document, mutation_id, edit_time, clock_offset, beginning, rule, ordinal
                )
                cross join lateral (
                    select ctid as place
                    from entities
                    where scope = own_scope
                        and entity_type = new.entity_type
                        and entity_id = new.entity_id
                    limit 1
                ) as entity
            ),
            kept as (
                insert into entity_versions (
                    scope, entity_type, entity_id, version, revision, deleted, data, resolution,
                    device_id, mutation_id, edit_time, cause, rule, policy, updated_at
                )
                select
                    entity.scope, entity.entity_type, entity.entity_id, entity.version, entity.revision,
                    entity.deleted, entity.data, entity.resolution, entity.device_id, entity.mutation_id,
                    entity.edit_time, entity.cause, entity.rule, entity.policy, entity.updated_at
                from new
                join entities as entity on entity.ctid = new.place
            )
            update entities as entity
            set version = new.base + 1,
                revision = before + new.ordinal,
                deleted = new.document is null,
                data = new.document,
                data_bytes = coalesce(octet_length(new.document::text), 0),
                resolution = 'applied',
                device_id = device,
                foreign_version = case
                    when entity.device_id = device then entity.foreign_version
                    else entity.version
                end,
                mutation_id = new.mutation_id,
                base_version = new.base,
                edit_time = new.edit_time,
                clock_offset_ms = new.clock_offset,
                began_at = new.beginning,
                cause = 'push',
                rule = new.rule,
                policy = null,
                updated_at = at
            from new
            where entity.ctid = new.place;
            get diagnostics written = row_count;
        end if;
        if created > 0 then
            insert into entities (
                scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
                device_id, foreign_version, mutation_id, base_version, edit_time, clock_offset_ms, began_at,
                cause, rule, policy, created_at, updated_at
            )
            select
                own_scope, new.entity_type, new.entity_id, 1, before + new.ordinal, false,
                new.document, octet_length(new.document::text), 'applied',
                device, 0, new.mutation_id, 0, new.edit_time, new.clock_offset, new.beginning,
                'push', new.rule, null, at, at
            from (
                select
                    entity_type, entity_id, given::jsonb as document, mutation_id, edit_time, clock_offset,
                    beginning, rule, ordinal
                from unnest(
                    entity_types, entity_ids, bases, documents, mutation_ids, edit_times, clock_offsets, beginnings, rules
                ) with ordinality as new (
                    entity_type, entity_id, base, given, mutation_id, edit_time, clock_offset, beginning, rule, ordinal
                )
                where base = 0
                offset 0 -- parse each document once
            ) as new;
            get diagnostics missed = row_count;
            written := written + missed;
        end if;
    end if;
    if written <> items then
        raise exception 'wrote % of % entities', written, items;
    end if;

    if (
            coalesce(its_label, known.label),
            coalesce(its_platform, known.platform),
            coalesce(its_app_version, known.app_version),
            coalesce(its_pending_count, known.pending_count),
            coalesce(its_batch_number, known.batch_number)
        ) is distinct from (
            known.label, known.platform, known.app_version, known.pending_count, known.batch_number
        )
        or at >= known.last_seen_at + interval '1 minute'
    then
        update devices
        set label = coalesce(its_label, known.label),
            platform = coalesce(its_platform, known.platform),
            app_version = coalesce(its_app_version, known.app_version),
            pending_count = coalesce(its_pending_count, known.pending_count),
            last_seen_at = greatest(at, known.last_seen_at),
            batch_number = coalesce(its_batch_number, known.batch_number),
            batch_digest = coalesce(its_batch_digest, known.batch_digest)
        where scope = own_scope and device_id = device;
    end if;

    return before;
end
$$;

grant execute on function write_uncontested to ironflow_sync_service;
