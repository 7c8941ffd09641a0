-- Reads the key that signs cursors, which all instances share.
--
-- Row: cursor_key bytea
select cursor_key
from service_state
