-- Takes the mark of a deleted account away, for the operator.
--
-- $1 scope text
-- Count: 1, or 0 if there was none.
delete from erasures
where scope_digest = sha256(convert_to($1, 'UTF8'))
