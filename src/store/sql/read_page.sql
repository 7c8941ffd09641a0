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
-- Rows: per lane, in their order, one for each revision the page got past, with the entity if it is
-- shown; a lane without any has one row without a revision. All rows repeat the epoch, and how many
-- rows were looked at.
-- Reads entities_revision_key from `after` on, at most $10 rows of it; data is unpacked only for what
-- is shown. One statement, so one snapshot: no row is newer than the head beside it.
with lane as (
    select
        given.ordinal,
        given.scope,
        given.after,
        given.new_types,
        coalesce(scope.revision, 0) as head,
        coalesce(scope.entities, 0) as entities,
        coalesce(scope.open_conflicts, 0) as open_conflicts,
        coalesce(scope.inbox_revision, 0) as inbox_revision,
        coalesce(given.until, scope.revision, 0) as until,
        coalesce(given.began_at, scope.revision, 0) as began_at
    from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[])
        with ordinality as given (scope, after, until, began_at, new_types, ordinal)
    left join lateral (
        select revision, entities, open_conflicts, inbox_revision
        from scopes
        where scope = given.scope
        limit 1
    ) as scope on true
),
looked_at as (
    select
        lane.ordinal,
        entity.*,
        case
            when entity.revision <= lane.began_at then not entity.deleted
            else $6::text is null or entity.device_id <> $6 or lane.scope = 'library'
        end
        and case
            when lane.new_types then entity.entity_type = any($9::text[])
            else ($7::text[] is null or entity.entity_type = any($7))
                and entity.entity_type <> all($8::text[])
        end as shown
    from lane
    cross join lateral (
        select
            revision, entity_type, entity_id, version, deleted, data, data_bytes, device_id,
            edit_time, created_at, updated_at
        from entities
        where scope = lane.scope
            and revision > 0
            and revision > lane.after
            and revision <= lane.until
        order by revision
        limit $10
    ) as entity
    order by lane.ordinal, entity.revision
    limit $10
),
measured as (
    select
        looked_at.*,
        count(*) filter (where shown) over so_far as shown_so_far,
        sum(data_bytes) filter (where shown) over so_far as bytes_so_far
    from looked_at
    window so_far as (order by ordinal, revision rows unbounded preceding)
)
select
    service_state.epoch,
    (select count(*) from looked_at) as looked_at,
    lane.ordinal,
    lane.head,
    lane.entities,
    lane.open_conflicts,
    lane.inbox_revision,
    page.revision,
    coalesce(page.shown, false) as shown,
    page.entity_type,
    page.entity_id,
    page.version,
    page.deleted,
    case when page.shown then page.data::text end as data,
    page.device_id,
    page.edit_time,
    page.created_at,
    page.updated_at
from service_state
cross join lane
left join measured as page
    on page.ordinal = lane.ordinal
    and page.shown_so_far <= $11::bigint
    and (page.bytes_so_far is null or page.bytes_so_far <= $12::bigint or page.shown_so_far <= 1)
order by lane.ordinal, page.revision
