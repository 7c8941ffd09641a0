-- Writes versions that were superseded within their own batch (a chain of edits of one entity).
--
-- $1 scope text, $2 device_id text, $3 updated_at timestamptz: of the batch
-- $4 entity_type text[], $5 entity_id uuid[], $6 version integer[], $7 revision bigint[],
-- $8 data text[] (JSON; null for a tombstone), $9 resolution text[], $10 mutation_id uuid[],
-- $11 edit_time timestamptz[], $12 cause text[], $13 rule smallint[], $14 policy text[]
-- Count: one per version.
insert into entity_versions (
    scope, entity_type, entity_id, version, revision, deleted, data, resolution,
    device_id, mutation_id, edit_time, cause, rule, policy, updated_at
)
select
    $1, new.entity_type, new.entity_id, new.version, new.revision, new.data is null,
    new.data::jsonb, new.resolution, $2, new.mutation_id, new.edit_time,
    new.cause, new.rule, new.policy, $3
from unnest(
    $4::text[], $5::uuid[], $6::integer[], $7::bigint[], $8::text[], $9::text[], $10::uuid[],
    $11::timestamptz[], $12::text[], $13::smallint[], $14::text[]
) as new (
    entity_type, entity_id, version, revision, data, resolution, mutation_id, edit_time, cause, rule,
    policy
)
