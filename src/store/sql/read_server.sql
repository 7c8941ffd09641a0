-- Reads what Postgres says of itself, as the login.
--
-- Row: version text, bytes bigint: the size of the database, now timestamptz, connections_max integer,
-- in_recovery boolean: it is a standby, nothing can be written
select
    current_setting('server_version') as version,
    pg_database_size(current_database()) as bytes,
    clock_timestamp() as now,
    current_setting('max_connections')::integer as connections_max,
    pg_is_in_recovery() as in_recovery
