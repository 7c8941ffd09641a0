-- Which migrations a database has had. Where the table exists nothing is asked of the login.
do $$
begin
    if to_regclass('schema_migrations') is null then
        create table schema_migrations (
            name       text collate "C" not null,
            -- SHA-256 of the file as it was applied.
            checksum   bytea not null,
            applied_at timestamptz not null default now(),

            constraint schema_migrations_pkey primary key (name)
        );
    end if;
end
$$
