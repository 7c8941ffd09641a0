-- Reads a page of a user's conflicts, by id.
--
-- $1 scope text, $2 conflict_id uuid: behind this one (nil: from the first), $3 how many at most bigint
-- Rows: all columns of each conflict, in order.
select
    conflict_id, kind, entity_type, entity_id, other_id, device_id, mutation_id, base_version,
    server_version, rule, policy, asked, open, revision, opened_at, settlement, settled_by, settled_at,
    settled_version
from conflicts as conflict
where conflict.scope = $1
    and conflict.conflict_id > $2
order by conflict_id
limit $3
