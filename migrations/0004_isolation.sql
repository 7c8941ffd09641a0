-- Isolation, said a second time (promise 10): whatever a statement of the service asks for, Postgres shows it
-- the rows of one scope, and of the shared library.
--
-- The service works as `ironflow_sync_service`, which owns nothing and bypasses nothing. Each of its
-- transactions says whose it is:
--
--     begin; set local role ironflow_sync_service; set local ironflow.scope = 'hex of the scope'
--
-- Work that is about many scopes (which devices were seen, how far scopes have got) is done as
-- `ironflow_sync_keeper`, which may touch the few columns it needs and no data.

-- Roles belong to the whole server: another database may have made them, or makes them right now. Who
-- migrates has to be able to work as them.
do $$
declare
    working name;
begin
    foreach working in array array['ironflow_sync_service', 'ironflow_sync_keeper'] loop
        begin
            if not exists (select from pg_roles where rolname = working) then
                begin
                    execute format('create role %I nologin', working);
                exception
                    when duplicate_object or unique_violation then null;
                end;
            end if;
            begin
                execute format('set local role %I', working);
                reset role;
            exception
                when insufficient_privilege then
                    execute format('grant %I to current_user', working);
            end;
        exception
            when insufficient_privilege then
                raise insufficient_privilege using
                    message = format('this login can not work as the role %s', working),
                    hint = format(
                        'As a superuser, type: create role %1$I nologin; grant %1$I to %2$I;',
                        working, current_user
                    );
        end;
        execute format('grant usage on schema %I to %I', current_schema(), working);
    end loop;
end
$$;

-- The scope is set per transaction and compared inside a sub-select, so that it is worked out once per
-- statement. Hex: there is nothing to quote. Not set, or set by an earlier transaction of the session: no
-- scope has the empty name, so nothing is seen. Not `=`: what the policy says only sorts out what a statement
-- found by its own conditions, and never becomes a way to find it, which would be through the whole scope.
do $$
declare
    scoped name;
    own constant text :=
        'scope is not distinct from (
            select convert_from(decode(current_setting(''ironflow.scope'', true), ''hex''), ''UTF8'')
        )';
begin
    foreach scoped in array array[
        'scopes', 'entities', 'entity_versions', 'devices', 'conflicts', 'losing_sides'
    ] loop
        execute format('alter table %I enable row level security, force row level security', scoped);
        execute format('create policy own_scope on %I using (%s) with check (%s)', scoped, own, own);
        execute format('grant select, insert, update on %I to ironflow_sync_service', scoped);
    end loop;
    -- What the library holds is for everybody to read.
    foreach scoped in array array['scopes', 'entities', 'entity_versions'] loop
        execute format('create policy library on %I for select using (scope = ''library'')', scoped);
    end loop;
end
$$;

-- Retention deletes settled conflicts.
grant delete on conflicts, losing_sides to ironflow_sync_service;
grant select (epoch) on service_state to ironflow_sync_service;

create policy keeper on scopes for select to ironflow_sync_keeper using (true);
create policy keeper on devices to ironflow_sync_keeper using (true) with check (true);
grant select (scope, revision) on scopes to ironflow_sync_keeper;
grant
    select (scope, device_id, last_seen_at, pulled_revision),
    insert (scope, device_id, pending_count, first_seen_at, last_seen_at, pulled_revision),
    update (last_seen_at, pulled_revision)
    on devices to ironflow_sync_keeper;
grant select (epoch, cursor_key, compacted_at), update (compacted_at) on service_state to ironflow_sync_keeper;

-- A login that only works as these roles may see that there is nothing to migrate.
grant select on schema_migrations to ironflow_sync_service;
