-- Conflicts and their losing sides, why a version was written, and what retention needs.

-- A merge writes a version too.
alter table entities drop constraint entities_resolution_known;
alter table entities add constraint entities_resolution_known
    check (resolution in ('applied', 'client_won', 'resurrected', 'merged'));
alter table entity_versions drop constraint entity_versions_resolution_known;
alter table entity_versions add constraint entity_versions_resolution_known
    check (resolution in ('applied', 'client_won', 'resurrected', 'merged'));

-- The contents of an old version may be gone; the version and who wrote it stay (promise 8).
alter table entity_versions drop constraint entity_versions_data_unless_deleted;
alter table entity_versions add constraint entity_versions_no_data_if_deleted
    check (not deleted or data is null);

alter table entities
    -- What made this version: a push, the resolution of a conflict, or an old version brought back.
    add column cause text collate "C" not null default 'push',
    -- The rule of the protocol that decided (2-8; 9 is a policy). Null: written before this was kept.
    add column rule smallint,
    -- The policy, for rule 9.
    add column policy text collate "C",
    -- The base of the edit that became this version. A later edit of the same device on the same base goes
    -- on from it (promise 5). Null: written before this was kept, or by a person's decision.
    add column base_version integer,
    -- What was added to the times of the device's clock to get the server's.
    add column clock_offset_ms bigint not null default 0,
    -- When what the entity tells of began, if its type is watched for things recorded twice.
    add column began_at timestamptz,
    add constraint entities_cause_known check (cause in ('push', 'resolve', 'restore')),
    add constraint entities_rule_known check (rule between 2 and 9);
alter table entity_versions
    add column cause text collate "C" not null default 'push',
    add column rule smallint,
    add column policy text collate "C",
    add constraint entity_versions_cause_known check (cause in ('push', 'resolve', 'restore')),
    add constraint entity_versions_rule_known check (rule between 2 and 9);

-- The order of changes, only for those who say that they read by it (`revision > 0`). As long as the
-- planner knows nothing of a young table it takes any index that begins with the scope to be as good as
-- the primary key, and would read a whole scope to find one entity.
alter table entities drop constraint entities_revision_key;
create unique index entities_revision_key on entities (scope, revision) where revision > 0;
alter table entities add constraint entities_revision_positive check (revision > 0);

-- Finds what was recorded at about the same time.
create index entities_began_at_idx on entities (scope, entity_type, began_at)
    where began_at is not null and not deleted;
-- The recycle bin, the newest first.
create index entities_deleted_idx on entities (scope, revision) where deleted;
-- Contents that retention may remove, the oldest first; by the whole key, so that it can go on anywhere.
create index entity_versions_held_idx
    on entity_versions (scope, updated_at, entity_type, entity_id, version)
    where data is not null;

alter table scopes
    -- How many conflicts wait for the person: kept, because every pull tells it.
    add column open_conflicts integer not null default 0,
    -- The revision at which the inbox last changed; 0: it never did.
    add column inbox_revision bigint not null default 0,
    add constraint scopes_open_conflicts_not_negative check (open_conflicts >= 0),
    add constraint scopes_inbox_revision_at_most_revision check (inbox_revision between 0 and revision);

-- The conflict inbox: one row per conflict, at its newest state, in the same order of changes as the
-- entities, so that watchers follow both with one cursor. Settled ones stay until retention ends.
create table conflicts (
    scope           text collate "C" not null,
    conflict_id     uuid not null,
    -- Edit: a device's edit against what another wrote. Duplicate: two entities, possibly the same thing.
    kind            text collate "C" not null,
    entity_type     text collate "C" not null,
    entity_id       uuid not null,
    -- Duplicate: the older of the two entities.
    other_id        uuid,
    -- Whose side lost or waits; for a duplicate, who recorded the newer.
    device_id       text collate "C" not null,
    -- The losing side that counts now, in `losing_sides`. Duplicate: the edit that made the newer.
    mutation_id     uuid not null,
    -- What that side started from, and the version it met when it was last sent. Both are held until the
    -- conflict is settled.
    base_version    integer not null,
    server_version  integer not null,
    -- Why: the rule, and for rule 9 the policy. Null for a duplicate.
    rule            smallint,
    policy          text collate "C",
    -- It is, or was, for the person to settle. False: the policy settled it at once.
    asked           boolean not null,
    open            boolean not null,
    -- The place of its newest state in the scope's order of changes.
    revision        bigint not null,
    opened_at       timestamptz not null,
    -- How it was settled, from which device, when, and as which version of the entity.
    settlement      text collate "C",
    settled_by      text collate "C",
    settled_at      timestamptz,
    settled_version integer,

    constraint conflicts_pkey primary key (scope, conflict_id),
    constraint conflicts_revision_positive check (revision > 0),
    constraint conflicts_kind_known check (kind in ('edit', 'duplicate')),
    constraint conflicts_other_if_duplicate check ((kind = 'duplicate') = (other_id is not null)),
    constraint conflicts_rule_known check (rule between 7 and 9),
    constraint conflicts_open_only_if_asked check (asked or not open),
    constraint conflicts_settlement_known check (settlement in (
        'server_won', 'merged', 'pushed', 'keep_server', 'keep_client', 'use_data', 'keep_both'
    )),
    constraint conflicts_settled_unless_open check (
        open = (settlement is null) and open = (settled_by is null) and open = (settled_at is null)
    )
);

-- One open conflict per entity and device.
create unique index conflicts_open_key on conflicts (scope, entity_type, entity_id, device_id)
    where open and kind = 'edit';
-- What is open about an entity; possible duplicates also by the older of the two.
create index conflicts_entity_idx on conflicts (scope, entity_type, entity_id) where open;
create index conflicts_open_other_idx on conflicts (scope, entity_type, other_id)
    where open and kind = 'duplicate';
-- The inbox in the order of changes, for watchers and for lists; see entities_revision_key.
create unique index conflicts_revision_key on conflicts (scope, revision) where revision > 0;
create index conflicts_open_idx on conflicts (scope, open, revision) where revision > 0;
-- Settled conflicts that retention may remove, the oldest first.
create index conflicts_settled_at_idx on conflicts (scope, settled_at, conflict_id) where not open;

-- What devices sent and the server does not hold as a version (promise 1), each edit once.
create table losing_sides (
    scope          text collate "C" not null,
    entity_type    text collate "C" not null,
    entity_id      uuid not null,
    -- The edit; made from it and the content where the edit is kept with other content already.
    mutation_id    uuid not null,
    conflict_id    uuid not null,
    device_id      text collate "C" not null,
    base_version   integer not null,
    -- The version it lost against, or was merged with.
    server_version integer not null,
    -- The edit deletes the entity.
    deleted        boolean not null,
    data           jsonb,
    -- Size of the data written out, 0 for a deletion.
    data_bytes     integer not null,
    -- The same for the same content: tells whether an edit that comes again is the one that is kept.
    content_id     uuid not null,
    edit_time      timestamptz not null,
    received_at    timestamptz not null,

    constraint losing_sides_pkey primary key (scope, entity_type, entity_id, mutation_id),
    constraint losing_sides_data_unless_deleted check (deleted = (data is null)),
    constraint losing_sides_data_is_object check (jsonb_typeof(data) = 'object')
);

-- An entity's losing sides beside its versions; and those of a conflict.
create index losing_sides_version_idx
    on losing_sides (scope, entity_type, entity_id, server_version, mutation_id);
create index losing_sides_conflict_idx on losing_sides (scope, conflict_id);

-- When the contents of old versions were last gone through.
alter table service_state add column compacted_at timestamptz not null default '-infinity';

-- The log analysts expect: one row per change, in the order of `scope, revision`. Nothing ever leaves it;
-- retention only empties `data` of old versions. Revisions have gaps: conflicts have their place in the
-- same order.
create view changes as
select
    change.scope,
    change.revision,
    change.entity_type,
    change.entity_id,
    case
        when change.deleted then 'deleted'
        when change.version = 1 or change.rule = 2 or change.resolution = 'resurrected' then 'created'
        -- A forced put may win against a deletion.
        when change.resolution = 'client_won' and (
            select before.deleted
            from entity_versions as before
            where before.scope = change.scope
                and before.entity_type = change.entity_type
                and before.entity_id = change.entity_id
                and before.version < change.version
            order by before.version desc
            limit 1
        ) then 'created'
        else 'updated'
    end as change_type,
    change.version,
    change.data,
    change.device_id,
    change.edit_time,
    change.updated_at as changed_at,
    change.resolution,
    change.cause,
    change.rule,
    change.policy,
    change.mutation_id
from (
    select
        scope, revision, entity_type, entity_id, deleted, version, data, device_id, edit_time, updated_at,
        resolution, cause, rule, policy, mutation_id
    from entities
    union all
    select
        scope, revision, entity_type, entity_id, deleted, version, data, device_id, edit_time, updated_at,
        resolution, cause, rule, policy, mutation_id
    from entity_versions
) as change;
