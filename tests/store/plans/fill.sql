-- $rows more entities of one user, with everything that may hang on one, beside users who have next to nothing.
insert into scopes (scope, revision, entities)
    select scope, 1000000, 10000
    from unnest(array['library', 'user/mia'] || array(
        select 'user/' || number from generate_series(1, 50) as number)) as scope
    on conflict do nothing;
insert into devices (scope, device_id, pending_count, first_seen_at, last_seen_at)
    select scope, 'phone', 0, now(), now()
    from scopes
    on conflict do nothing;
insert into entities (scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
    device_id, foreign_version, mutation_id, edit_time, created_at, updated_at, rule, began_at)
    select 'user/mia', (array['workout', 'superset', 'exercise'])[1 + number % 3], gen_random_uuid(), 2,
        filled.revision + number, number % 4 = 0, case when number % 4 > 0 then '{"title": "x"}'::jsonb end, 20,
        'applied', 'phone', 0, gen_random_uuid(), now(), now(), now(), 3, now()
    from generate_series(1, $rows) as number
    cross join (select coalesce(max(revision), 0) as revision from entities) as filled;
insert into entity_versions (scope, entity_type, entity_id, version, revision, deleted, data, resolution,
    device_id, mutation_id, edit_time, updated_at, rule)
    select scope, entity_type, entity_id, 1, revision, false, '{"title": "x"}', 'applied', 'phone',
        mutation_id, now(), now(), 3
    from entities
    on conflict do nothing;
insert into conflicts (scope, conflict_id, kind, entity_type, entity_id, device_id, mutation_id, base_version,
    server_version, rule, policy, asked, open, revision, opened_at, settlement, settled_by, settled_at)
    select scope, md5(mutation_id::text || open)::uuid, 'edit', entity_type, entity_id, 'phone', mutation_id, 1,
        2, 9, 'ask', true, open, 2 * revision + open::integer, now(), case when not open then 'pushed' end,
        case when not open then 'phone' end, case when not open then now() end
    from entities
    cross join (values (false), (true)) as either (open)
    on conflict do nothing;
insert into losing_sides (scope, entity_type, entity_id, mutation_id, conflict_id, device_id, base_version,
    server_version, deleted, data, data_bytes, content_id, edit_time, received_at)
    select scope, entity_type, entity_id, mutation_id, conflict_id, device_id, 1, 2, false, '{}', 2,
        gen_random_uuid(), now(), now()
    from conflicts
    where open
    on conflict do nothing;
