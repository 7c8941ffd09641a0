-- Finds what the mutations of a batch wrote before (rule 1).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: one per item
-- Rows: one per item whose mutation has written a version of its entity.
select
    item.ordinal,
    entity.version,
    entity.resolution,
    entity.updated_at
from unnest($2::text[], $3::uuid[], $4::uuid[])
    with ordinality as item (entity_type, entity_id, mutation_id, ordinal)
join entities as entity
    on entity.scope = $1
    and entity.entity_type = item.entity_type
    and entity.entity_id = item.entity_id
    and entity.mutation_id = item.mutation_id
union all
select
    item.ordinal,
    old.version,
    old.resolution,
    old.updated_at
from unnest($2::text[], $3::uuid[], $4::uuid[])
    with ordinality as item (entity_type, entity_id, mutation_id, ordinal)
join entity_versions as old
    on old.scope = $1
    and old.entity_type = item.entity_type
    and old.entity_id = item.entity_id
    and old.mutation_id = item.mutation_id
