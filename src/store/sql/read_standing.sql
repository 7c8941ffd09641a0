-- Reads what decides whether a device of a user may do what it asks for.
--
-- $1 scope text, $2 device_id text
-- Row: revoked_at timestamptz (null: not revoked), batch_number bigint, batch_digest uuid (both null: no
-- batch was counted), plan text (null: no account), expires_at timestamptz (null: never), erased boolean
-- (the account was deleted). Always one.
-- For a push: in a LATER statement than the one that locks the scope.
select
    device.revoked_at,
    nullif(device.batch_number, 0) as batch_number,
    device.batch_digest,
    account.plan,
    account.expires_at,
    exists (
        select
        from erasures
        where scope_digest = sha256(convert_to($1, 'UTF8'))
    ) as erased
from (select $2::text as device_id) as asked
left join devices as device
    on device.scope = $1
    and device.device_id = asked.device_id
left join accounts as account on account.scope = $1
