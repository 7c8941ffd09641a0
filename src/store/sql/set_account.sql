-- Says what a user has paid for.
--
-- $1 scope text, $2 plan text, $3 expires_at timestamptz (null: never), $4 now timestamptz
-- Count: 1.
insert into accounts (scope, plan, expires_at, updated_at)
values ($1, $2, $3, $4)
on conflict on constraint accounts_pkey do update
set plan = excluded.plan,
    expires_at = excluded.expires_at,
    updated_at = excluded.updated_at
