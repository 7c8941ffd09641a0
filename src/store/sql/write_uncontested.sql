-- Writes a batch that nothing stands in the way of: all of it, or nothing. What stands in the way, and what the
-- parameters mean, is told where the function is made (migrations/0009_uncontested.sql).
--
-- $1 scope text, $2 device text, $3 at timestamptz,
-- $4 entity_types text[], $5 entity_ids uuid[], $6 bases integer[], $7 documents text[], $8 mutation_ids uuid[],
-- $9 edit_times timestamptz[], $10 clock_offsets bigint[], $11 beginnings timestamptz[], $12 rules smallint[],
-- $13 froms timestamptz[], $14 untils timestamptz[],
-- $15 entities_max bigint, $16 must_be_paid boolean,
-- $17 its_label text, $18 its_platform text, $19 its_app_version text, $20 its_pending_count integer,
-- $21 its_batch_number bigint, $22 its_batch_digest uuid
-- Row: revision bigint: the scope's before; null: nothing was written. Always one.
select
    write_uncontested(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22
    ) as revision
