-- Tells the other instances that scopes have moved. A hint: it may be lost, and nothing in it is data.
--
-- $1 payload text, at most 7,999 bytes
-- Never inside a push's transaction: NOTIFY holds a lock of the whole cluster while it commits.
select pg_notify('ironflow_feed', $1)
