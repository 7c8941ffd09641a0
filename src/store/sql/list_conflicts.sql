-- Reads a page of a scope's conflicts, the one that changed last first.
--
-- $1 scope text, $2 open boolean, $3 entity_type text (null: any),
-- $4 before bigint (the largest there is: from the newest), $5 how many at most bigint
-- Rows: all columns of each conflict, and device_label text.
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
    and conflict.open = $2
    and ($3::text is null or conflict.entity_type = $3)
    and conflict.revision > 0
    and conflict.revision < $4
order by conflict.revision desc
limit $5
