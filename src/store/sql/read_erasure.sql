-- Tells whether an account was deleted.
--
-- $1 scope text
-- Row: erased_at timestamptz, if it was.
-- For a push: in a statement behind the one that locks the scope, whose snapshot is older than the lock. A
-- push that waited for it while the account was deleted must not bring it back.
select erased_at
from erasures
where scope_digest = sha256(convert_to($1, 'UTF8'))
