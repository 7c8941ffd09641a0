-- Remembers that an account is deleted, without its name.
--
-- $1 scope text, $2 erased_at timestamptz, $3 the last revision of the scope bigint
-- Count: 1. Under the lock of the scope.
insert into erasures (scope_digest, erased_at, revision)
values (sha256(convert_to($1, 'UTF8')), $2, $3)
