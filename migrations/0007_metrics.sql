-- What metrics tell of all users together: how many conflicts wait for a person, and since when the oldest does.

create index conflicts_opened_at_idx on conflicts (opened_at) where open;

-- Their number and age, and nothing of what they are about.
create policy keeper on conflicts for select to ironflow_sync_keeper using (open);
grant select (open, opened_at) on conflicts to ironflow_sync_keeper;
