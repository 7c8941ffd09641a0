-- Takes the revocation of a device back.
--
-- $1 scope text, $2 device_id text
-- Count: 1, also if it was not revoked. 0: the user has no such device.
update devices
set revoked_at = null
where scope = $1
    and device_id = $2
