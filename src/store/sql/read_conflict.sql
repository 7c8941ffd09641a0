-- Reads a conflict with the losing side that counts now.
--
-- $1 scope text, $2 conflict_id uuid
-- Row: all columns of the conflict, side_found boolean, side text (null: the edit deletes the entity).
-- The last column of the side's key is looked for as a range: see read_written.sql.
select
    conflict.conflict_id, conflict.kind, conflict.entity_type, conflict.entity_id, conflict.other_id,
    conflict.device_id, conflict.mutation_id, conflict.base_version, conflict.server_version,
    conflict.rule, conflict.policy, conflict.asked, conflict.open, conflict.revision,
    conflict.opened_at, conflict.settlement, conflict.settled_by, conflict.settled_at,
    conflict.settled_version,
    side.mutation_id is not null as side_found,
    side.data::text as side
from conflicts as conflict
left join lateral (
    select mutation_id, data
    from losing_sides
    where scope = $1
        and entity_type = conflict.entity_type
        and entity_id = conflict.entity_id
        and mutation_id between conflict.mutation_id and conflict.mutation_id
    order by mutation_id
    limit 1
) as side on true
where conflict.scope = $1
    and conflict.conflict_id = $2
