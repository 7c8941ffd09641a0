-- Everything a user has and nothing else, in the fastest way known: one index scan, streamed, data as text.
--
-- $1 scope text
-- Rows: every entity, in the order of changes.
select
    revision, entity_type, entity_id, version, deleted, data::text as data, device_id,
    edit_time, created_at, updated_at
from entities
where scope = $1 and revision > 0
order by revision
