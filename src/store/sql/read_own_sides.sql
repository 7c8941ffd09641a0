-- Reads what a device itself has sent, where the current version is the merge of that.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 mutation_id uuid[]: the edits, each once
-- $5 bigint: how many bytes of data to read
-- Rows: one per edit that is kept: deleted boolean, data text (null: a deletion), withheld boolean
-- (beyond $5 bytes; never the first).
-- Lateral, with a limit, and the last column of the key as a range: see read_written.sql.
with found as (
    select
        named.ordinal,
        side.deleted,
        side.data,
        side.data_bytes,
        sum(side.data_bytes) over (order by named.ordinal) as so_far
    from unnest($2::text[], $3::uuid[], $4::uuid[])
        with ordinality as named (entity_type, entity_id, mutation_id, ordinal)
    cross join lateral (
        select deleted, data, data_bytes
        from losing_sides
        where scope = $1
            and entity_type = named.entity_type
            and entity_id = named.entity_id
            and mutation_id between named.mutation_id and named.mutation_id
        order by mutation_id
        limit 1
    ) as side
)
select
    ordinal,
    deleted,
    not deleted and so_far > $5 and so_far > data_bytes as withheld,
    case when so_far <= $5 or so_far <= data_bytes then data::text end as data
from found
