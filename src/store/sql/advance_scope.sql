-- Moves a scope's revision past what a batch wrote.
--
-- $1 scope text, $2 the revision the batch started from bigint, $3 its last revision bigint
-- Count: 1, or somebody else wrote the scope without its lock.
update scopes
set revision = $3
where scope = $1
    and revision = $2
