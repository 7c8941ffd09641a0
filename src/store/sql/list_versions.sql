-- Reads a page of an entity's versions and losing sides, the newest first: by version downwards, behind
-- each version the losing sides that met it, those by mutation id downwards.
--
-- $1 scope text: of the versions, $2 scope text: of the losing sides (of a shared type they differ)
-- $3 entity_type text, $4 entity_id uuid
-- $5 version integer, $6 mutation_id uuid: behind this version (no mutation id), or behind this losing
-- side; null, null: from the newest
-- $7 how many to show bigint, $8 how many bytes of data to show bigint; one entry always fits
-- Rows: the entries in order, and one more if there is more: that one is not shown and has no data.
-- Walks from entry to entry, each by its whole key: data is unpacked up to $8 bytes and one entry more,
-- however long the history is. Of versions the walk goes on below below_version, of sides below
-- (side_version, side): from a version that is all of its own sides, from a side the rest of them.
with recursive entry as (
    select
        0::bigint as place,
        0::bigint as bytes,
        coalesce($5::integer, 2147483648) as below_version,
        case when $6::uuid is null then coalesce($5::integer, 2147483648) + 1 else $5 end as side_version,
        coalesce($6::uuid, '00000000-0000-0000-0000-000000000000') as side,
        null::integer as version,
        null::boolean as losing_side,
        null::boolean as current,
        null::boolean as deleted,
        null::jsonb as data,
        null::text collate "C" as device_id,
        null::timestamptz as edit_time,
        null::timestamptz as updated_at,
        null::uuid as mutation_id,
        null::text collate "C" as resolution,
        null::text collate "C" as cause,
        null::smallint as rule,
        null::text collate "C" as policy,
        null::uuid as conflict_id
    union all
    select
        entry.place + 1,
        entry.bytes + coalesce(octet_length(next.data::text), 0),
        next.version::bigint,
        case when next.losing_side then next.version::bigint else next.version::bigint + 1 end,
        case
            when next.losing_side then next.mutation_id
            else '00000000-0000-0000-0000-000000000000'
        end,
        next.*
    from entry
    cross join lateral (
        (
            select
                version, false as losing_side, true as current, deleted, data, device_id, edit_time,
                updated_at, mutation_id, resolution, cause, rule, policy, null::uuid as conflict_id
            from entities
            where scope = $1
                and entity_type = $3
                and entity_id = $4
                and version < entry.below_version
        )
        union all
        (
            select
                version, false, false, deleted, data, device_id, edit_time,
                updated_at, mutation_id, resolution, cause, rule, policy, null
            from entity_versions
            where scope = $1
                and entity_type = $3
                and entity_id = $4
                and version < entry.below_version
            order by version desc
            limit 1
        )
        union all
        (
            select
                server_version, true, false, deleted, data, device_id, edit_time,
                received_at, mutation_id, null, null, null, null, conflict_id
            from losing_sides
            where scope = $2
                and entity_type = $3
                and entity_id = $4
                and (server_version, mutation_id) < (entry.side_version, entry.side)
            order by server_version desc, mutation_id desc
            limit 1
        )
        order by version desc, losing_side
        limit 1
    ) as next
    where entry.place <= $7::bigint
        and (entry.bytes <= $8::bigint or entry.place <= 1)
)
select
    page.version,
    page.losing_side,
    page.current,
    page.deleted,
    page.shown,
    case when page.shown then page.data::text end as data,
    page.device_id,
    device.label as device_label,
    page.edit_time,
    page.updated_at,
    page.mutation_id,
    page.resolution,
    page.cause,
    page.rule,
    page.policy,
    page.conflict_id
from (
    select entry.*, place <= $7 and (bytes <= $8 or place = 1) as shown
    from entry
    where place > 0
) as page
left join lateral (
    select label
    from devices
    where scope = case when page.losing_side then $2 else $1 end
        and device_id = page.device_id
    limit 1
) as device on true
order by page.place
