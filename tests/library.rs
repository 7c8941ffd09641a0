//! Shared reference data: loaded by the operator with the program, read by every device.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Entity, ErrorCode, Resolution, SyncItem};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::service::SECRET;
use crate::support::{Device, TestDatabase, TestService, put};

/// 873 exercises, as the examples ship them.
const EXERCISES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/data/exercise-library.json"
);

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file to load, and the database to load it into.
struct Library<'a> {
    database: &'a TestDatabase,
    folder: TempDir,
}

/// How the program ended, and what it printed.
struct Loaded {
    success: bool,
    out: String,
    err: String,
}

impl<'a> Library<'a> {
    fn of(database: &'a TestDatabase) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self { database, folder }
    }

    /// Loads a file as exercises, which succeeds; what is printed.
    async fn load(&self, file: impl AsRef<Path>, arguments: &[&str]) -> String {
        let loaded = self.run(file, "exercise_definition", arguments).await;
        assert!(loaded.success, "{}", loaded.err);
        loaded.out
    }

    /// Loads these objects, likewise.
    async fn load_objects(&self, objects: &[Value], arguments: &[&str]) -> String {
        let file = self.write(&json!(objects).to_string());
        self.load(file, arguments).await
    }

    fn write(&self, text: &str) -> impl AsRef<Path> + use<> {
        let file = self.folder.path().join("library.json");
        fs::write(&file, text).expect("written");
        file
    }

    async fn run(&self, file: impl AsRef<Path>, entity_type: &str, arguments: &[&str]) -> Loaded {
        let output = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
            .args(["library", "load", "--type", entity_type])
            .arg(file.as_ref())
            .args(["--database-url", &self.database.url()])
            .args(["--jwt-secret", SECRET, "--log", "warn"])
            .args(arguments)
            .output()
            .await
            .expect("the program runs");
        Loaded {
            success: output.status.success(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// Every row that a load may write, as text.
async fn rows(database: &TestDatabase) -> Vec<String> {
    let read = "select 'scope ' || row::text as row from scopes as row
        union all select 'entity ' || row::text from entities as row
        union all select 'version ' || row::text from entity_versions as row
        order by row";
    let rows = database.client().await.query(read, &[]).await;
    let rows = rows.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

fn exercises() -> Vec<Value> {
    let text = fs::read_to_string(EXERCISES).expect("the exercises");
    serde_json::from_str(&text).expect("an array")
}

fn exercise(slug: &str, level: &str) -> Value {
    json!({"id": slug, "name": slug.replace('-', " "), "level": level})
}

fn levels(entities: &[Entity]) -> Vec<String> {
    let level = |entity: &Entity| {
        let data: Value = serde_json::from_slice(&entity.data).expect("JSON");
        data["level"].as_str().unwrap_or("none").to_owned()
    };
    entities.iter().map(level).collect()
}

#[tokio::test]
async fn a_second_load_writes_nothing_and_a_changed_object_one_version() {
    let database = TestDatabase::new().await;
    let library = Library::of(&database);
    assert_eq!(library.load(EXERCISES, &[]).await, "873 added\n");
    let before = rows(&database).await;
    assert_eq!(before.len(), 874, "the scope and its entities");
    assert_eq!(library.load(EXERCISES, &[]).await, "873 unchanged\n");
    assert_eq!(rows(&database).await, before, "not one row differs");

    let mut objects = exercises();
    objects[7]["level"] = json!("expert");
    let printed = library.load_objects(&objects, &[]).await;
    assert_eq!(printed, "1 changed\n872 unchanged\n");
    assert_eq!(
        rows(&database).await.len(),
        before.len() + 1,
        "the old version"
    );
    let newest = "select version, revision from entities where data->>'level' = 'expert'
        order by revision desc limit 1";
    let client = database.client().await;
    let row = client.query_one(newest, &[]).await.expect("it is there");
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (2, 874));
}

#[tokio::test]
async fn only_prune_deletes_what_a_file_no_longer_has_and_it_can_come_back() {
    let database = TestDatabase::new().await;
    let library = Library::of(&database);
    let [squat, curl] = [
        exercise("Back-Squat", "expert"),
        exercise("Curl", "beginner"),
    ];
    let both = [squat.clone(), curl];
    assert_eq!(library.load_objects(&both, &[]).await, "2 added\n");
    let before = rows(&database).await;
    let fewer = library
        .load_objects(std::slice::from_ref(&squat), &[])
        .await;
    assert_eq!(fewer, "1 unchanged\n");
    assert_eq!(rows(&database).await, before, "nothing without --prune");

    for expected in ["1 deleted\n1 unchanged\n", "1 unchanged\n"] {
        let pruned = library
            .load_objects(std::slice::from_ref(&squat), &["--prune"])
            .await;
        assert_eq!(pruned, expected);
    }
    let again = library.load_objects(&both, &["--prune"]).await;
    assert_eq!(again, "1 restored\n1 unchanged\n");
    let read = "select version, deleted from entities where data->>'id' = 'Curl'";
    let row = database.client().await.query_one(read, &[]).await;
    let row = row.expect("it is back");
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1)), (3, false));
}

#[tokio::test]
async fn devices_pull_the_library_with_their_own_and_hear_of_changes_live() {
    let service = TestService::with(&["--poll-interval-ms", "50"]).await;
    let library = Library::of(&service.database);
    library
        .load_objects(&[exercise("Curl", "beginner")], &[])
        .await;
    let mut mia = service.device("mia", "phone").await;
    // Named as the one who writes the library; that is no reason not to see what they wrote.
    let mut leo = service.device("leo", "operator").await;
    let workout = put(Uuid::new_v4(), 0, &json!({"level": "own"}));
    mia.sync_one(workout).await;

    let (mias, cursor) = mia.pull_all(mia.page_after("")).await;
    assert_eq!(levels(&mias), ["beginner", "own"], "in the same pages");
    let (leos, leos_cursor) = leo.pull_all(leo.page_after("")).await;
    assert_eq!(levels(&leos), ["beginner"], "everybody's, nothing of mia's");

    let mut watch = mia.watch(mia.page_after(&cursor)).await.expect("a stream");
    let mut next = async || {
        let message = timeout(PATIENCE, watch.message()).await;
        let message = message.expect("in time").expect("no error");
        message.expect("no end").event.expect("an event")
    };
    assert!(matches!(next().await, Event::CaughtUp(_)));
    // Another process, without any signal: the service learns of it by asking.
    library
        .load_objects(&[exercise("Curl", "expert")], &[])
        .await;
    let Event::Changes(changes) = next().await else {
        panic!("the change")
    };
    assert_eq!(levels(&changes.entities), ["expert"]);
    assert_eq!(changes.entities[0].device_id, "operator");

    let (later, _) = mia.pull_all(mia.page_after(&cursor)).await;
    assert_eq!(levels(&later), ["expert"], "after the cursor");
    let (later, _) = leo.pull_all(leo.page_after(&leos_cursor)).await;
    assert_eq!(levels(&later), ["expert"], "and for everybody");
    for device in [&mut mia, &mut leo] {
        refuses_to_write(device, &changes.entities[0]).await;
    }
}

/// A device that edits the library learns what it holds; its own side is kept.
async fn refuses_to_write(device: &mut Device, entity: &Entity) {
    let edit = |operation: &str| SyncItem {
        entity_type: entity.entity_type.clone(),
        entity_id: entity.entity_id.clone(),
        operation: operation.to_owned(),
        ..put(Uuid::nil(), entity.version, &json!({}))
    };
    for operation in ["create", "update", "delete"] {
        for force in [false, true] {
            let item = SyncItem {
                force,
                ..edit(operation)
            };
            let result = device.sync_one(item).await;
            assert_eq!(result.resolution(), Resolution::ServerWon, "{operation}");
            assert_eq!(result.server_version, entity.version, "{operation}");
            assert_eq!(json_of(&result.server_data), json_of(&entity.data));
            let detail = result.conflict.expect("details");
            assert_ne!(detail.conflict_id, "", "its side is kept");
        }
    }
    let same = SyncItem {
        data: entity.data.clone(),
        ..edit("update")
    };
    let result = device.sync_one(same).await;
    assert_eq!(result.resolution(), Resolution::Unchanged);
    let unknown = SyncItem {
        entity_id: Uuid::new_v4().to_string(),
        ..edit("create")
    };
    let result = device.sync_one(unknown).await;
    assert_eq!(result.error_code(), ErrorCode::ReadOnly, "nothing to learn");
}

fn json_of(data: &[u8]) -> Value {
    serde_json::from_slice(data).expect("JSON")
}

#[tokio::test]
async fn a_bad_file_is_refused_by_place_and_nothing_of_it_is_loaded() {
    let database = TestDatabase::new().await;
    let library = Library::of(&database);
    let before = rows(&database).await;
    // Bad objects stand behind more good ones than a transaction holds.
    let good: Vec<String> = (0..600)
        .map(|n| format!(r#"{{"id": "good-{n}"}}"#))
        .collect();
    let behind = |bad: &str| format!("[{}, {bad}]", good.join(", "));
    let large = format!(r#"{{"id": "large", "notes": "{}"}}"#, "x".repeat(300_000));
    for (text, expected) in [
        ("nonsense".to_owned(), "expected a JSON array of objects: "),
        (
            r#"{"id": 1}"#.to_owned(),
            "expected a JSON array of objects",
        ),
        (behind("7"), "at /600: expected a JSON object"),
        (
            behind(r#"{"name": "Curl"}"#),
            "at /600: expected a text or number under the key \"id\"",
        ),
        (
            behind(r#"{"id": ""}"#),
            "at /600: expected a text or number under the key \"id\"",
        ),
        (
            behind(r#"{"id": "good-3"}"#),
            "at /600: expected each \"id\" once",
        ),
        (
            behind(r#"{"id": "x", "sets": {"reps": 1, "reps": 2}}"#),
            "at /600/sets/reps: ",
        ),
        (
            behind(&large),
            "at /600: data: expected at most 262144 bytes",
        ),
    ] {
        let file = library.write(&text);
        let refused = library.run(file, "exercise_definition", &[]).await;
        assert!(!refused.success, "{expected}");
        assert!(
            refused.err.contains(expected),
            "{expected}: {}",
            refused.err
        );
        assert!(refused.err.contains("library.json: "), "{}", refused.err);
        assert_eq!(refused.out, "");
        assert_eq!(rows(&database).await, before, "{expected}");
    }
}

#[tokio::test]
async fn only_shared_types_can_be_loaded_from_files_that_are_there() {
    let database = TestDatabase::new().await;
    let library = Library::of(&database);
    for entity_type in ["workout", "Not a type", ""] {
        let refused = library.run(EXERCISES, entity_type, &[]).await;
        assert!(!refused.success);
        let expected = format!(
            "--type: expected a shared type of the catalog (exercise_definition, settings_option), got {entity_type:?}"
        );
        assert!(refused.err.contains(&expected), "{}", refused.err);
    }
    let missing = library.folder.path().join("missing.json");
    let refused = library.run(&missing, "exercise_definition", &[]).await;
    assert!(!refused.success);
    assert!(
        refused.err.contains("missing.json: expected a file"),
        "{}",
        refused.err
    );
    assert!(rows(&database).await.is_empty());
}
