-- Counts what there is of a user.
--
-- $1 scope text
-- Row: revision bigint (0: never written), devices bigint, entities bigint, old_versions bigint,
-- losing_sides bigint, conflicts bigint; plan text (null: nothing was ever said), expires_at timestamptz
-- (null: never)
select
    coalesce((select revision from scopes where scope = $1), 0) as revision,
    (select count(*) from devices where scope = $1) as devices,
    (select count(*) from entities where scope = $1) as entities,
    (select count(*) from entity_versions where scope = $1) as old_versions,
    (select count(*) from losing_sides where scope = $1) as losing_sides,
    (select count(*) from conflicts where scope = $1) as conflicts,
    account.plan,
    account.expires_at
from (select) as asked
left join accounts as account on account.scope = $1
