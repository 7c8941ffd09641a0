-- Reads the losing sides of a conflict: the one that counts, then the newest.
--
-- $1 scope text, $2 conflict_id uuid, $3 mutation_id uuid: the side that counts,
-- $4 how many at most bigint, $5 how many bytes of data to read bigint
-- Rows: all columns of each side, and device_label text. Data is read as far as $5 goes, of the first in
-- any case.
-- The last column of a side's key is looked for as a range: see read_written.sql.
with listed as (
    select
        entity_type, entity_id, mutation_id, conflict_id, device_id, base_version, server_version, deleted,
        data_bytes, content_id, edit_time, received_at,
        row_number() over (order by mutation_id = $3 desc, received_at desc, mutation_id) as place
    from losing_sides
    where scope = $1
        and conflict_id = $2
    order by place
    limit $4
),
measured as (
    select
        listed.*,
        sum(data_bytes) over (order by place) as so_far
    from listed
)
select
    side.entity_type,
    side.entity_id,
    side.mutation_id,
    side.conflict_id,
    side.device_id,
    side.base_version,
    side.server_version,
    side.deleted,
    side.content_id,
    found.data,
    side.edit_time,
    side.received_at,
    device.label as device_label
from measured as side
left join lateral (
    select data::text as data
    from losing_sides
    where scope = $1
        and entity_type = side.entity_type
        and entity_id = side.entity_id
        and mutation_id between side.mutation_id and side.mutation_id
        and (side.so_far <= $5 or side.place = 1)
    order by mutation_id
    limit 1
) as found on true
left join lateral (
    select label
    from devices
    where scope = $1
        and device_id = side.device_id
    limit 1
) as device on true
order by side.place
