-- The durable work of a push of updates and nothing else, in the fastest way known: one statement,
-- one round trip, one commit. Ends in an error unless every entity still has its base version.
--
-- $1 scope text, $2 device_id text
-- $3 entity_type text[], $4 entity_id uuid[], $5 base version integer[], $6 data text[] (JSON),
-- $7 mutation_id uuid[]
-- Row: 1
with new as (
    select *
    from unnest($3::text[], $4::uuid[], $5::integer[], $6::text[], $7::uuid[])
        with ordinality as new (entity_type, entity_id, base, data, mutation_id, ordinal)
),
moved as (
    update scopes
    set revision = revision + cardinality($4::uuid[])
    where scope = $1
    returning revision - cardinality($4::uuid[]) as before
),
kept as (
    insert into entity_versions (
        scope, entity_type, entity_id, version, revision, deleted, data, resolution,
        device_id, mutation_id, edit_time, updated_at
    )
    select
        entity.scope, entity.entity_type, entity.entity_id, entity.version, entity.revision,
        entity.deleted, entity.data, entity.resolution,
        entity.device_id, entity.mutation_id, entity.edit_time, entity.updated_at
    from new
    join entities as entity
        on entity.scope = $1
        and entity.entity_type = new.entity_type
        and entity.entity_id = new.entity_id
        and entity.version = new.base
),
written as (
    update entities as entity
    set version = new.base + 1,
        revision = moved.before + new.ordinal,
        deleted = false,
        data = new.data::jsonb,
        data_bytes = octet_length(new.data::jsonb::text),
        resolution = 'applied',
        device_id = $2,
        mutation_id = new.mutation_id,
        edit_time = now(),
        updated_at = now()
    from new, moved
    where entity.scope = $1
        and entity.entity_type = new.entity_type
        and entity.entity_id = new.entity_id
        and entity.version = new.base
    returning 1
)
select 1 / (count(*) = cardinality($4::uuid[]))::integer as complete
from written
