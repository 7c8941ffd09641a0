-- Tells whether there may be anything new for some devices: where their scopes stand, and how they do. What the
-- columns mean is told where the function is made (migrations/0011_news.sql).
--
-- $1 scope text[], $2 device_id text[]: the devices
-- Rows: one for each, in that order: epoch uuid, library_revision bigint, own_revision bigint, open_conflicts integer,
-- and those of read_standing.sql.
select
    epoch, library_revision, own_revision, open_conflicts,
    revoked_at, batch_number, batch_digest, plan, expires_at, erased
from look_for_news($1, $2)
