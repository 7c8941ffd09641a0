-- Reads a page of the marks of deleted accounts.
--
-- $1 scope_digest bytea: behind this one (empty: from the first), $2 how many at most bigint
-- Rows: scope_digest bytea, erased_at timestamptz, revision bigint; in order.
select scope_digest, erased_at, revision
from erasures
where scope_digest > $1
order by scope_digest
limit $2
