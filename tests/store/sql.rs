//! Every statement is SQL that this schema understands.

use std::fs;

use crate::support::TestDatabase;

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sql");
    let mut prepared = 0;
    for entry in fs::read_dir(folder).expect("the statements") {
        let path = entry.expect("an entry").path();
        let sql = fs::read_to_string(&path).expect("a statement");
        assert!(sql.starts_with("-- "), "{path:?} opens with its purpose");
        // Settings, not statements.
        if !path.ends_with("begin_migration.sql") && !path.ends_with("listen.sql") {
            let result = client.prepare(&sql).await;
            result.unwrap_or_else(|error| panic!("{path:?}: {error:?}"));
            prepared += 1;
        }
    }
    assert!(prepared > 10, "found only {prepared} statements");
}
