-- Reads one page of changes: stretches of the order of changes (lanes), one after the other.
--
-- $1 scope text[], $2 after bigint[], $3 until bigint[] (null: the scope's last revision),
-- $4 began_at bigint[] (null: likewise), $5 new_types boolean[]: the lanes
-- $6 device_id text: whose own changes are left out of its user's scope; null: nobody's
-- $7 only text[] (null: all), $8 except text[]: types of the lanes that follow changes
-- $9 text[]: types of the lanes that catch up on new types
-- $10 bigint: how many rows to look at, $11 bigint: how many entities to show,
-- $12 bigint: how many bytes of data to show; one entity always fits
--
-- Columns are found by their places (src/store/page/entity.rs).
-- Rows, in any order: one for each entity that is shown, with its revision; and one for each lane (entity_id null),
-- with the epoch, where its scope stands, the last revision of the lane the page got past, and whether everything in
-- the lane was looked at.
-- First it is measured how far the page gets (migrations/0013_pages.sql): narrow, and no further than it is full. What
-- lies before that is read in the end, so its data is carried through nothing and unpacked once.
-- One statement, so one snapshot: no row is newer than the head beside it.
with lane as materialized (
    select
        ordinal, scope, after, began_at, for_new_types,
        head, entities, open_conflicts, inbox_revision, last, ended
    from measure_page($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
)
select
    lane.ordinal,
    entity.revision,
    entity.entity_type,
    entity.entity_id,
    entity.version,
    entity.data,
    entity.device_id,
    entity.edit_time,
    entity.created_at,
    entity.updated_at,
    null::uuid as epoch,
    null::bigint as head,
    null::bigint as entities,
    null::integer as open_conflicts,
    null::bigint as inbox_revision,
    null::boolean as ended
from lane
cross join lateral (
    select
        revision, entity_type, entity_id, version, data::text as data, device_id, edit_time, created_at, updated_at
    from entities
    where scope = lane.scope
        and revision > 0
        and revision > lane.after
        and revision <= lane.last
        and is_shown(
            revision, deleted, device_id, scope, entity_type,
            lane.began_at, lane.for_new_types, $6, $7, $8, $9
        )
    order by revision
    limit $11
) as entity
union all
select
    lane.ordinal,
    lane.last,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    service_state.epoch,
    lane.head,
    lane.entities,
    lane.open_conflicts,
    lane.inbox_revision,
    lane.ended
from service_state
cross join lane
