-- Reads which migrations were applied, in their order.
--
-- Rows: name text, checksum bytea
select name, checksum
from schema_migrations
order by name
