-- Keeps what devices sent and the server does not hold as a version (promise 1).
--
-- $1 scope text, $2 device_id text, $3 received_at timestamptz: of the batch
-- $4 entity_type text[], $5 entity_id uuid[], $6 mutation_id uuid[], $7 conflict_id uuid[],
-- $8 base_version integer[], $9 server_version integer[], $10 data text[] (JSON; null: a deletion),
-- $11 content_id uuid[], $12 edit_time timestamptz[]
-- Count: one per side; losing_sides_pkey refuses one that is kept already.
insert into losing_sides (
    scope, entity_type, entity_id, mutation_id, conflict_id, device_id, base_version, server_version,
    deleted, data, data_bytes, content_id, edit_time, received_at
)
select
    $1, side.entity_type, side.entity_id, side.mutation_id, side.conflict_id, $2, side.base_version,
    side.server_version, side.data is null, side.data::jsonb,
    coalesce(octet_length(side.data::jsonb::text), 0), side.content_id, side.edit_time, $3
from unnest(
    $4::text[], $5::uuid[], $6::uuid[], $7::uuid[], $8::integer[], $9::integer[], $10::text[],
    $11::uuid[], $12::timestamptz[]
) as side (
    entity_type, entity_id, mutation_id, conflict_id, base_version, server_version, data, content_id,
    edit_time
)
