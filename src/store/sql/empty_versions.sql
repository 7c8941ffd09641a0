-- Removes the contents of old versions. The versions stay, and what wrote them (promises 4, 6 and 8).
--
-- $1 scope text
-- $2 entity_type text[], $3 entity_id uuid[], $4 version integer[]: the versions, each once
-- Count: how many lost their data; not those that an open conflict needs.
-- Under the lock of the scope, so that no conflict opens meanwhile and the rows stay where they are: they
-- are updated by their place (ctid), see update_entities.sql. The last column of the key is looked for as a
-- range: see read_written.sql.
update entity_versions as old
set data = null
from unnest($2::text[], $3::uuid[], $4::integer[]) as expired (entity_type, entity_id, version)
cross join lateral (
    select ctid
    from entity_versions
    where scope = $1
        and entity_type = expired.entity_type
        and entity_id = expired.entity_id
        and version between expired.version and expired.version
        and data is not null
    order by version
    limit 1
) as held
left join lateral (
    select true as found
    from conflicts
    where scope = $1
        and entity_type = expired.entity_type
        and entity_id = expired.entity_id
        and open
        and kind = 'edit'
        and expired.version in (base_version, server_version)
    limit 1
) as needed on true
where old.ctid = held.ctid
    and needed.found is null
    and (old.scope, old.version) is not distinct from ($1, expired.version)
