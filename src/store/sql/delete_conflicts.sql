-- Deletes conflicts that were settled long ago and have no losing sides any more.
--
-- $1 scope text
-- $2 conflict_id uuid[], $3 settled_at timestamptz[]: the conflicts, each once, and when they were settled
-- Count: how many went; not those that were opened again.
-- Under the lock of the scope: see empty_versions.sql.
delete from conflicts as conflict
using unnest($2::uuid[], $3::timestamptz[]) as old (conflict_id, settled_at)
cross join lateral (
    select ctid
    from conflicts
    where scope = $1
        and conflict_id = old.conflict_id
        and settled_at = old.settled_at
    limit 1
) as settled
where conflict.ctid = settled.ctid
    and conflict.scope is not distinct from $1
