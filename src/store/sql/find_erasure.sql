-- Reads the mark of a deleted account, for the operator.
--
-- $1 scope text
-- Row: revision bigint, if there is one.
select revision
from erasures
where scope_digest = sha256(convert_to($1, 'UTF8'))
