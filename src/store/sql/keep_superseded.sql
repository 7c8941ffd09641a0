-- Copies the current versions that are about to be replaced into the history (promise 1).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 version integer[]: the versions to be replaced
-- Count: one per entity, or the batch is not based on what the store holds.
-- Lateral, with a limit: see read_written.sql.
insert into entity_versions (
    scope, entity_type, entity_id, version, revision, deleted, data, resolution,
    device_id, mutation_id, edit_time, cause, rule, policy, updated_at
)
select
    entity.scope, entity.entity_type, entity.entity_id, entity.version, entity.revision,
    entity.deleted, entity.data, entity.resolution,
    entity.device_id, entity.mutation_id, entity.edit_time,
    entity.cause, entity.rule, entity.policy, entity.updated_at
from unnest($2::text[], $3::uuid[], $4::integer[]) as replaced (entity_type, entity_id, version)
cross join lateral (
    select
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, cause, rule, policy, updated_at
    from entities
    where scope = $1
        and entity_type = replaced.entity_type
        and entity_id = replaced.entity_id
        and version = replaced.version
    limit 1
) as entity
