-- Deletes rows of an account that was deleted, a bounded number of each table.
--
-- $1 scope text, $2 how many of each table at most bigint
-- Row: how many went: devices bigint, entities bigint, old_versions bigint, losing_sides bigint,
-- conflicts bigint. All 0: the scope's own row is left.
-- Under the lock of the scope, so that the rows stay where they are: they are deleted by their place (ctid),
-- see update_entities.sql. In the order of the keys, which each step goes on in.
with gone_devices as (
    delete from devices as device
    using (
        select ctid
        from devices
        where scope = $1
        order by device_id
        limit $2::bigint
    ) as place
    where device.ctid = place.ctid
        and device.scope is not distinct from $1
    returning true
),
gone_entities as (
    delete from entities as entity
    using (
        select ctid
        from entities
        where scope = $1
        order by entity_type, entity_id
        limit $2::bigint
    ) as place
    where entity.ctid = place.ctid
        and entity.scope is not distinct from $1
    returning true
),
gone_versions as (
    delete from entity_versions as old
    using (
        select ctid
        from entity_versions
        where scope = $1
        order by entity_type, entity_id, version
        limit $2::bigint
    ) as place
    where old.ctid = place.ctid
        and old.scope is not distinct from $1
    returning true
),
gone_sides as (
    delete from losing_sides as side
    using (
        select ctid
        from losing_sides
        where scope = $1
        order by entity_type, entity_id, mutation_id
        limit $2::bigint
    ) as place
    where side.ctid = place.ctid
        and side.scope is not distinct from $1
    returning true
),
gone_conflicts as (
    delete from conflicts as conflict
    using (
        select ctid
        from conflicts
        where scope = $1
        order by conflict_id
        limit $2::bigint
    ) as place
    where conflict.ctid = place.ctid
        and conflict.scope is not distinct from $1
    returning true
)
select
    (select count(*) from gone_devices) as devices,
    (select count(*) from gone_entities) as entities,
    (select count(*) from gone_versions) as old_versions,
    (select count(*) from gone_sides) as losing_sides,
    (select count(*) from gone_conflicts) as conflicts
