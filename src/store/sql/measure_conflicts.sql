-- Counts the conflicts that wait for a person, of all users together, and finds the oldest.
--
-- $1 how many to count at most bigint
-- Row: open bigint, oldest_at timestamptz (null: there is none)
select count(*) as open, min(waiting.opened_at) as oldest_at
from (
    select opened_at
    from conflicts
    where open
    order by opened_at
    limit $1
) as waiting
