-- Whether a device of a user may do what it asks for: revoked devices, devices whose data was copied, and
-- subscriptions.

alter table devices
    -- Since when its calls are refused; null: they are not.
    add column revoked_at timestamptz,
    -- The device's own count of its batches, the largest seen; 0: it does not count. Two installations that
    -- share one id (a restored backup, a clone) sooner or later use one number for two batches.
    add column batch_number bigint not null default 0,
    -- What was in the batch with that number: tells a retry from another batch.
    add column batch_digest uuid,
    add constraint devices_batch_number_not_negative check (batch_number >= 0),
    add constraint devices_digest_of_a_batch check ((batch_number = 0) = (batch_digest is null));

-- What users have paid for, as the operator says. No row: nothing.
create table accounts (
    scope      text collate "C" not null,
    plan       text collate "C" not null,
    -- Null: never.
    expires_at timestamptz,
    updated_at timestamptz not null,

    constraint accounts_pkey primary key (scope),
    constraint accounts_plan_known check (plan in ('free', 'premium')),
    constraint accounts_only_premium_expires check (plan = 'premium' or expires_at is null)
);

-- Behind the wall too: see 0004_isolation.sql.
alter table accounts enable row level security, force row level security;
create policy own_scope on accounts
    using (scope is not distinct from (
        select convert_from(decode(current_setting('ironflow.scope', true), 'hex'), 'UTF8')
    ))
    with check (scope is not distinct from (
        select convert_from(decode(current_setting('ironflow.scope', true), 'hex'), 'UTF8')
    ));
grant select, insert, update on accounts to ironflow_sync_service;

-- A revoked device makes room for another.
grant select (revoked_at) on devices to ironflow_sync_keeper;
