-- The heart: one row per scope to lock, one row per entity that is current, one row per version
-- that was superseded, one row per device.
--
-- Every primary key begins with the scope and no constraint crosses scopes, so the same schema can
-- be distributed by scope. Text that identifies is compared byte by byte (collation "C").

-- One order of revisions: `user/<id>` for each user. A push locks its scope's row first, so the
-- revisions of a scope become visible in their order (promise 7).
create table scopes (
    scope    text collate "C" not null,
    -- The last revision given out. It only ever rises, by the push that holds the row's lock.
    revision bigint not null default 0,
    -- How many entities the scope holds, tombstones included: kept, because counting is dear.
    entities bigint not null default 0,

    constraint scopes_pkey primary key (scope),
    constraint scopes_revision_not_negative check (revision >= 0),
    constraint scopes_entities_at_most_revision check (entities between 0 and revision)
) with (fillfactor = 50); -- updated by every push: leave room for in-page (HOT) updates

-- The current version of every entity, tombstones included: a deletion is a state, not an absence,
-- so versions are never used twice (promise 6).
create table entities (
    scope           text collate "C" not null,
    entity_type     text collate "C" not null,
    entity_id       uuid not null,
    -- The lock counter devices base their edits on.
    version         integer not null,
    -- The place of this version in the scope's order of changes.
    revision        bigint not null,
    deleted         boolean not null,
    data            jsonb,
    -- Size of the data written out, 0 for a tombstone: what is read is bounded without unpacking it.
    data_bytes      integer not null,
    -- How this version was settled; a replay of its mutation gets the same answer (promise 4).
    resolution      text collate "C" not null,
    -- Who wrote this version, and the newest version somebody else wrote (0: none). The latter
    -- answers "did only this device write since version b?" without reading history (promise 5).
    device_id       text collate "C" not null,
    foreign_version integer not null,
    -- The edit that became this version.
    mutation_id     uuid not null,
    -- When the person made the edit, by the server's clock.
    edit_time       timestamptz not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,

    constraint entities_pkey primary key (scope, entity_type, entity_id),
    constraint entities_revision_key unique (scope, revision),
    constraint entities_version_positive check (version >= 1),
    constraint entities_foreign_version_older check (foreign_version >= 0 and foreign_version < version),
    constraint entities_data_unless_deleted check (deleted = (data is null)),
    constraint entities_data_is_object check (jsonb_typeof(data) = 'object'),
    constraint entities_resolution_known check (resolution in ('applied', 'client_won', 'resurrected'))
) with (fillfactor = 85);

-- Every version that was superseded (promise 1). The current one is in `entities`, never here too.
create table entity_versions (
    scope       text collate "C" not null,
    entity_type text collate "C" not null,
    entity_id   uuid not null,
    version     integer not null,
    revision    bigint not null,
    deleted     boolean not null,
    data        jsonb,
    resolution  text collate "C" not null,
    device_id   text collate "C" not null,
    mutation_id uuid not null,
    edit_time   timestamptz not null,
    -- When the server wrote this version.
    updated_at  timestamptz not null,

    constraint entity_versions_pkey primary key (scope, entity_type, entity_id, version),
    -- A mutation writes at most one version of an entity (promise 4); also finds it again.
    constraint entity_versions_mutation_key unique (scope, entity_type, entity_id, mutation_id),
    constraint entity_versions_version_positive check (version >= 1),
    constraint entity_versions_data_unless_deleted check (deleted = (data is null)),
    constraint entity_versions_resolution_known check (resolution in ('applied', 'client_won', 'resurrected'))
);

-- The installations of an app that a user has pushed from. The same id under two users is two devices.
create table devices (
    scope         text collate "C" not null,
    device_id     text collate "C" not null,
    -- What a person would call it. Null: it never said.
    label         text,
    platform      text,
    app_version   text,
    -- Items still queued on the device when it last spoke.
    pending_count integer not null,
    first_seen_at timestamptz not null,
    -- Exact to a minute: a push that writes nothing else does not write a row for this.
    last_seen_at  timestamptz not null,

    constraint devices_pkey primary key (scope, device_id)
);
