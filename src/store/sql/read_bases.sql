-- Reads what entities held at old versions, for merges.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 version integer[]: the versions, each once
-- $5 bigint: how many bytes of data to read
-- Rows: one per version that is known: deleted boolean, data text (null: a tombstone, or removed by
-- retention), withheld boolean (beyond $5 bytes; never the first).
-- Lateral, with a limit, and the last column of the key as a range: see read_written.sql.
with found as (
    select
        named.ordinal,
        old.deleted,
        old.data::text as data
    from unnest($2::text[], $3::uuid[], $4::integer[])
        with ordinality as named (entity_type, entity_id, version, ordinal)
    cross join lateral (
        select deleted, data
        from entity_versions
        where scope = $1
            and entity_type = named.entity_type
            and entity_id = named.entity_id
            and version between named.version and named.version
        order by version
        limit 1
    ) as old
),
measured as (
    select
        found.*,
        sum(octet_length(data)) over (order by ordinal) as so_far,
        octet_length(data) as size
    from found
)
select
    ordinal,
    deleted,
    coalesce(so_far > $5 and so_far > size, false) as withheld,
    case when so_far <= $5 or so_far <= size then data end as data
from measured
