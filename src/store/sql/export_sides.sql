-- Reads a page of a user's losing sides, by key and mutation.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 mutation_id uuid: behind this one (empty, nil,
-- nil: from the first)
-- $5 how many at most bigint, $6 bytes of data bigint: behind the row that passes it the page ends
-- Rows: all columns of each side, in order, and device_label text (null).
-- Walks from key to key: see export_entities.sql.
with recursive page as (
    select
        0::bigint as place,
        0::bigint as bytes,
        $2::text collate "C" as entity_type,
        $3::uuid as entity_id,
        $4::uuid as mutation_id,
        null::uuid as conflict_id,
        null::text collate "C" as device_id,
        null::integer as base_version,
        null::integer as server_version,
        null::boolean as deleted,
        null::text as data,
        null::uuid as content_id,
        null::timestamptz as edit_time,
        null::timestamptz as received_at
    union all
    select
        page.place + 1,
        page.bytes + coalesce(octet_length(next.data), 0),
        next.*
    from page
    cross join lateral (
        select
            entity_type, entity_id, mutation_id, conflict_id, device_id, base_version, server_version,
            deleted, data::text as data, content_id, edit_time, received_at
        from losing_sides
        where scope = $1
            and (entity_type, entity_id, mutation_id) > (page.entity_type, page.entity_id, page.mutation_id)
        order by entity_type, entity_id, mutation_id
        limit 1
    ) as next
    where page.place < $5::bigint
        and page.bytes <= $6::bigint
)
select
    entity_type, entity_id, mutation_id, conflict_id, device_id, base_version, server_version, deleted,
    data, content_id, edit_time, received_at, null::text as device_label
from page
where place > 0
order by place
