-- Fills an empty scope with workouts, as if a phone had pushed them one by one.
--
-- $1 scope text, $2 entities bigint, $3 document text (JSON; its "number":0 becomes the revision)
with filled as (
    insert into scopes (scope, revision, entities)
    values ($1, $2, $2)
)
insert into entities (
    scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
    device_id, foreign_version, mutation_id, edit_time, created_at, updated_at
)
select
    $1, 'workout', gen_random_uuid(), 1, revision, false,
    replace($3::text, '"number":0', '"number":' || revision)::jsonb, octet_length($3), 'applied',
    'phone', 0, gen_random_uuid(), now(), now(), now()
from generate_series(1, $2) as revision
