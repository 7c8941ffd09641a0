//! One account, as the operator exports, deletes and opens it again with the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ironflow_sync::grpc::proto::Resolution::Applied;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::support::account::live;
use crate::support::service::SECRET;
use crate::support::{TestDatabase, TestService, put};

/// How the program ended, and what it printed.
struct Ran {
    success: bool,
    out: String,
    err: String,
}

async fn run(database: &TestDatabase, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
        .arg("account")
        .args(arguments)
        .args(["--database-url", &database.url()])
        .args(["--jwt-secret", SECRET, "--log", "warn"])
        .output()
        .await
        .expect("the program runs");
    Ran {
        success: output.status.success(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What succeeds; what is printed.
async fn done(database: &TestDatabase, arguments: &[&str]) -> String {
    let ran = run(database, arguments).await;
    assert!(ran.success, "{arguments:?}: {}", ran.err);
    ran.out
}

/// What fails and prints why.
async fn refused(database: &TestDatabase, arguments: &[&str], why: &str) {
    let ran = run(database, arguments).await;
    assert!(!ran.success, "{arguments:?}: {}", ran.out);
    assert!(ran.err.contains(why), "{arguments:?}: {}", ran.err);
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn rows(database: &TestDatabase, user: &str) -> i64 {
    let client = database.client().await;
    let mut count = 0;
    for table in [
        "scopes",
        "devices",
        "entities",
        "entity_versions",
        "losing_sides",
        "conflicts",
    ] {
        let select = format!("select count(*) from {table} where scope = $1");
        let row = client.query_one(&select, &[&format!("user/{user}")]).await;
        count += row.expect("a count").get::<_, i64>(0);
    }
    count
}

#[tokio::test]
async fn an_export_is_one_json_object_a_line_and_ends_with_what_was_written() {
    let service = TestService::start().await;
    live(&service, "mia").await;
    let mut phone = service.device("mia", "phone").await;
    let precise = r#"{"weight": 12345678901234567890.123456789012}"#;
    let item = crate::support::put_bytes(Uuid::new_v4(), 0, precise);
    assert_eq!(phone.sync_one(item).await.resolution(), Applied);
    let database = &service.database;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("mia.jsonl");
    let printed = done(database, &["export", "--user", "mia", "--out", path(&file)]).await;
    assert_eq!(printed, "");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let text = fs::read_to_string(&file).expect("text");
    let on_stdout = done(database, &["export", "--user", "mia"]).await;
    // Only when the export began differs.
    assert!(text.lines().skip(1).eq(on_stdout.lines().skip(1)));
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let count = |kind: &str| lines.iter().filter(|line| line["record"] == kind).count() as i64;
    let [account, .., end] = lines.as_slice() else {
        panic!("{text}")
    };
    assert_eq!(
        (&account["record"], &account["user_id"]),
        (&json!("account"), &json!("mia"))
    );
    assert_eq!(end["record"], "done");
    assert_eq!(end["counts"], account["counts"]);
    let counted = json!({
        "devices": count("device"), "entities": count("entity"), "old_versions": count("old_version"),
        "losing_sides": count("losing_side"), "conflicts": count("conflict"),
    });
    assert_eq!(end["counts"], counted);
    // And the scope.
    assert_eq!(rows(database, "mia").await, lines.len() as i64 - 1);
    assert!(text.contains("\"data\":{\"weight\": 12345678901234567890.123456789012}"));
    refused(
        database,
        &["export", "--user", "leo"],
        "nothing of this user",
    )
    .await;
}

#[tokio::test]
async fn an_account_is_deleted_only_with_yes_and_can_be_opened_again() {
    let service = TestService::start().await;
    let [mut phone, _] = live(&service, "mia").await;
    let cursor = phone.pull_all(phone.page_after("")).await.1;
    let database = &service.database;
    let before = rows(database, "mia").await;
    refused(database, &["reopen", "--user", "mia"], "was not deleted").await;
    let asked = run(database, &["delete", "--user", "mia"]).await;
    assert!(
        !asked.success && asked.err.contains("--yes"),
        "{}",
        asked.err
    );
    assert!(
        asked.out.starts_with("Would delete 6 entities, "),
        "{}",
        asked.out
    );
    assert_eq!(rows(database, "mia").await, before);
    let printed = done(database, &["delete", "--user", "mia", "--yes"]).await;
    assert!(printed.starts_with("Deleted 6 entities, "), "{printed}");
    assert_eq!(rows(database, "mia").await, 0);
    refused(database, &["export", "--user", "mia"], "was deleted").await;
    let pulled = phone.pull(phone.page_after(&cursor)).await;
    pulled.expect_err("nothing is given");

    done(database, &["reopen", "--user", "mia"]).await;
    let id = Uuid::new_v4();
    let back = phone.sync_one(put(id, 0, &json!({"back": true}))).await;
    assert_eq!(back.resolution(), Applied);
    // A device that slept through all of it misses nothing (promise 7).
    let mut sleeper = service.device("mia", "sleeper").await;
    let (entities, _) = sleeper.pull_all(sleeper.page_after(&cursor)).await;
    let ids: Vec<&str> = entities
        .iter()
        .map(|entity| entity.entity_id.as_str())
        .collect();
    assert_eq!(ids, [id.to_string()]);
}

#[tokio::test]
async fn after_a_restore_the_accounts_in_the_list_are_deleted_again() {
    let service = TestService::start().await;
    for user in ["mia", "leo"] {
        live(&service, user).await;
    }
    let database = &service.database;
    for user in ["mia", "zoe"] {
        done(database, &["delete", "--user", user, "--yes"]).await;
    }
    let listed = done(database, &["erasures"]).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let folder = TempDir::new().expect("a folder");
    let list = folder.path().join("erasures");
    fs::write(&list, &listed).expect("written");
    // The backup is from before.
    let sql = database.client().await;
    sql.batch_execute("delete from erasures")
        .await
        .expect("gone");
    let [mut phone, _] = live(&service, "mia").await;
    let leos = rows(database, "leo").await;

    let printed = done(database, &["erase-again", path(&list)]).await;
    assert_eq!(
        printed,
        "2 marks were missing, 1 accounts were deleted again.\n"
    );
    assert_eq!(rows(database, "mia").await, 0);
    assert_eq!(rows(database, "leo").await, leos);
    assert_eq!(done(database, &["erasures"]).await, listed, "as before");
    phone.pull(phone.page_after("")).await.expect_err("deleted");
    let printed = done(database, &["erase-again", path(&list)]).await;
    assert_eq!(
        printed,
        "0 marks were missing, 0 accounts were deleted again.\n"
    );
    fs::write(&list, format!("{listed}x")).expect("written");
    refused(database, &["erase-again", path(&list)], "line 3").await;
}
