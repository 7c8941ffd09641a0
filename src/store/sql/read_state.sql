-- Reads what all instances share.
--
-- Row: epoch uuid, cursor_key bytea
select epoch, cursor_key
from service_state
