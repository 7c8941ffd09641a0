-- Counts over all scopes, as the keeper.
--
-- Row: users bigint, revisions bigint: how many were ever given out, open_conflicts bigint,
-- users_in_conflict bigint
select
    count(*) filter (where scope <> 'library') as users,
    coalesce(sum(revision), 0)::bigint as revisions,
    coalesce(sum(open_conflicts), 0)::bigint as open_conflicts,
    count(*) filter (where open_conflicts > 0) as users_in_conflict
from scopes
