-- How many of a scope's conflicts wait for the person.
--
-- $1 scope text
-- Row: open_conflicts integer. No row: the scope has never been written.
select open_conflicts
from scopes
where scope = $1
