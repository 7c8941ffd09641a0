-- Adds to the last errors of devices. Equal ones, of one code and about one entity, are one, and are counted.
--
-- $1 scope text[], $2 device_id text[], $3 errors text[] (JSON lists, see migrations/0010_last_errors.sql),
-- $4 how many of a device are kept bigint
-- Count: one per device; none for those that are not known.
update devices as known
set last_errors = (
    select coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(latest)) order by latest.last_time desc, latest.code), '[]')
    from (
        select
            max(error.last_time) as last_time,
            min(error.first_time) as first_time,
            sum(error.count)::bigint as count,
            error.code,
            (array_agg(error.message order by error.last_time desc))[1] as message,
            error.entity_type,
            error.entity_id
        from jsonb_to_recordset(seen.errors::jsonb || known.last_errors) as error (
            last_time bigint, first_time bigint, count bigint, code text, message text, entity_type text, entity_id uuid
        )
        group by error.code, error.entity_type, error.entity_id
        order by max(error.last_time) desc, error.code
        limit $4::bigint
    ) as latest
)
from unnest($1::text[], $2::text[], $3::text[]) as seen (scope, device_id, errors)
where known.scope = seen.scope
    and known.device_id = seen.device_id
