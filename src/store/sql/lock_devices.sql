-- Locks devices that are about to be written, and passes over those that somebody else has locked: whoever writes
-- devices of many users in one transaction must not wait for one that it may be holding up.
--
-- $1 scope text[], $2 device_id text[]
-- Rows: ordinal bigint of each that is locked by somebody else. One that is not known is nobody's.
select seen.ordinal
from unnest($1::text[], $2::text[]) with ordinality as seen (scope, device_id, ordinal)
left join lateral (
    select true as is_ours
    from devices as known
    where known.scope = seen.scope
        and known.device_id = seen.device_id
    limit 1
    for no key update skip locked
) as locked on true
where locked.is_ours is null
    and (
        select true
        from devices as known
        where known.scope = seen.scope
            and known.device_id = seen.device_id
        limit 1
    )
