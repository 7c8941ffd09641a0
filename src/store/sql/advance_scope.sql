-- Moves a scope's revision past what a batch wrote, and counts its new entities.
--
-- $1 scope text, $2 the revision the batch started from bigint, $3 its last revision bigint,
-- $4 how many entities it added bigint
-- Count: 1, or somebody else wrote the scope without its lock.
update scopes
set revision = $3,
    entities = entities + $4
where scope = $1
    and revision = $2
