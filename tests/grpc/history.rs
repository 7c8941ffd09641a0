//! Section 5 of docs/protocol.md: what entities held before, and what devices lost with (promise 1).
//!
//! `pages`: reading it page by page. `restore`: bringing it back. `bin`: the recycle bin. `log`: the view
//! `changes`.

mod bin;
mod log;
mod pages;
mod restore;

use std::process::Command;

use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, ServerWon};
use ironflow_sync::grpc::proto::{
    HistoryEntry, ListDeletedRequest, ListVersionsRequest, ListVersionsResponse,
    RestoreVersionRequest, SyncItem, restore_version_request::Source,
};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{check_status, now_ms};
use crate::support::service::SECRET;
use crate::support::{Device, TestService, delete, put};

fn titled(title: &str) -> Value {
    json!({ "title": title })
}

/// An edit of an entity of a type: `title` of `None` deletes it.
fn edit(entity_type: &str, id: Uuid, base: i32, title: Option<&str>) -> SyncItem {
    let item = match title {
        Some(title) => put(id, base, &titled(title)),
        None => delete(id, base),
    };
    SyncItem {
        entity_type: entity_type.to_owned(),
        ..item
    }
}

fn made(timestamp: i64, item: SyncItem) -> SyncItem {
    SyncItem { timestamp, ..item }
}

fn of(entity_type: &str, id: Uuid) -> ListVersionsRequest {
    ListVersionsRequest {
        entity_type: entity_type.to_owned(),
        entity_id: id.to_string(),
        ..ListVersionsRequest::default()
    }
}

/// The whole history of an entity, page by page.
async fn history(device: &mut Device, request: ListVersionsRequest) -> Vec<HistoryEntry> {
    let mut request = request;
    let mut entries = Vec::new();
    loop {
        let page = device.list_versions(request.clone()).await.expect("a page");
        assert!(page.entries.len() <= 500);
        entries.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return entries;
        }
    }
}

/// An entry in one line: what, by whom, how and why, its data.
fn line(entry: &HistoryEntry) -> String {
    let what = match (entry.losing_side, entry.current) {
        (true, _) => "side of",
        (false, true) => "now",
        (false, false) => "was",
    };
    let why = match entry.losing_side {
        true => {
            let unset = (entry.resolution, entry.cause.as_str(), entry.rule);
            assert_eq!(unset, (0, "", 0), "{entry:?}");
            assert!(Uuid::parse_str(&entry.conflict_id).is_ok(), "{entry:?}");
            String::new()
        }
        false => {
            assert_eq!(entry.conflict_id, "", "{entry:?}");
            let resolution = format!("{:?}", entry.resolution());
            let policy = entry.policy.as_str();
            format!(" {resolution} {} {}{policy}", entry.cause, entry.rule)
        }
    };
    let data = match (entry.deleted, entry.data_removed) {
        (true, _) => "deleted".to_owned(),
        (_, true) => "removed".to_owned(),
        _ => {
            let data: Value = serde_json::from_slice(&entry.data).expect("JSON");
            data["title"].as_str().unwrap_or("?").to_owned()
        }
    };
    assert_eq!(entry.data.is_empty(), entry.deleted || entry.data_removed);
    assert_eq!(entry.device_label, format!("Mia's {}", entry.device_id));
    format!("{what} {} {}{why}: {data}", entry.version, entry.device_id)
}

fn lines(entries: &[HistoryEntry]) -> Vec<String> {
    entries.iter().map(line).collect()
}

/// The phone and the tablet of a user, labelled.
async fn phone_and_tablet(service: &TestService, user: &str) -> [Device; 2] {
    [
        service.device(user, "phone").await.called("Mia's phone"),
        service.device(user, "tablet").await.called("Mia's tablet"),
    ]
}

fn wish(id: Uuid, source: Source, expected: i32) -> RestoreVersionRequest {
    RestoreVersionRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        source: Some(source),
        expected_version: expected,
        ..RestoreVersionRequest::default()
    }
}

#[tokio::test]
async fn every_version_tells_who_when_and_why() {
    let service = TestService::start().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = Uuid::new_v4();
    let begun = now_ms();
    let minute = |n: i64| begun - 3_600_000 + n * 60_000;
    let edit = |base, title| edit("workout", id, base, title);
    phone.sync_one(made(minute(1), edit(0, Some("a")))).await;
    tablet.sync_one(made(minute(2), edit(1, Some("b")))).await;
    tablet.sync_one(made(minute(3), edit(1, Some("c")))).await;
    let forced = SyncItem {
        force: true,
        ..made(minute(4), edit(1, Some("d")))
    };
    phone.sync_one(forced).await;
    tablet.sync_one(made(minute(5), edit(3, None))).await;
    phone.sync_one(made(minute(6), edit(4, Some("f")))).await;
    let asked = tablet.sync_one(made(minute(7), edit(2, Some("x")))).await;
    assert_eq!(asked.resolution(), NeedsUser);
    let conflict = asked.conflict.as_ref().expect("a conflict");
    let decision = phone.own_decision(&conflict.conflict_id, &titled("g"), 6);
    phone.resolve(decision).await.expect("resolved");
    let restored = phone.restore(wish(id, Source::Version(1), 7)).await;
    assert!(restored.expect("an answer").restored);
    phone.sync_one(edit(8, None)).await;
    tablet.sync_one(edit(9, Some("j"))).await;

    let entries = history(&mut phone, of("workout", id)).await;
    let expected = [
        "now 10 tablet Resurrected push 3: j",
        "was 9 phone Applied push 3: deleted",
        "was 8 phone Applied restore 3: a",
        "was 7 phone Applied resolve 3: g",
        "was 6 phone Resurrected push 7: f",
        "side of 6 tablet: x",
        "was 5 tablet ClientWon push 8: deleted",
        "was 4 phone ClientWon push 6: d",
        "was 3 tablet Applied push 5: c",
        "was 2 tablet Applied push 3: b",
        "was 1 phone Applied push 2: a",
    ];
    assert_eq!(lines(&entries), expected);
    let mutations: Vec<&str> = entries.iter().map(|entry| &*entry.mutation_id).collect();
    assert_eq!(mutations[5], asked.mutation_id);
    for (entry, made) in entries[4..].iter().zip([6, 7, 5, 4, 3, 2, 1]) {
        assert_eq!(entry.edit_time, minute(made), "{entry:?}");
    }
    let now = now_ms();
    for entry in &entries {
        assert!((begun..=now).contains(&entry.updated_at), "{entry:?}");
    }
}

#[tokio::test]
async fn what_a_policy_decided_stands_beside_its_name() {
    let service = TestService::start().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let ago = |minutes: i64| now_ms() - minutes * 60_000;

    let id = Uuid::new_v4();
    let edit = |base, title| edit("routine", id, base, Some(title));
    phone.sync_one(made(ago(9), edit(0, "a"))).await;
    tablet.sync_one(made(ago(5), edit(1, "b"))).await;
    let won = phone.sync_one(made(ago(3), edit(1, "c"))).await;
    let lost = tablet.sync_one(made(ago(4), edit(2, "d"))).await;
    assert_eq!(lost.resolution(), ServerWon);
    let entries = history(&mut tablet, of("routine", id)).await;
    let expected = [
        "now 3 phone ClientWon push 9last_write_wins: c",
        "side of 3 tablet: d",
        "was 2 tablet Applied push 3: b",
        "was 1 phone Applied push 2: a",
    ];
    assert_eq!(lines(&entries), expected);
    assert_eq!(entries[0].mutation_id, won.mutation_id);
    let conflict = lost.conflict.expect("kept").conflict_id;
    assert_eq!(entries[1].conflict_id, conflict);

    // A merge is a version, and the side that went into it stands beside what it was merged with.
    let id = Uuid::new_v4();
    let edit = |base, data: Value| SyncItem {
        entity_type: "workout_exercise".to_owned(),
        ..put(id, base, &data)
    };
    phone.sync_one(edit(0, json!({"title": "a"}))).await;
    tablet.sync_one(edit(1, json!({"title": "b"}))).await;
    let merged = edit(1, json!({"title": "a", "notes": "n"}));
    let merged = phone.sync_one(merged).await;
    let entries = history(&mut phone, of("workout_exercise", id)).await;
    let expected = [
        "now 3 phone Merged push 9merge_fields: b",
        "was 2 tablet Applied push 3: b",
        "side of 2 phone: a",
        "was 1 phone Applied push 2: a",
    ];
    assert_eq!(lines(&entries), expected);
    for entry in [&entries[0], &entries[2]] {
        assert_eq!(entry.mutation_id, merged.mutation_id);
    }
}

/// An entity with five versions and, beside them, sides of five more devices.
async fn contested(service: &TestService, user: &str) -> Uuid {
    let [mut phone, mut tablet] = phone_and_tablet(service, user).await;
    let id = Uuid::new_v4();
    for base in 0..5 {
        let title = format!("v{}", base + 1);
        let item = edit("workout", id, base, Some(&title));
        assert_eq!(phone.sync_one(item).await.resolution(), Applied);
        for side in 0..base {
            let title = format!("side {side} of {}", base + 1);
            let item = edit("workout", id, 0, Some(&title));
            assert_eq!(tablet.sync_one(item).await.resolution(), NeedsUser);
        }
    }
    id
}

fn keys(entries: &[HistoryEntry]) -> Vec<(i32, bool, String)> {
    let key = |entry: &HistoryEntry| (entry.version, entry.losing_side, entry.mutation_id.clone());
    entries.iter().map(key).collect()
}

#[tokio::test]
async fn losing_sides_stand_behind_the_version_they_met() {
    let service = TestService::start().await;
    let id = contested(&service, "mia").await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let entries = history(&mut phone, of("workout", id)).await;
    assert_eq!(entries.len(), 5 + 10);
    let mut expected = keys(&entries);
    expected
        .sort_by(|(a, a_side, a_id), (b, b_side, b_id)| (b, a_side, b_id).cmp(&(a, b_side, a_id)));
    assert_eq!(keys(&entries), expected);
    for entry in &entries {
        let data: Value = serde_json::from_slice(&entry.data).expect("JSON");
        let title = data["title"].as_str().expect("a title");
        assert!(title.ends_with(&entry.version.to_string()), "{entry:?}");
    }
}

#[tokio::test]
async fn of_a_shared_type_the_versions_are_everybodys_and_the_losing_sides_ones_own() {
    let service = TestService::start().await;
    let id = Uuid::new_v4();
    for level in ["beginner", "expert"] {
        load(&service, &json!([{"id": id.to_string(), "title": level}]));
    }
    let of_library = of("exercise_definition", id);
    for user in ["mia", "ben"] {
        let mut phone = service.device(user, "phone").await.called("Mia's phone");
        let item = edit("exercise_definition", id, 1, Some(user));
        assert_eq!(phone.sync_one(item).await.resolution(), ServerWon);
        let entries = history(&mut phone, of_library.clone()).await;
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| {
                let data: Value = serde_json::from_slice(&entry.data).expect("JSON");
                let title = data["title"].as_str().expect("a title").to_owned();
                (entry.version, entry.losing_side, entry.current, title)
            })
            .collect();
        let expected = [
            (2, false, true, "expert".to_owned()),
            (2, true, false, user.to_owned()),
            (1, false, false, "beginner".to_owned()),
        ];
        assert_eq!(seen, expected);
        assert_eq!(entries[1].device_label, "Mia's phone");

        let wish = RestoreVersionRequest {
            entity_type: "exercise_definition".to_owned(),
            ..wish(id, Source::Version(1), 2)
        };
        let refused = phone.restore(wish).await.expect_err("refused");
        check_status("shared", &refused, Code::InvalidArgument, "INVALID_REQUEST");
        assert!(
            refused.message().contains("a type that devices may write"),
            "{refused:?}"
        );
    }
}

/// Loads exercises into the library, as the operator does.
fn load(service: &TestService, objects: &Value) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("library.json");
    std::fs::write(&file, objects.to_string()).expect("written");
    let loaded = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
        .args(["library", "load", "--type", "exercise_definition"])
        .arg(&file)
        .args(["--database-url", &service.database.url()])
        .args(["--jwt-secret", SECRET, "--log", "warn"])
        .output()
        .expect("the program runs");
    let error = String::from_utf8_lossy(&loaded.stderr).into_owned();
    assert!(loaded.status.success(), "{error}");
}

/// What a call was refused for: the fields it names.
fn fields(status: &tonic::Status) -> Vec<String> {
    let violations = status.get_details_bad_request().expect("BadRequest");
    violations
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

#[tokio::test]
async fn of_another_users_entity_there_is_nothing_to_see() {
    let service = TestService::start().await;
    let id = contested(&service, "mia").await;
    let [mut mia, _] = phone_and_tablet(&service, "mia").await;
    let mut ben = service.device("ben", "phone").await;
    let hers = history(&mut mia, of("workout", id)).await;
    let side = hers.iter().find(|entry| entry.losing_side).expect("a side");

    // Promise 10: as if it did not exist, whatever Ben knows of it.
    let unknown = Uuid::new_v4();
    let tokens = ["", "9", "3", &format!("3.{}", side.mutation_id)];
    for page_token in tokens {
        for id in [id, unknown] {
            let request = ListVersionsRequest {
                page_token: page_token.to_owned(),
                ..of("workout", id)
            };
            let page = ben.list_versions(request).await.expect("a page");
            assert_eq!(page, ListVersionsResponse::default(), "{page_token}");
        }
    }
    let sources = [
        Source::Version(1),
        Source::LosingSide(side.mutation_id.clone()),
    ];
    for source in sources {
        let mut refusals = Vec::new();
        for id in [id, unknown] {
            let wish = wish(id, source.clone(), 5);
            let refused = ben.restore(wish).await.expect_err("no such thing");
            check_status(
                "foreign",
                &refused,
                Code::InvalidArgument,
                "INVALID_REQUEST",
            );
            refusals.push((refused.message().to_owned(), refused.details().to_vec()));
        }
        assert_eq!(refusals[0], refusals[1], "Ben can tell them apart");
    }
    mia.sync_one(edit("workout", id, 5, None)).await;
    let bin = ben.list_deleted(ListDeletedRequest::default()).await;
    assert!(bin.expect("a page").entities.is_empty());
    let sql = service.database.client().await;
    let his = "select count(*) from scopes where scope = 'user/ben'";
    assert_eq!(
        super::count(&sql, his).await,
        0,
        "nothing was written for him"
    );
}

/// Name, request, and the fields that are refused.
type BadPage<'a> = (&'a str, ListVersionsRequest, &'a [&'a str]);

#[tokio::test]
async fn bad_requests_for_a_history_are_refused_field_by_field() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let fine = of("workout", Uuid::new_v4());
    let id = Uuid::new_v4();
    let with_token = |page_token: &str| ListVersionsRequest {
        page_token: page_token.to_owned(),
        ..fine.clone()
    };
    let with_id = |entity_id: String| ListVersionsRequest {
        entity_id,
        ..fine.clone()
    };
    let mut cases: Vec<BadPage<'_>> = vec![
        (
            "nothing",
            ListVersionsRequest::default(),
            &["entity_type", "entity_id"],
        ),
        ("no type", of("", id), &["entity_type"]),
        ("odd type", of("Workout", id), &["entity_type"]),
        ("long type", of(&"a".repeat(65), id), &["entity_type"]),
        ("no id", with_id(String::new()), &["entity_id"]),
        ("odd id", with_id("7".to_owned()), &["entity_id"]),
        (
            "no hyphens",
            with_id(id.simple().to_string()),
            &["entity_id"],
        ),
        (
            "negative size",
            ListVersionsRequest {
                page_size: -1,
                ..fine.clone()
            },
            &["page_size"],
        ),
        (
            "everything",
            ListVersionsRequest {
                page_size: -1,
                page_token: "x".to_owned(),
                ..ListVersionsRequest::default()
            },
            &["entity_type", "entity_id", "page_size", "page_token"],
        ),
    ];
    let long = "1".repeat(100_000);
    let upper = format!("3.{}", id.to_string().to_uppercase());
    let twice = format!("3.{id}.{id}");
    let simple = format!("3.{}", id.simple());
    let tokens = [
        "x",
        "-1",
        "+1",
        "01",
        " 1",
        "1 ",
        "1.",
        ".",
        "1.2",
        "2147483648",
        "1e3",
        "٣",
        "1\0",
        "user/mia",
        &long,
        &upper,
        &twice,
        &simple,
    ];
    for token in tokens {
        cases.push((token, with_token(token), &["page_token"]));
    }
    for (name, request, expected) in cases {
        let refused = phone.list_versions(request).await.expect_err(name);
        check_status(name, &refused, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&refused), expected, "{name}");
    }
    for token in [
        "0",
        "1",
        "2147483647",
        &format!("0.{id}"),
        &format!("7.{id}"),
    ] {
        let page = phone.list_versions(with_token(token)).await;
        assert!(page.expect(token).entries.is_empty());
    }
}
