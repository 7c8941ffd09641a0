-- Deletes the row of a scope, the last of its account, and what was paid for.
--
-- $1 scope text
-- Count: 1. Under the lock of the scope, when nothing else of it is left.
with gone_account as (
    delete from accounts
    where scope = $1
)
delete from scopes
where scope = $1
