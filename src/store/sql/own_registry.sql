-- Waits until nobody is writing devices of many scopes, and keeps them from it until the transaction ends.
--
-- $1 lock bigint
-- The last rows of an account go behind this. Whoever writes devices next finds its mark, and who wrote before
-- has left its rows for the statement that comes next.
select pg_advisory_xact_lock($1)
