-- Makes a scope, for its first push. Waits for another first push that is under way.
--
-- $1 scope text
-- No rows.
insert into scopes (scope)
values ($1)
on conflict on constraint scopes_pkey do nothing
