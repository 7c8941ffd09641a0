-- Reads a losing side.
--
-- $1 scope text, $2 entity_type text, $3 entity_id uuid, $4 mutation_id uuid
-- Row: deleted boolean, data text (null: a deletion).
-- The last column of the key is looked for as a range: see read_written.sql.
select deleted, data::text as data
from losing_sides
where scope = $1
    and entity_type = $2
    and entity_id = $3
    and mutation_id between $4 and $4
order by mutation_id
limit 1
