-- Puts marks of deleted accounts back that a restored backup does not have, for the operator.
--
-- $1 scope_digest bytea[], $2 erased_at timestamptz[], $3 revision bigint[]
-- Count: how many were missing.
insert into erasures (scope_digest, erased_at, revision)
select scope_digest, erased_at, revision
from unnest($1::bytea[], $2::timestamptz[], $3::bigint[]) as kept (scope_digest, erased_at, revision)
on conflict on constraint erasures_pkey do nothing
