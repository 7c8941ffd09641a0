-- Pulls that find nothing, at the price of looking.
--
-- Most devices that ask have missed nothing, and for each of them a transaction, its role, its scope and a page took
-- ten times what there is to look up. A function that confines itself to one scope after the other asks for many
-- devices in one go.

-- Tells where each of some devices' scopes stand, and how the device does.
--
-- own_scopes, device_ids: of the devices, side by side. The wall is set to each of the scopes in turn, and stays at
-- the last for what follows in the transaction.
-- Result: one row for each, in that order: the epoch, the last revisions of the library and of the scope (0: it has no
-- row), the scope's open conflicts, and what read_standing.sql tells. All of one moment.
create function look_for_news(own_scopes text[], device_ids text[])
returns table (
    epoch uuid, library_revision bigint, own_revision bigint, open_conflicts integer,
    revoked_at timestamptz, batch_number bigint, batch_digest uuid,
    plan text, expires_at timestamptz, erased boolean
)
language plpgsql
stable
as $$
declare
    own_scope text;
begin
    epoch := (select state.epoch from service_state as state);
    library_revision := coalesce((select scope.revision from scopes as scope where scope.scope = 'library'), 0);
    for place in 1 .. cardinality(own_scopes) loop
        own_scope := set_config('ironflow.scope', own_scopes[place], true);

        select scope.revision, scope.open_conflicts
        into own_revision, open_conflicts
        from scopes as scope
        where scope.scope = own_scope;
        own_revision := coalesce(own_revision, 0);
        open_conflicts := coalesce(open_conflicts, 0);

        select device.revoked_at, nullif(device.batch_number, 0), device.batch_digest
        into revoked_at, batch_number, batch_digest
        from devices as device
        where device.scope = own_scope and device.device_id = device_ids[place];

        select account.plan, account.expires_at
        into plan, expires_at
        from accounts as account
        where account.scope = own_scope;

        perform from erasures where scope_digest = sha256(convert_to(own_scope, 'UTF8'));
        erased := found;
        return next;
    end loop;
end
$$;

grant execute on function look_for_news to ironflow_sync_service;
