-- Begins a new life of the database, after it was restored from a backup.
--
-- Row: epoch uuid
update service_state
set epoch = gen_random_uuid()
returning epoch
