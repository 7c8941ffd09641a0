-- Reads a page of the conflicts that were settled long ago, and which may go.
--
-- $1 scope text
-- $2 settled_at timestamptz, $3 conflict_id uuid: behind this one
-- $4 before timestamptz: none that was settled as late as this, $5 how many at most bigint
-- $6 entity_type text[], $7 conflicts_before timestamptz[]: by type
-- $8 conflicts_before timestamptz: of other types
-- Rows: one per conflict: its place in this order, expired boolean, and if so, sides bigint (how many
-- losing sides it has).
-- A range of conflicts_settled_at_idx.
with page as materialized (
    select settled_at, conflict_id, entity_type
    from conflicts
    where scope = $1
        and not open
        and (settled_at, conflict_id) > ($2, $3)
        and settled_at < $4
    order by settled_at, conflict_id
    limit $5
)
select
    page.settled_at,
    page.conflict_id,
    page.settled_at < coalesce(rule.conflicts_before, $8) as expired,
    kept.sides
from page
left join unnest($6::text[], $7::timestamptz[]) as rule (entity_type, conflicts_before)
    on rule.entity_type = page.entity_type
cross join lateral (
    select count(*) as sides
    from losing_sides
    where scope = $1
        and conflict_id = page.conflict_id
        and page.settled_at < coalesce(rule.conflicts_before, $8)
) as kept
order by page.settled_at, page.conflict_id
