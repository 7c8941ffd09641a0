-- Copies the current versions that are about to be replaced into the history (promise 1).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 version integer[]: the versions to be replaced
-- Count: one per entity, or the batch is not based on what the store holds.
insert into entity_versions (
    scope, entity_type, entity_id, version, revision, deleted, data, resolution,
    device_id, mutation_id, edit_time, updated_at
)
select
    entity.scope, entity.entity_type, entity.entity_id, entity.version, entity.revision,
    entity.deleted, entity.data, entity.resolution,
    entity.device_id, entity.mutation_id, entity.edit_time, entity.updated_at
from unnest($2::text[], $3::uuid[], $4::integer[]) as replaced (entity_type, entity_id, version)
join entities as entity
    on entity.scope = $1
    and entity.entity_type = replaced.entity_type
    and entity.entity_id = replaced.entity_id
    and entity.version = replaced.version
