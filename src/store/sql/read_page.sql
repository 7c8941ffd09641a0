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
-- Reads entities_revision_key from `after` on, at most $10 rows of it. What is measured is narrow; what is shown is
-- fetched again by its place (ctid) in the end, so its data is carried through nothing and unpacked once.
-- One statement, so one snapshot: no row is newer than the head beside it, and no place is another's by then.
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
        entity.revision,
        entity.place,
        entity.data_bytes,
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
        select ctid as place, revision, entity_type, deleted, data_bytes, device_id
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
),
page as (
    select
        lane.ordinal,
        lane.head,
        lane.entities,
        lane.open_conflicts,
        lane.inbox_revision,
        measured.revision,
        coalesce(measured.shown, false) as shown,
        case when measured.shown then measured.place end as place
    from lane
    left join measured
        on measured.ordinal = lane.ordinal
        and measured.shown_so_far <= $11::bigint
        and (
            measured.bytes_so_far is null
            or measured.bytes_so_far <= $12::bigint
            or measured.shown_so_far <= 1
        )
    order by lane.ordinal, measured.revision
)
select
    service_state.epoch,
    (select count(*) from looked_at) as looked_at,
    page.ordinal,
    page.head,
    page.entities,
    page.open_conflicts,
    page.inbox_revision,
    page.revision,
    page.shown,
    entity.entity_type,
    entity.entity_id,
    entity.version,
    entity.data::text as data,
    entity.device_id,
    entity.edit_time,
    entity.created_at,
    entity.updated_at
from service_state
cross join page
left join entities as entity on entity.ctid = page.place
order by page.ordinal, page.revision
