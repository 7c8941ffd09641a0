-- A migration may take, and wait, as long as it has to.
set local statement_timeout = 0;
set local lock_timeout = 0;
