-- Replaces the current versions of entities, each only if it still is the one the batch was
-- decided on.
--
-- $1 scope text, $2 device_id text, $3 now timestamptz: of the batch
-- $4 entity_type text[], $5 entity_id uuid[], $6 version integer[], $7 revision bigint[],
-- $8 data text[] (JSON; null for a tombstone), $9 resolution text[], $10 mutation_id uuid[],
-- $11 edit_time timestamptz[], $12 cause text[], $13 rule smallint[], $14 policy text[],
-- $15 foreign_version integer[], $16 clock_offset_ms bigint[], $17 began_at timestamptz[],
-- $18 base_version integer[], $19 replaced version integer[]
-- Count: one per entity, or the batch is not based on what the store holds.
-- The rows are looked up laterally (see read_written.sql) and updated by their place (ctid): the lock
-- of the scope keeps them where they are, and a row that has moved all the same is not updated. The
-- guard is written so that no index is tempting for it.
update entities as entity
set version = new.version,
    revision = new.revision,
    deleted = new.data is null,
    data = new.data::jsonb,
    data_bytes = coalesce(octet_length(new.data::jsonb::text), 0),
    resolution = new.resolution,
    device_id = $2,
    foreign_version = new.foreign_version,
    mutation_id = new.mutation_id,
    base_version = new.base_version,
    edit_time = new.edit_time,
    clock_offset_ms = new.clock_offset_ms,
    began_at = new.began_at,
    cause = new.cause,
    rule = new.rule,
    policy = new.policy,
    updated_at = $3
from unnest(
    $4::text[], $5::uuid[], $6::integer[], $7::bigint[], $8::text[], $9::text[], $10::uuid[],
    $11::timestamptz[], $12::text[], $13::smallint[], $14::text[], $15::integer[], $16::bigint[],
    $17::timestamptz[], $18::integer[], $19::integer[]
) as new (
    entity_type, entity_id, version, revision, data, resolution, mutation_id, edit_time, cause, rule,
    policy, foreign_version, clock_offset_ms, began_at, base_version, replaced
)
cross join lateral (
    select ctid
    from entities
    where scope = $1
        and entity_type = new.entity_type
        and entity_id = new.entity_id
    limit 1
) as found
where entity.ctid = found.ctid
    and (entity.scope, entity.version) is not distinct from ($1, new.replaced)
