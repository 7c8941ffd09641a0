-- Moves a scope's revision past what a batch wrote, and counts its new entities and open conflicts.
--
-- $1 scope text, $2 the revision the batch started from bigint, $3 its last revision bigint,
-- $4 how many entities it added bigint, $5 how many conflicts it opened, less those it closed integer,
-- $6 whether it changed the inbox boolean
-- Count: 1, or somebody else wrote the scope without its lock.
update scopes
set revision = $3,
    entities = entities + $4,
    open_conflicts = open_conflicts + $5,
    inbox_revision = case when $6 then $3 else inbox_revision end
where scope = $1
    and revision = $2
