-- Reads a page of the old versions that still hold data, the oldest first, and which may lose it.
--
-- $1 scope text
-- $2 updated_at timestamptz, $3 entity_type text, $4 entity_id uuid, $5 version integer: behind this one
-- $6 before timestamptz: none that is as new as this, $7 how many at most bigint
-- $8 entity_type text[], $9 versions_before timestamptz[], $10 versions_min bigint[],
-- $11 deleted_before timestamptz[]: by type
-- $12 versions_before timestamptz, $13 versions_min bigint, $14 deleted_before timestamptz: of other types
-- Rows: one per version: its place in this order, and expired boolean.
-- A range of entity_versions_held_idx. It is gathered by entity, so that what protects an entity's versions
-- is looked up once. Lateral, with a limit: see read_written.sql.
select
    old.updated_at,
    entity.entity_type,
    entity.entity_id,
    old.version,
    needed.found is null
    and (
        coalesce(deletion.at < coalesce(rule.deleted_before, $14), false)
        or old.updated_at < coalesce(rule.versions_before, $12)
        and coalesce(old.version <= surplus.version, false)
    ) as expired
from (
    select
        entity_type,
        entity_id,
        array_agg(updated_at) as times,
        array_agg(version) as versions
    from (
        select updated_at, entity_type, entity_id, version
        from entity_versions
        where scope = $1
            and data is not null
            and (updated_at, entity_type, entity_id, version) > ($2, $3, $4, $5)
            and updated_at < $6
        order by updated_at, entity_type, entity_id, version
        limit $7
    ) as page
    group by entity_type, entity_id
) as entity
left join unnest($8::text[], $9::timestamptz[], $10::bigint[], $11::timestamptz[])
    as rule (entity_type, versions_before, versions_min, deleted_before)
    on rule.entity_type = entity.entity_type
left join lateral (
    select case when deleted then updated_at end as at
    from entities
    where scope = $1
        and entity_type = entity.entity_type
        and entity_id = entity.entity_id
    limit 1
) as deletion on true
left join lateral (
    -- The newest version that is not one of the newest so many.
    select version
    from entity_versions
    where scope = $1
        and entity_type = entity.entity_type
        and entity_id = entity.entity_id
    order by version desc
    offset coalesce(rule.versions_min, $13)
    limit 1
) as surplus on true
cross join unnest(entity.times, entity.versions) as old (updated_at, version)
left join lateral (
    -- An open conflict that is about this version.
    select true as found
    from conflicts
    where scope = $1
        and entity_type = entity.entity_type
        and entity_id = entity.entity_id
        and open
        and kind = 'edit'
        and old.version in (base_version, server_version)
    limit 1
) as needed on true
order by old.updated_at, entity.entity_type, entity.entity_id, old.version
