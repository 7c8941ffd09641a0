-- A page of changes and nothing else, in the fastest way known: one index scan, data as text.
--
-- $1 scope text, $2 after bigint, $3 bigint: how many at most
-- Rows: entities, in the order of changes.
-- The second bound tells a plan for any parameters that entities_revision_key has them.
select
    revision, entity_type, entity_id, version, deleted, data::text as data, device_id,
    edit_time, created_at, updated_at
from entities
where scope = $1 and revision > $2 and revision > 0
order by revision
limit $3
