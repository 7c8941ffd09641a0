-- Which migrations a database has had.
create table if not exists schema_migrations (
    name       text collate "C" not null,
    -- SHA-256 of the file as it was applied.
    checksum   bytea not null,
    applied_at timestamptz not null default now(),

    constraint schema_migrations_pkey primary key (name)
)
