-- Gives many users workouts, as if a phone of each had pushed them one by one.
--
-- $1 users bigint, $2 entities of each bigint, $3 document text (JSON)
with others as (
    select 'user/other-' || other as scope
    from generate_series(1, $1::bigint) as other
),
filled as (
    insert into scopes (scope, revision, entities)
    select scope, $2::bigint, $2::bigint
    from others
)
insert into entities (
    scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
    device_id, foreign_version, mutation_id, edit_time, created_at, updated_at
)
select
    scope, 'workout', gen_random_uuid(), 1, revision, false, $3::text::jsonb, octet_length($3), 'applied',
    'phone', 0, gen_random_uuid(), now(), now(), now()
from others
cross join generate_series(1, $2::bigint) as revision
