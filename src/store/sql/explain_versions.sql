-- Reads why the versions of an entity were written, without what they hold.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 how many at most bigint
-- Rows: one per version, the newest first. emptied: retention has removed its data.
select
    written.version, written.revision, written.current, written.deleted, written.emptied, written.device_id,
    written.edit_time, written.updated_at, written.mutation_id, written.resolution, written.cause,
    written.rule, written.policy,
    device.label as device_label
from (
    (
        select
            version, revision, true as current, deleted, false as emptied, device_id, edit_time, updated_at,
            mutation_id, resolution, cause, rule, policy
        from entities
        where scope = $1
            and entity_type = $2
            and entity_id = $3
    )
    union all
    (
        select
            version, revision, false, deleted, data is null and not deleted, device_id, edit_time, updated_at,
            mutation_id, resolution, cause, rule, policy
        from entity_versions
        where scope = $1
            and entity_type = $2
            and entity_id = $3
        order by version desc
        limit $4
    )
) as written
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = written.device_id
    limit 1
) as device on true
order by written.version desc
limit $4
