-- The durable work of a push of one update and nothing else, in the fastest way known: one statement, one round
-- trip, one commit, no arrays. Ends in an error unless the entity still has its base version.
--
-- $1 scope text, $2 device_id text
-- $3 entity_type text, $4 entity_id uuid, $5 base version integer, $6 data text (JSON), $7 mutation_id uuid
-- Row: 1
with moved as (
    update scopes
    set revision = revision + 1
    where scope = $1
    returning revision
),
kept as (
    insert into entity_versions (
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, updated_at
    )
    select
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, updated_at
    from entities
    where scope = $1
        and entity_type = $3
        and entity_id = $4
        and version = $5
),
written as (
    update entities as entity
    set version = $5 + 1,
        revision = moved.revision,
        deleted = false,
        data = $6::text::jsonb,
        data_bytes = octet_length($6::text::jsonb::text),
        resolution = 'applied',
        device_id = $2,
        mutation_id = $7,
        edit_time = now(),
        updated_at = now()
    from moved
    where entity.scope = $1
        and entity.entity_type = $3
        and entity.entity_id = $4
        and entity.version = $5
    returning 1
)
select 1 / (count(*) = 1)::integer as complete
from written
