-- Reads a page of all scopes.
--
-- $1 after text (empty: from the first), $2 how many at most bigint
-- Rows: scope text, erased boolean: its account was deleted, and rows are left; in order.
select
    scope,
    (
        select true
        from erasures
        where scope_digest = sha256(convert_to(scope, 'UTF8'))
        limit 1
    ) is not null as erased
from scopes
where scope > $1
order by scope
limit $2
