-- Accounts that were deleted. Their rows are gone from every table; what is left says only that devices of
-- theirs which were offline may not bring anything back.

-- One row per deleted account, without its name.
create table erasures (
    -- SHA-256 of the scope.
    scope_digest bytea not null,
    erased_at    timestamptz not null,
    -- The last revision of the scope. An account that is opened again goes on behind it, so that no cursor from
    -- before misses a change (promise 7).
    revision     bigint not null,

    constraint erasures_pkey primary key (scope_digest),
    constraint erasures_digest_length check (octet_length(scope_digest) = 32),
    constraint erasures_revision_positive check (revision > 0)
);

-- See 0004_isolation.sql.
alter table erasures enable row level security, force row level security;
create policy own_scope on erasures
    using (scope_digest is not distinct from (
        select sha256(decode(current_setting('ironflow.scope', true), 'hex'))
    ))
    with check (scope_digest is not distinct from (
        select sha256(decode(current_setting('ironflow.scope', true), 'hex'))
    ));
create policy keeper on erasures for select to ironflow_sync_keeper using (true);
-- Who owns the table takes a mark away again: the service may not.
create policy operator on erasures to current_user using (true) with check (true);
grant select, insert on erasures to ironflow_sync_service;
grant select on erasures to ironflow_sync_keeper;

grant delete on scopes, entities, entity_versions, devices, accounts to ironflow_sync_service;
