-- Reads how far scopes have got, for watchers whose signals may have been lost.
--
-- $1 scope text[]
-- Rows: scope text, revision bigint; one per scope that exists, and -1 for each whose account was deleted: a
-- place no watcher has got to, so all of them look.
select given.scope, case when erasure.found then -1 else known.revision end as revision
from unnest($1::text[]) as given (scope)
left join lateral (
    select revision
    from scopes
    where scope = given.scope
    limit 1
) as known on true
left join lateral (
    select true as found
    from erasures
    where scope_digest = sha256(convert_to(given.scope, 'UTF8'))
    limit 1
) as erasure on true
where known.revision is not null
    or erasure.found
