-- Makes a session one for signals. Losing the last of them in a crash harms nobody, so its commits do
-- not wait for the disk.
set synchronous_commit = off;
listen ironflow_feed;
