//! One user, as the operator sees them.

use ironflow_sync::grpc::proto::ErrorCode::{InvalidData, InvalidItem};
use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{DeviceInfo, SyncItem, SyncRequest};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{object, refused, told};
use crate::support::account::live;
use crate::support::database::contents;
use crate::support::{TestService, put};

fn device<'a>(shown: &'a Value, id: &str) -> &'a Value {
    let devices = shown["devices"].as_array().expect("a list");
    let found = devices.iter().find(|device| device["device_id"] == id);
    found.unwrap_or_else(|| panic!("{id} in {shown}"))
}

#[tokio::test]
async fn devices_queues_conflicts_and_what_is_paid_for_are_shown_and_nothing_is_written() {
    let mut service = TestService::start().await;
    let [mut phone, mut tablet] = live(&service, "mia").await;
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;
    tablet
        .pull(tablet.page_after(&cursor))
        .await
        .expect("a page");
    let queued = SyncRequest {
        device: Some(DeviceInfo {
            label: "Mia's \u{1b}[2J phone".to_owned(),
            platform: "android".to_owned(),
            app_version: "2.1".to_owned(),
        }),
        pending_count: 3,
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..phone.request()
    };
    let answer = phone.send(queued).await.expect("an answer");
    assert_eq!(answer.results[0].resolution(), Applied);
    phone.revoke("tablet").await.expect("revoked");
    service.stop().await.expect("what was gathered is written");
    let sql = service.database.client().await;
    let pay = "insert into accounts values ('user/mia', 'premium', '2020-01-01T00:00:00Z', now())";
    sql.batch_execute(pay).await.expect("paid");
    let before = contents(&sql).await;

    let shown = object(&service.database, &["user", "show", "mia"]).await;
    assert_eq!(shown["user_id"], "mia");
    assert_eq!(
        (
            &shown["plan"],
            &shown["plan_expired"],
            &shown["plan_expiry_time"]
        ),
        (
            &json!("premium"),
            &json!(true),
            &json!(1_577_836_800_000_i64)
        )
    );
    assert_eq!(shown["open_conflicts"], 2);
    let kinds: Vec<&Value> = shown["conflicts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|open| &open["kind"])
        .collect();
    assert_eq!(kinds, ["duplicate", "edit"]);
    assert_eq!(shown["conflicts"][1]["policy"], "ask");
    let (phone, tablet) = (device(&shown, "phone"), device(&shown, "tablet"));
    assert_eq!(
        (
            &phone["pending_count"],
            &phone["platform"],
            &phone["pulled_revision"]
        ),
        (&json!(3), &json!("android"), &Value::Null)
    );
    assert!(tablet["revoked_time"].is_i64() && phone["revoked_time"].is_null());
    let number = |value: &Value| value.as_i64().expect("a number");
    assert!(number(&tablet["pulled_revision"]) > 0);
    assert_eq!(
        number(&tablet["revisions_behind"]) + number(&tablet["pulled_revision"]),
        number(&shown["revision"])
    );
    let text = told(&service.database, &["user", "show", "mia"]).await;
    for words in [
        "paid: premium, expired 2020-01-01T00:00:00Z",
        "conflicts: 2 open",
        "phone (Mia\\'s \\u{1b}[2J phone)",
        "android 2.1",
        "waits in the conflict inbox",
        "may be the same thing",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(contents(&sql).await, before);
}

#[tokio::test]
async fn what_a_device_was_told_is_wrong_is_kept_counted_and_shown() {
    let mut service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let id = Uuid::new_v4();
    let answer = phone.sync_one(put(id, 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Applied);
    let wrong = put(id, 1, &json!({"title": 7, "name": "hunter2"}));
    for _ in 0..2 {
        assert_eq!(
            phone.sync_one(wrong.clone()).await.error_code(),
            InvalidData
        );
    }
    let nowhere = SyncItem {
        entity_type: "hunter2!".to_owned(),
        ..put(id, 1, &json!({}))
    };
    let only_asked = SyncRequest {
        items: vec![SyncItem {
            entity_type: "workout".to_owned(),
            entity_id: "hunter2".to_owned(),
            ..wrong.clone()
        }],
        validate_only: true,
        ..phone.request()
    };
    phone.send(only_asked).await.expect("an answer");
    let refused_page = phone.pull(phone.page_after("hunter2")).await;
    refused_page.expect_err("no cursor");
    assert_eq!(phone.sync_one(nowhere).await.error_code(), InvalidItem);
    // Of others, and of a device that has nothing yet: no trace.
    let mut stranger = service.device("mia", "stranger").await;
    let refused_page = stranger.pull(stranger.page_after("hunter2")).await;
    refused_page.expect_err("no cursor");
    service.stop().await.expect("what was gathered is written");

    let shown = object(&service.database, &["user", "show", "mia"]).await;
    let errors = device(&shown, "phone")["last_errors"].as_array();
    let errors: Vec<_> = errors
        .expect("a list")
        .iter()
        .map(|error| {
            [
                &error["code"],
                &error["count"],
                &error["entity_type"],
                &error["entity_id"],
            ]
        })
        .collect();
    let null = Value::Null;
    assert_eq!(
        errors,
        [
            [&json!("INVALID_ITEM"), &json!(1), &null, &null],
            [&json!("INVALID_REQUEST"), &json!(1), &null, &null],
            [
                &json!("INVALID_DATA"),
                &json!(2),
                &json!("workout"),
                &json!(id.to_string())
            ],
        ]
    );
    assert_eq!(
        shown["devices"].as_array().map(Vec::len),
        Some(1),
        "{shown}"
    );
    let text = told(&service.database, &["user", "show", "mia"]).await;
    assert!(
        text.contains("cursor: expected one this server gave"),
        "{text}"
    );
    assert!(
        !text.contains("hunter2"),
        "nothing of what was sent: {text}"
    );
}

#[tokio::test]
async fn a_user_nobody_knows_is_said_kindly_and_so_is_one_who_left() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let answer = phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Applied);
    let long = "u".repeat(1_000);
    for (id, why) in [
        ("leo", "nothing of this user"),
        ("library", "nothing of this user"),
        ("mia' or ''='", "nothing of this user"),
        ("../../etc/passwd", "nothing of this user"),
        ("", "ID: expected a user id"),
        (&long, "ID: expected a user id"),
    ] {
        refused(&service.database, &["user", "show", id], why).await;
    }
    phone.leave_for_good().await;
    refused(&service.database, &["user", "show", "mia"], "was deleted").await;
}

#[tokio::test]
async fn no_database_is_made_for_a_question_and_old_tables_are_not_changed() {
    let folder = crate::support::serving::folder();
    let path = folder.path().join("data");
    let path = path.to_str().expect("UTF-8");
    let ran = super::asked(&["user", "show", "mia", "--data-dir", path]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(ran.err.contains("there is no database in"), "{}", ran.err);
    assert!(!folder.path().join("data").exists(), "nothing was made");

    let database = crate::support::TestDatabase::without_tables().await;
    refused(&database, &["user", "show", "mia"], "ironflow-sync migrate").await;
    let sql = database.client().await;
    assert!(contents(&sql).await.is_empty(), "nothing was migrated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_private_database_is_asked_while_it_runs() {
    let folder = crate::support::serving::folder();
    let serving = crate::support::serving::Serving::on(folder.path());
    let mut phone = serving.device("phone").await;
    let answer = phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Applied);
    let path = folder.path().to_str().expect("UTF-8");
    let question = ["user", "show", "demo", "--data-dir", path, "--json"];
    let beside = super::asked(&question).await;
    assert_eq!(beside.code, Some(0), "{}", beside.err);
    assert!(serving.end().success());
    // And when it does not.
    let alone = super::asked(&question).await;
    assert_eq!(
        (alone.code, alone.out),
        (Some(0), beside.out),
        "{}",
        alone.err
    );
}
