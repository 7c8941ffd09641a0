-- Reads how the inbox has changed, for watchers.
--
-- $1 scope text, $2 after bigint, $3 until bigint, $4 began_at bigint (up to here only open ones),
-- $5 how many at most bigint
-- Rows: all columns of each conflict the person is or was asked about, in order.
select
    conflict.conflict_id, conflict.kind, conflict.entity_type, conflict.entity_id, conflict.other_id,
    conflict.device_id, conflict.mutation_id, conflict.base_version, conflict.server_version,
    conflict.rule, conflict.policy, conflict.asked, conflict.open, conflict.revision,
    conflict.opened_at, conflict.settlement, conflict.settled_by, conflict.settled_at,
    conflict.settled_version
from conflicts as conflict
where conflict.scope = $1
    and conflict.revision > 0
    and conflict.revision > $2
    and conflict.revision <= $3
    and conflict.asked
    and (conflict.open or conflict.revision > $4)
order by conflict.revision
limit $5
