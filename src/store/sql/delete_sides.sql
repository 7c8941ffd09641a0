-- Deletes losing sides of conflicts that were settled long ago.
--
-- $1 scope text
-- $2 conflict_id uuid[], $3 settled_at timestamptz[]: the conflicts, each once, and when they were settled
-- $4 how many at most bigint
-- Count: how many went; less than $4: none is left.
-- Under the lock of the scope: see empty_versions.sql. A conflict that was opened again keeps its sides.
delete from losing_sides as side
using (
    select place.ctid
    from unnest($2::uuid[], $3::timestamptz[]) as old (conflict_id, settled_at)
    cross join lateral (
        select conflict_id
        from conflicts
        where scope = $1
            and conflict_id = old.conflict_id
            and settled_at = old.settled_at
        limit 1
    ) as settled
    cross join lateral (
        select ctid
        from losing_sides
        where scope = $1
            and conflict_id = settled.conflict_id
        limit $4
    ) as place
    limit $4
) as kept
where side.ctid = kept.ctid
    and side.scope is not distinct from $1
