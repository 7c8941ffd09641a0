-- Remembers that a migration was applied.
--
-- $1 name text, $2 checksum bytea
-- Count: 1.
insert into schema_migrations (name, checksum)
values ($1, $2)
