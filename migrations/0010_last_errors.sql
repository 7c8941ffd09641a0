-- What went wrong for each device last, for whoever is asked why it does not sync.

alter table devices
    -- The last few different errors, the newest first. Of each: first_time and last_time (milliseconds since 1970),
    -- count, code, message (words of the service, nothing that was sent), and where it was about an entity its
    -- entity_type and entity_id.
    add column last_errors jsonb not null default '[]',
    add constraint devices_last_errors_listed check (jsonb_typeof(last_errors) = 'array');

grant select (last_errors), update (last_errors) on devices to ironflow_sync_keeper;
