-- Writes conflicts at their new state.
--
-- $1 scope text
-- $2 conflict_id uuid[], $3 kind text[], $4 entity_type text[], $5 entity_id uuid[], $6 other_id uuid[],
-- $7 device_id text[], $8 mutation_id uuid[], $9 base_version integer[], $10 server_version integer[],
-- $11 rule smallint[], $12 policy text[], $13 asked boolean[], $14 revision bigint[],
-- $15 opened_at timestamptz[], $16 settlement text[] (null: open), $17 settled_by text[],
-- $18 settled_at timestamptz[], $19 settled_version integer[]
-- Count: one per conflict; conflicts_open_key refuses a second open one of an entity and device.
insert into conflicts as known (
    scope, conflict_id, kind, entity_type, entity_id, other_id, device_id, mutation_id, base_version,
    server_version, rule, policy, asked, open, revision, opened_at, settlement, settled_by, settled_at,
    settled_version
)
select
    $1, new.conflict_id, new.kind, new.entity_type, new.entity_id, new.other_id, new.device_id,
    new.mutation_id, new.base_version, new.server_version, new.rule, new.policy, new.asked,
    new.settlement is null, new.revision, new.opened_at, new.settlement, new.settled_by,
    new.settled_at, new.settled_version
from unnest(
    $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::uuid[], $9::integer[],
    $10::integer[], $11::smallint[], $12::text[], $13::boolean[], $14::bigint[], $15::timestamptz[],
    $16::text[], $17::text[], $18::timestamptz[], $19::integer[]
) as new (
    conflict_id, kind, entity_type, entity_id, other_id, device_id, mutation_id, base_version,
    server_version, rule, policy, asked, revision, opened_at, settlement, settled_by, settled_at,
    settled_version
)
on conflict on constraint conflicts_pkey do update
set mutation_id = excluded.mutation_id,
    base_version = excluded.base_version,
    server_version = excluded.server_version,
    rule = excluded.rule,
    policy = excluded.policy,
    asked = excluded.asked,
    open = excluded.open,
    revision = excluded.revision,
    settlement = excluded.settlement,
    settled_by = excluded.settled_by,
    settled_at = excluded.settled_at,
    settled_version = excluded.settled_version
