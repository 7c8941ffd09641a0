-- Lists who is connected to the database, as the login: of other logins' sessions it may see only that they are
-- there.
--
-- Rows: one per program and machine. application text, client text (null: this machine), connections bigint,
-- busy bigint, since timestamptz
select
    coalesce(application_name, '') as application,
    host(client_addr) as client,
    count(*) as connections,
    count(*) filter (where state is distinct from 'idle') as busy,
    min(backend_start) as since
from pg_stat_activity
where datname = current_database()
    and backend_type = 'client backend'
    and pid <> pg_backend_pid()
group by application_name, client_addr
order by application_name, client_addr
