-- Takes the lock under which a batch is decided and written, and reads where its revisions go on.
--
-- $1 scope text
-- Row: revision bigint, entities bigint (tombstones included), open_conflicts integer. No row: the scope has
-- never been written.
-- Locks the scope's row until the transaction ends. Copies must be read in a LATER statement:
-- this one's snapshot is older than the lock.
select revision, entities, open_conflicts
from scopes
where scope = $1
for no key update
