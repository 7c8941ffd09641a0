-- Reads the open conflicts about the entities of a batch: of the device's own edits, and duplicates.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[]: the entities, each once
-- $4 device_id text
-- Rows: one per conflict; of each entity at most 100 where it is the newer or only one, and 100 where it is
-- the older of two. An edit has one per device, so only possible duplicates can be more: those that are left
-- out wait on.
select
    conflict.conflict_id, conflict.kind, conflict.entity_type, conflict.entity_id, conflict.other_id,
    conflict.device_id, conflict.mutation_id, conflict.base_version, conflict.server_version,
    conflict.rule, conflict.policy, conflict.asked, conflict.open, conflict.revision,
    conflict.opened_at, conflict.settlement, conflict.settled_by, conflict.settled_at,
    conflict.settled_version
from unnest($2::text[], $3::uuid[]) as named (entity_type, entity_id)
cross join lateral (
    (
        select conflict_id, kind, entity_type, entity_id, other_id, device_id, mutation_id,
            base_version, server_version, rule, policy, asked, open, revision, opened_at, settlement,
            settled_by, settled_at, settled_version
        from conflicts
        where scope = $1
            and entity_type = named.entity_type
            and entity_id = named.entity_id
            and open
            and (device_id = $4 or kind = 'duplicate')
        limit 100
    )
    union
    (
        select conflict_id, kind, entity_type, entity_id, other_id, device_id, mutation_id,
            base_version, server_version, rule, policy, asked, open, revision, opened_at, settlement,
            settled_by, settled_at, settled_version
        from conflicts
        where scope = $1
            and entity_type = named.entity_type
            and other_id = named.entity_id
            and open
            and kind = 'duplicate'
        limit 100
    )
) as conflict
