-- What `ironflow-sync status` tells of all users together: how many conflicts are open, and which devices have
-- something queued.

grant select (open_conflicts) on scopes to ironflow_sync_keeper;
grant select (pending_count) on devices to ironflow_sync_keeper;
