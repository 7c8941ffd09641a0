//! Migrations: several instances at once, edited ones, newer ones.

use ironflow_sync::store::migrations::{MigrationError, migrate};

use crate::support::TestDatabase;

#[tokio::test]
async fn three_instances_may_migrate_at_once_and_one_does_it() {
    let database = TestDatabase::without_tables().await;
    let stores = [database.store(), database.store(), database.store()];
    let (a, b, c) = tokio::join!(
        migrate(&stores[0]),
        migrate(&stores[1]),
        migrate(&stores[2])
    );
    let mut applied: Vec<usize> = [a, b, c].map(|names| names.expect("migrates").len()).into();
    applied.sort_unstable();
    assert_eq!(applied[..2], [0, 0], "two found the work done");
    assert!(applied[2] > 0, "one did it");
    assert!(migrate(&stores[0]).await.expect("again").is_empty());
}

#[tokio::test]
async fn an_edited_migration_is_refused_by_name() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let edit = "update schema_migrations set checksum = '\\x00' where name = '0001_entities'";
    assert_eq!(client.execute(edit, &[]).await.expect("edited"), 1);
    match migrate(&database.store()).await {
        Err(MigrationError::Edited(name)) => assert_eq!(name, "0001_entities"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let add = "insert into schema_migrations (name, checksum) values ('9999_later', '\\x00')";
    client.execute(add, &[]).await.expect("added");
    match migrate(&database.store()).await {
        Err(MigrationError::Newer(name)) => assert_eq!(name, "9999_later"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let database = TestDatabase::without_tables().await;
    let client = database.client().await;
    // In the way of the last table of the first migration.
    client
        .batch_execute("create table devices ()")
        .await
        .expect("a table");
    let failed = migrate(&database.store()).await;
    assert!(
        matches!(failed, Err(MigrationError::Store(_))),
        "{failed:?}"
    );
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    let tables: i64 = client.query_one(tables, &[]).await.expect("tables").get(0);
    assert_eq!(tables, 1, "only the one in the way");
}
