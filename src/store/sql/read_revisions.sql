-- Reads how far scopes have got, for watchers whose signals may have been lost.
--
-- $1 scope text[]
-- Rows: scope text, revision bigint; one per scope that exists.
select scope, revision
from scopes
where scope = any($1::text[])
