-- What devices need to read along: the identity of this database's life, the key that signs cursors,
-- and how far each device has got.

-- One row.
create table service_state (
    -- The only row.
    id         boolean not null default true,
    -- Changes after a restore from a backup: every cursor from before then answers CURSOR_RESET.
    epoch      uuid not null default gen_random_uuid(),
    -- Signs cursors; the same for all instances. 488 random bits in 64 bytes.
    cursor_key bytea not null default decode(
        replace(
            gen_random_uuid()::text || gen_random_uuid() || gen_random_uuid() || gen_random_uuid(),
            '-', ''
        ),
        'hex'
    ),

    constraint service_state_pkey primary key (id),
    constraint service_state_one_row check (id),
    constraint service_state_cursor_key_length check (octet_length(cursor_key) = 64)
);

insert into service_state default values;

-- The last revision of its user's scope that a device has asked to go on from; null: it never pulled.
alter table devices add column pulled_revision bigint;
