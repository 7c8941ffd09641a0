-- Reads what a user has paid for.
--
-- $1 scope text
-- Row: plan text, expires_at timestamptz (null: never). No row: nothing was ever said.
select plan, expires_at
from accounts
where scope = $1
