-- Writes batches of one scope that nothing stands in the way of: each completely, or nothing of it. What stands in the
-- way, and what the parameters mean, is told where the function is made (migrations/0012_batches.sql).
--
-- $1 scope text, $2 entities_max bigint, $3 must_be_paid boolean; of the batches
-- $4 device_ids text[], $5 ats timestamptz[], $6 ends integer[],
-- $7 labels text[], $8 platforms text[], $9 app_versions text[], $10 pending_counts integer[],
-- $11 batch_numbers bigint[], $12 batch_digests uuid[]; of their items
-- $13 batches integer[], $14 entity_types text[], $15 entity_ids uuid[], $16 bases integer[], $17 documents text[],
-- $18 mutation_ids uuid[], $19 edit_times timestamptz[], $20 clock_offsets bigint[], $21 beginnings timestamptz[],
-- $22 rules smallint[], $23 froms timestamptz[], $24 untils timestamptz[]
-- Row: revisions bigint[]: for each batch the scope's before it; null: nothing of it was written. Always one.
select
    write_batches(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24
    ) as revisions
