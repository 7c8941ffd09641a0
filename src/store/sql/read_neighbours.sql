-- Finds what began at about the same time as the new entities of a batch.
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 from timestamptz[], $5 began_at timestamptz[],
-- $6 until timestamptz[]
-- Rows: per new entity the two nearest before and the two nearest from then on: ordinal,
-- entity_id uuid, began_at timestamptz.
select
    new.ordinal,
    neighbour.entity_id,
    neighbour.began_at
from unnest($2::text[], $3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
    with ordinality as new (entity_type, entity_id, from_time, began_at, until_time, ordinal)
cross join lateral (
    (
        select entity_id, began_at
        from entities
        where scope = $1
            and entity_type = new.entity_type
            and began_at >= new.from_time
            and began_at < new.began_at
            and began_at is not null
            and not deleted
            and entity_id <> new.entity_id
        order by began_at desc
        limit 2
    )
    union all
    (
        select entity_id, began_at
        from entities
        where scope = $1
            and entity_type = new.entity_type
            and began_at >= new.began_at
            and began_at <= new.until_time
            and began_at is not null
            and not deleted
            and entity_id <> new.entity_id
        order by began_at
        limit 2
    )
) as neighbour
