-- Reads a page of a scope's deleted entities, the one deleted last first, and what they last held.
--
-- $1 scope text, $2 entity_type text (null: any), $3 before bigint (null: from the newest revision)
-- $4 how many to show bigint, $5 how many bytes of data to show bigint; one entity always fits
-- $6 how many deleted entities to look at bigint
-- Rows: the deleted entities looked at, in order; all but the last are shown or of another type.
-- wanted boolean: of the type; shown boolean: wanted, and on the page; last_version integer (null: it
-- never held data), last_data text (null: removed by retention).
-- Walks from tombstone to tombstone by entities_deleted_idx: data is unpacked up to $5 bytes and one
-- entity more. A tombstone's version is behind one with data, so the look-up below it reads few rows.
with recursive tombstone as (
    select
        0::bigint as place,
        0::bigint as found,
        0::bigint as bytes,
        coalesce($3::bigint, 9223372036854775807) as revision,
        null::text collate "C" as entity_type,
        null::uuid as entity_id,
        null::integer as version,
        null::text collate "C" as device_id,
        null::timestamptz as edit_time,
        null::timestamptz as updated_at,
        null::boolean as wanted,
        null::integer as last_version,
        null::jsonb as last_data
    union all
    select
        tombstone.place + 1,
        tombstone.found + next.wanted::integer,
        tombstone.bytes + coalesce(octet_length(held.data::text), 0),
        next.*,
        held.version,
        held.data
    from tombstone
    cross join lateral (
        select
            revision, entity_type, entity_id, version, device_id, edit_time, updated_at,
            $2::text is null or entity_type = $2 as wanted
        from entities
        where scope = $1
            and deleted
            and revision < tombstone.revision
        order by revision desc
        limit 1
    ) as next
    left join lateral (
        select version, data
        from entity_versions
        where next.wanted
            and scope = $1
            and entity_type = next.entity_type
            and entity_id = next.entity_id
            and version < next.version
            and not deleted
        order by version desc
        limit 1
    ) as held on true
    where tombstone.place < $6::bigint
        and tombstone.found <= $4::bigint
        and (tombstone.bytes <= $5::bigint or tombstone.found <= 1)
)
select
    page.revision,
    page.wanted,
    page.shown,
    page.entity_type,
    page.entity_id,
    page.version,
    page.device_id,
    device.label as device_label,
    page.edit_time,
    page.updated_at,
    page.last_version,
    case when page.shown then page.last_data::text end as last_data
from (
    select
        tombstone.*,
        wanted and found <= $4 and (bytes <= $5 or found = 1) as shown
    from tombstone
    where place > 0
) as page
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = page.device_id
    limit 1
) as device on true
order by page.place
