-- Writes entities the scope did not have.
--
-- $1 scope text, $2 device_id text, $3 now timestamptz: of the batch
-- $4 entity_type text[], $5 entity_id uuid[], $6 version integer[], $7 revision bigint[],
-- $8 data text[] (JSON; null for a tombstone), $9 resolution text[], $10 mutation_id uuid[],
-- $11 edit_time timestamptz[], $12 cause text[], $13 rule smallint[], $14 policy text[],
-- $15 foreign_version integer[], $16 clock_offset_ms bigint[], $17 began_at timestamptz[],
-- $18 base_version integer[]
-- Count: one per entity; entities_pkey refuses one that exists after all.
insert into entities (
    scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
    device_id, foreign_version, mutation_id, base_version, edit_time, clock_offset_ms, began_at,
    cause, rule, policy, created_at, updated_at
)
select
    $1, new.entity_type, new.entity_id, new.version, new.revision, new.data is null,
    new.data::jsonb, coalesce(octet_length(new.data::jsonb::text), 0), new.resolution,
    $2, new.foreign_version, new.mutation_id, new.base_version, new.edit_time, new.clock_offset_ms, new.began_at,
    new.cause, new.rule, new.policy, $3, $3
from unnest(
    $4::text[], $5::uuid[], $6::integer[], $7::bigint[], $8::text[], $9::text[], $10::uuid[],
    $11::timestamptz[], $12::text[], $13::smallint[], $14::text[], $15::integer[], $16::bigint[],
    $17::timestamptz[], $18::integer[]
) as new (
    entity_type, entity_id, version, revision, data, resolution, mutation_id, edit_time, cause, rule,
    policy, foreign_version, clock_offset_ms, began_at, base_version
)
