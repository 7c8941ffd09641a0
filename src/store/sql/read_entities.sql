-- Reads the entities a batch names, each once.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[]: the entities
-- $4 base integer[]: the base version all items of the entity share, or -1 where they differ
-- $5 bigint: how many bytes of data to read
-- Rows: one per entity that exists. Its data is read only where it is live and some item is not
-- based on its version; beyond $5 bytes it is withheld, except for the first.
-- Lateral, with a limit: see read_written.sql.
with found as (
    select
        named.ordinal,
        entity.*,
        case when entity.version <> named.base then entity.data_bytes else 0 end as wanted
    from unnest($2::text[], $3::uuid[], $4::integer[])
        with ordinality as named (entity_type, entity_id, base, ordinal)
    cross join lateral (
        select
            version, deleted, data, data_bytes, device_id, foreign_version, base_version, mutation_id,
            resolution, edit_time, clock_offset_ms, updated_at
        from entities
        where scope = $1
            and entity_type = named.entity_type
            and entity_id = named.entity_id
        limit 1
    ) as entity
),
measured as (
    select
        found.*,
        coalesce(
            sum(wanted) over (
                order by ordinal rows between unbounded preceding and 1 preceding
            ),
            0
        ) as before
    from found
)
select
    entity.ordinal,
    entity.version,
    entity.deleted,
    entity.wanted > 0 and entity.before > 0 and entity.before + entity.wanted > $5 as withheld,
    case
        when entity.wanted > 0 and (entity.before = 0 or entity.before + entity.wanted <= $5)
            then entity.data::text
    end as data,
    entity.device_id,
    device.label as device_label,
    entity.foreign_version,
    entity.base_version,
    entity.mutation_id,
    entity.resolution = 'merged' as merged,
    entity.edit_time,
    entity.clock_offset_ms,
    entity.updated_at
from measured as entity
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = entity.device_id
    limit 1
) as device on true
