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
-- Rows, in any order: one for each entity that is shown, with its revision; and one for each lane (entity_id null),
-- with the epoch, where its scope stands, how many rows were looked at in all lanes, how many of the lane the page got
-- past, and the revision of the last of them.
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
        ordinal,
        revision,
        case when shown then place end as place
    from measured
    where shown_so_far <= $11::bigint
        and (bytes_so_far is null or bytes_so_far <= $12::bigint or shown_so_far <= 1)
)
select
    page.ordinal,
    page.revision,
    entity.entity_type,
    entity.entity_id,
    entity.version,
    entity.data::text as data,
    entity.device_id,
    entity.edit_time,
    entity.created_at,
    entity.updated_at,
    null::uuid as epoch,
    null::bigint as head,
    null::bigint as entities,
    null::integer as open_conflicts,
    null::bigint as inbox_revision,
    null::bigint as looked_at,
    null::bigint as passed
from page
join entities as entity on entity.ctid = page.place
union all
select
    lane.ordinal,
    (select max(page.revision) from page where page.ordinal = lane.ordinal),
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
    (select count(*) from looked_at),
    (select count(*) from page where page.ordinal = lane.ordinal)
from service_state
cross join lane
