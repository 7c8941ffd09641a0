-- Reads a page of the superseded versions of a user's entities, by key and version.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 version integer: behind this one (empty, nil, 0:
-- from the first)
-- $5 how many at most bigint, $6 bytes of data bigint: behind the row that passes it the page ends
-- Rows: all columns of each version, in order.
-- Walks from key to key: see export_entities.sql.
with recursive page as (
    select
        0::bigint as place,
        0::bigint as bytes,
        $2::text collate "C" as entity_type,
        $3::uuid as entity_id,
        $4::integer as version,
        null::bigint as revision,
        null::boolean as deleted,
        null::text as data,
        null::text collate "C" as resolution,
        null::text collate "C" as device_id,
        null::uuid as mutation_id,
        null::timestamptz as edit_time,
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
            mutation_id, edit_time, updated_at, cause, rule, policy
        from entity_versions
        where scope = $1
            and (entity_type, entity_id, version) > (page.entity_type, page.entity_id, page.version)
        order by entity_type, entity_id, version
        limit 1
    ) as next
    where page.place < $5::bigint
        and page.bytes <= $6::bigint
)
select
    entity_type, entity_id, version, revision, deleted, data, resolution, device_id, mutation_id,
    edit_time, updated_at, cause, rule, policy
from page
where place > 0
order by place
