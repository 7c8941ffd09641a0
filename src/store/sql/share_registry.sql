-- Says that devices of many scopes are being written, without their locks, until the transaction ends.
--
-- $1 lock bigint
-- Waits for an account whose last rows are being deleted: see own_registry.sql.
select pg_advisory_xact_lock_shared($1)
