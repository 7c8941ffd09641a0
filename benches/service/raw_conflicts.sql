-- The durable work of a push whose items are all conflicts for the person, and what the answer tells, in the
-- fastest way known: one statement, one round trip, one commit.
--
-- $1 scope text, $2 device_id text
-- $3 entity_id uuid[], $4 base version integer[], $5 data text[] (JSON), $6 mutation_id uuid[],
-- $7 conflict_id uuid[]: of each entity the same each time
-- Rows: one per item: the stored copy and the base.
with item as (
    select *
    from unnest($3::uuid[], $4::integer[], $5::text[], $6::uuid[], $7::uuid[])
        with ordinality as item (entity_id, base, data, mutation_id, conflict_id, ordinal)
),
moved as (
    update scopes
    set revision = revision + cardinality($3::uuid[]),
        inbox_revision = revision + cardinality($3::uuid[])
    where scope = $1
    returning revision - cardinality($3::uuid[]) as before
),
found as (
    select item.*, entity.version, entity.data::text as copy, old.data::text as base_data
    from item
    join entities as entity
        on entity.scope = $1
        and entity.entity_type = 'workout'
        and entity.entity_id = item.entity_id
        and entity.version > item.base
    join entity_versions as old
        on old.scope = $1
        and old.entity_type = 'workout'
        and old.entity_id = item.entity_id
        and old.version = item.base
),
kept as (
    insert into losing_sides (
        scope, entity_type, entity_id, mutation_id, conflict_id, device_id, base_version, server_version,
        deleted, data, data_bytes, content_id, edit_time, received_at
    )
    select
        $1, 'workout', entity_id, mutation_id, conflict_id, $2, base, version, false, data::jsonb,
        octet_length(data::jsonb::text), mutation_id, now(), now()
    from found
),
written as (
    insert into conflicts as known (
        scope, conflict_id, kind, entity_type, entity_id, device_id, mutation_id, base_version,
        server_version, rule, asked, open, revision, opened_at
    )
    select
        $1, found.conflict_id, 'edit', 'workout', found.entity_id, $2, found.mutation_id, found.base,
        found.version, 8, true, true, moved.before + found.ordinal, now()
    from found, moved
    on conflict on constraint conflicts_pkey do update
    set mutation_id = excluded.mutation_id,
        base_version = excluded.base_version,
        server_version = excluded.server_version,
        revision = excluded.revision
)
select version, copy, base_data
from found
order by ordinal
