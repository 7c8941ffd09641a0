-- Makes the scope of an account that is opened again, behind everything it had before.
--
-- $1 scope text, $2 the last revision it had bigint
-- Count: 1.
insert into scopes as known (scope, revision)
values ($1, $2)
on conflict on constraint scopes_pkey do update
set revision = greatest(excluded.revision, known.revision)
