-- Reads all conflicts an entity was ever in, as far as retention has kept them.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 how many at most bigint
-- Rows: all columns of each conflict, and device_label text; the newest first. Settled conflicts have no index
-- by entity: this goes through those of the scope, which an operator's question may.
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
    and conflict.entity_type = $2
    and (conflict.entity_id = $3 or conflict.other_id = $3)
order by conflict.opened_at desc, conflict.conflict_id
limit $4
