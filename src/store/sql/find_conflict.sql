-- Reads one conflict.
--
-- $1 scope text, $2 conflict_id uuid
-- Row: all columns of the conflict, and device_label text.
select
    conflict.conflict_id, conflict.kind, conflict.entity_type, conflict.entity_id, conflict.other_id,
    conflict.device_id, conflict.mutation_id, conflict.base_version, conflict.server_version,
    conflict.rule, conflict.policy, conflict.asked, conflict.open, conflict.revision,
    conflict.opened_at, conflict.settlement, conflict.settled_by, conflict.settled_at,
    conflict.settled_version,
    device.label as device_label
from conflicts as conflict
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = conflict.device_id
    limit 1
) as device on true
where conflict.scope = $1
    and conflict.conflict_id = $2
