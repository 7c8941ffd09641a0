-- Reads a page of all scopes.
--
-- $1 after text (empty: from the first), $2 how many at most bigint
-- Rows: scope text; in order.
select scope
from scopes
where scope > $1
order by scope
limit $2
