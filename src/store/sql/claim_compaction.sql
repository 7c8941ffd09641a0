-- Takes on the compaction of the database, if it is due: of all instances one does it.
--
-- $1 now timestamptz, $2 due timestamptz: if the last one was then or before,
-- $3 wrong timestamptz: or behind this, which only a clock that was wrong can have written
-- Count: 1 if it is the caller's to do, else 0.
update service_state
set compacted_at = $1
where compacted_at <= $2
    or compacted_at > $3
