-- Batches of one scope that meet nothing, written together by their items.
--
-- What several devices of a user send at the same time was written one batch after the other, each with a dozen
-- statements of its own. Written as if all of it were one batch an item takes less than half the time. This replaces
-- write_uncontested (0009_uncontested.sql); an instance of before takes the long way until it is stopped.

drop function write_uncontested;

-- Writes batches of one scope that nothing stands in the way of: each batch completely, or nothing of it.
--
-- own_scope: whose. The wall is set to it, for what follows in the transaction too.
-- entities_max: how many entities the scope may hold. must_be_paid: the account has to have a subscription.
-- Of the batches, each of another device, no entity in two of them, only the first with something new that may have
-- neighbours: device_ids, ats (their times), ends (how many items there are up to the end of each); and of their
-- devices, see record_device.sql: labels, platforms, app_versions, pending_counts, batch_numbers, batch_digests.
-- Of the items, one per entity: batches (which one, from 1), entity_types, entity_ids, bases (0: a new entity),
-- documents (JSON; null for a tombstone), mutation_ids, edit_times, clock_offsets (in ms), beginnings, rules, froms and
-- untils (null: it may have neighbours).
-- Result: for each batch the scope's revision before it; null: something stands in its way, nothing of it was
-- written. That the scope is locked just now is such a thing: nobody waits here, so many scopes can be written in one
-- transaction.
create function write_batches(
    own_scope text, entities_max bigint, must_be_paid boolean,
    device_ids text[], ats timestamptz[], ends integer[],
    labels text[], platforms text[], app_versions text[], pending_counts integer[],
    batch_numbers bigint[], batch_digests uuid[],
    batches integer[], entity_types text[], entity_ids uuid[], bases integer[], documents text[], mutation_ids uuid[],
    edit_times timestamptz[], clock_offsets bigint[], beginnings timestamptz[], rules smallint[],
    froms timestamptz[], untils timestamptz[]
) returns bigint[]
language plpgsql
as $$
declare
    together constant integer := cardinality(device_ids);
    items constant integer := cardinality(entity_ids);
    nothing constant bigint[] := array_fill(null::bigint, array[together]);
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
    results bigint[];
    first integer;
    last integer;
    nth integer;
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
        return nothing;
    end if;
    perform from erasures where scope_digest = sha256(convert_to(own_scope, 'UTF8'));
    if found then
        return nothing;
    end if;

    <<at_once>>
    begin
        if must_be_paid then
            perform
            from accounts
            where scope = own_scope
                and plan = 'premium'
                and (expires_at is null or expires_at > (select max(at) from unnest(ats) as at));
            exit at_once when not found;
        end if;

        if together = 1 then
            select *
            into known
            from devices
            where scope = own_scope and device_id = device_ids[1];
            exit at_once when not found or known.revoked_at is not null or batch_numbers[1] <= known.batch_number;
        else
            select count(*)
            into missed
            from unnest(device_ids, batch_numbers) as its (device_id, batch_number)
            left join lateral (
                select revoked_at, batch_number
                from devices
                where scope = own_scope
                    and device_id = its.device_id
                limit 1
            ) as device on true
            where device.batch_number is null
                or device.revoked_at is not null
                or its.batch_number <= device.batch_number;
            exit at_once when missed > 0;
        end if;

        if items = 1 then
            select version, deleted, mutation_id, foreign_version, device_id
            into found_version, found_deleted, found_mutation, found_foreign, found_device
            from entities
            where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1];
            created := (bases[1] = 0)::integer;
            if coalesce(found_version, 0) <> bases[1] or found_deleted or found_mutation = mutation_ids[1] then
                exit at_once;
            end if;
            if bases[1] > 0 then
                perform
                from entity_versions
                where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1]
                    and mutation_id = mutation_ids[1];
                if found then
                    exit at_once;
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
            from unnest(entity_types, entity_ids, bases, mutation_ids)
                as new (entity_type, entity_id, base, mutation_id)
            left join lateral (
                select version, deleted, mutation_id
                from entities
                where scope = own_scope
                    and entity_type = new.entity_type
                    and entity_id = new.entity_id
                limit 1
            ) as entity on true;
            if missed > 0 then
                exit at_once;
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
                exit at_once;
            end if;
        end if;
        if created > 0 then
            if held + created > entities_max then
                exit at_once;
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
                exit at_once;
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
                device_id = device_ids[1],
                foreign_version = case when found_device = device_ids[1] then found_foreign else found_version end,
                mutation_id = mutation_ids[1],
                base_version = bases[1],
                edit_time = edit_times[1],
                clock_offset_ms = clock_offsets[1],
                began_at = beginnings[1],
                cause = 'push',
                rule = rules[1],
                policy = null,
                updated_at = ats[1]
            where scope = own_scope and entity_type = entity_types[1] and entity_id = entity_ids[1];
            get diagnostics written = row_count;
        else
            written := 0;
            if created < items then
                with new as materialized (
                    select
                        device_ids[new.batch] as device_id, ats[new.batch] as at, new.base,
                        new.document::jsonb as document, new.mutation_id, new.edit_time, new.clock_offset,
                        new.beginning, new.rule, new.ordinal, entity.place
                    from unnest(
                        batches, entity_types, entity_ids, bases, documents, mutation_ids, edit_times, clock_offsets,
                        beginnings, rules
                    ) with ordinality as new (
                        batch, entity_type, entity_id, base, document, mutation_id, edit_time, clock_offset,
                        beginning, rule, ordinal
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
                    device_id = new.device_id,
                    foreign_version = case
                        when entity.device_id = new.device_id then entity.foreign_version
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
                    updated_at = new.at
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
                    device_ids[new.batch], 0, new.mutation_id, 0, new.edit_time, new.clock_offset, new.beginning,
                    'push', new.rule, null, ats[new.batch], ats[new.batch]
                from (
                    select
                        batch, entity_type, entity_id, given::jsonb as document, mutation_id, edit_time, clock_offset,
                        beginning, rule, ordinal
                    from unnest(
                        batches, entity_types, entity_ids, bases, documents, mutation_ids, edit_times, clock_offsets,
                        beginnings, rules
                    ) with ordinality as new (
                        batch, entity_type, entity_id, base, given, mutation_id, edit_time, clock_offset,
                        beginning, rule, ordinal
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

        if together = 1 then
            if (
                    coalesce(labels[1], known.label),
                    coalesce(platforms[1], known.platform),
                    coalesce(app_versions[1], known.app_version),
                    coalesce(pending_counts[1], known.pending_count),
                    coalesce(batch_numbers[1], known.batch_number)
                ) is distinct from (
                    known.label, known.platform, known.app_version, known.pending_count, known.batch_number
                )
                or ats[1] >= known.last_seen_at + interval '1 minute'
            then
                update devices
                set label = coalesce(labels[1], known.label),
                    platform = coalesce(platforms[1], known.platform),
                    app_version = coalesce(app_versions[1], known.app_version),
                    pending_count = coalesce(pending_counts[1], known.pending_count),
                    last_seen_at = greatest(ats[1], known.last_seen_at),
                    batch_number = coalesce(batch_numbers[1], known.batch_number),
                    batch_digest = coalesce(batch_digests[1], known.batch_digest)
                where scope = own_scope and device_id = device_ids[1];
            end if;
        else
            -- Rows of devices are also written without the scope's lock (src/presence.rs): each by its key, from what
            -- it holds when it is free.
            for nth in
                select said.ordinal
                from unnest(
                    device_ids, ats, labels, platforms, app_versions, pending_counts, batch_numbers
                ) with ordinality as said (
                    device_id, at, label, platform, app_version, pending_count, batch_number, ordinal
                )
                cross join lateral (
                    select label, platform, app_version, pending_count, last_seen_at, batch_number
                    from devices
                    where scope = own_scope
                        and device_id = said.device_id
                    limit 1
                ) as device
                where (
                        coalesce(said.label, device.label),
                        coalesce(said.platform, device.platform),
                        coalesce(said.app_version, device.app_version),
                        coalesce(said.pending_count, device.pending_count),
                        coalesce(said.batch_number, device.batch_number)
                    ) is distinct from (
                        device.label, device.platform, device.app_version, device.pending_count, device.batch_number
                    )
                    or said.at >= device.last_seen_at + interval '1 minute'
            loop
                update devices
                set label = coalesce(labels[nth], label),
                    platform = coalesce(platforms[nth], platform),
                    app_version = coalesce(app_versions[nth], app_version),
                    pending_count = coalesce(pending_counts[nth], pending_count),
                    last_seen_at = greatest(ats[nth], last_seen_at),
                    batch_number = coalesce(batch_numbers[nth], batch_number),
                    batch_digest = coalesce(batch_digests[nth], batch_digest)
                where scope = own_scope and device_id = device_ids[nth];
            end loop;
        end if;

        for batch in 1 .. together loop
            results := results || before + coalesce(ends[batch - 1], 0);
        end loop;
        return results;
    end;

    -- Something stands in the way of one batch or more. Which those are each shows by itself.
    if together = 1 then
        return nothing;
    end if;
    for batch in 1 .. together loop
        first := coalesce(ends[batch - 1], 0) + 1;
        last := ends[batch];
        results := results || write_batches(
            own_scope, entities_max, must_be_paid,
            device_ids[batch:batch], ats[batch:batch], array[last - first + 1],
            labels[batch:batch], platforms[batch:batch], app_versions[batch:batch], pending_counts[batch:batch],
            batch_numbers[batch:batch], batch_digests[batch:batch],
            array_fill(1, array[last - first + 1]), entity_types[first:last], entity_ids[first:last], bases[first:last],
            documents[first:last], mutation_ids[first:last], edit_times[first:last], clock_offsets[first:last],
            beginnings[first:last], rules[first:last], froms[first:last], untils[first:last]
        );
    end loop;
    return results;
end
$$;

grant execute on function write_batches to ironflow_sync_service;
