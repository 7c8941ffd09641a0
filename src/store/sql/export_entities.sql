-- Reads a page of a user's entities at their current versions, by key.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid: behind this one (empty, nil: from the first)
-- $4 how many at most bigint, $5 bytes of data bigint: behind the row that passes it the page ends
-- Rows: all columns of each entity, in order.
-- Walks from key to key, so that no more data is unpacked than is shown.
with recursive page as (
    select
        0::bigint as place,
        0::bigint as bytes,
        $2::text collate "C" as entity_type,
        $3::uuid as entity_id,
        null::integer as version,
        null::bigint as revision,
        null::boolean as deleted,
        null::text as data,
        null::text collate "C" as resolution,
        null::text collate "C" as device_id,
        null::integer as foreign_version,
        null::uuid as mutation_id,
        null::integer as base_version,
        null::timestamptz as edit_time,
        null::bigint as clock_offset_ms,
        null::timestamptz as began_at,
        null::timestamptz as created_at,
        null::timestamptz as updated_at,
        null::text collate "C" as cause,
        null::smallint as rule,
        null::text collate "C" as policy
    union all
    select
        page.place + 1,
        page.bytes + coalesce(octet_length(next.data), 0),
        next.*
    from page
    cross join lateral (
        select
            entity_type, entity_id, version, revision, deleted, data::text as data, resolution, device_id,
            foreign_version, mutation_id, base_version, edit_time, clock_offset_ms, began_at, created_at,
            updated_at, cause, rule, policy
        from entities
        where scope = $1
            and (entity_type, entity_id) > (page.entity_type, page.entity_id)
        order by entity_type, entity_id
        limit 1
    ) as next
    where page.place < $4::bigint
        and page.bytes <= $5::bigint
)
select
    entity_type, entity_id, version, revision, deleted, data, resolution, device_id, foreign_version,
    mutation_id, base_version, edit_time, clock_offset_ms, began_at, created_at, updated_at, cause, rule,
    policy
from page
where place > 0
order by place
