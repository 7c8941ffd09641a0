-- Revokes a device. One that is revoked already stays so since then.
--
-- $1 scope text, $2 device_id text, $3 now timestamptz
-- Row: revoked_at timestamptz. No row: the user has no such device.
-- Under the lock of the scope: a batch is decided before or after it, never beside it.
update devices
set revoked_at = coalesce(revoked_at, $3)
where scope = $1
    and device_id = $2
returning revoked_at
