-- Waits until no other instance is migrating this database.
--
-- $1 lock bigint
-- Holds the advisory lock until the transaction ends; a pooler that shares sessions between
-- transactions does not lose it.
select pg_advisory_xact_lock($1)
