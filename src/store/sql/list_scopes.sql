-- Reads a page of all scopes, and which of them hold anything that may be old enough to go.
--
-- $1 after text (empty: from the first), $2 versions_before timestamptz,
-- $3 conflicts_before timestamptz, $4 how many at most bigint
-- Rows: scope text, versions boolean, conflicts boolean; in the order of scope.
-- Lateral, with a limit: see read_written.sql.
select
    page.scope,
    held.found is not null as versions,
    settled.found is not null as conflicts
from (
    select scope
    from scopes
    where scope > $1
    order by scope
    limit $4
) as page
left join lateral (
    select true as found
    from entity_versions
    where scope = page.scope
        and data is not null
        and updated_at < $2
    limit 1
) as held on true
left join lateral (
    select true as found
    from conflicts
    where scope = page.scope
        and not open
        and settled_at < $3
    limit 1
) as settled on true
order by page.scope
