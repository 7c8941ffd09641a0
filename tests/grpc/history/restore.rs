//! RestoreVersion: an old version or a losing side as a new version.

use ironflow_sync::grpc::proto::Resolution::{NeedsUser, Resurrected};
use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::{
    RestoreVersionRequest, RestoreVersionResponse, ServerCopy, SyncRequest,
};
use serde_json::Value;
use tokio_postgres::Client;
use tonic::Code;
use uuid::Uuid;

use super::{edit, fields, history, line, lines, of, phone_and_tablet, titled, wish};
use crate::grpc::{check_status, count, now_ms, versions};
use crate::support::database::contents;
use crate::support::{Device, TestService};

/// A workout whose versions hold these titles; `None`: deleted. Written by the phone.
async fn workout(phone: &mut Device, titles: &[Option<&str>]) -> Uuid {
    let id = Uuid::new_v4();
    for (base, title) in titles.iter().enumerate() {
        phone
            .sync_one(edit("workout", id, base as i32, *title))
            .await;
    }
    id
}

async fn restore(device: &mut Device, wish: RestoreVersionRequest) -> RestoreVersionResponse {
    device.restore(wish).await.expect("an answer")
}

fn copy(answer: &RestoreVersionResponse) -> &ServerCopy {
    answer.server.as_ref().expect("a server copy")
}

fn title(copy: &ServerCopy) -> Option<String> {
    if copy.deleted {
        assert!(copy.data.is_empty());
        return None;
    }
    let data: Value = serde_json::from_slice(&copy.data).expect("JSON");
    Some(data["title"].as_str().expect("a title").to_owned())
}

/// That asking again gives the same answer and writes nothing (promise 4).
async fn check_again(
    sql: &Client,
    device: &mut Device,
    wish: RestoreVersionRequest,
    answer: &RestoreVersionResponse,
) {
    let before = contents(sql).await;
    for _ in 0..2 {
        assert_eq!(restore(device, wish.clone()).await, *answer);
    }
    assert_eq!(contents(sql).await, before, "asking again wrote something");
}

#[tokio::test]
async fn an_old_version_comes_back_as_a_new_one_for_every_device() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b"), Some("c")]).await;
    // The label of a device is what it said when it last pushed.
    let begin = tablet.request();
    tablet.send(begin).await.expect("known");
    let (_, cursor) = phone.pull_all(phone.page_after("")).await;

    let begun = now_ms();
    let first = wish(id, Source::Version(1), 3);
    let answer = restore(&mut tablet, first.clone()).await;
    assert!(answer.restored);
    let held = copy(&answer);
    assert_eq!((title(held).as_deref(), held.version), (Some("a"), 4));
    let by = (held.device_id.as_str(), held.device_label.as_str());
    assert_eq!(by, ("tablet", ""), "a device knows what it is called");
    assert!(held.updated_at >= begun && held.edit_time == held.updated_at);
    check_again(&sql, &mut tablet, first.clone(), &answer).await;
    let entries = history(&mut phone, of("workout", id)).await;
    assert_eq!(line(&entries[0]), "now 4 tablet Applied restore 3: a");

    let (changed, _) = phone.pull_all(phone.page_after(&cursor)).await;
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].version, &*changed[0].device_id), (4, "tablet"));

    // Asked again after another device has written: done once, and not again.
    phone.sync_one(edit("workout", id, 4, Some("d"))).await;
    let later = restore(&mut tablet, first).await;
    assert!(later.restored);
    let held = copy(&later);
    assert_eq!((title(held).as_deref(), held.version), (Some("d"), 5));
    assert_eq!(versions(&sql, id).await.len(), 5);
}

#[tokio::test]
async fn who_has_not_seen_the_newest_version_overwrites_nothing() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b"), Some("c")]).await;
    let begin = tablet.request();
    tablet.send(begin).await.expect("known");
    let before = contents(&sql).await;
    for expected in [0, 1, 2, 4, i32::MAX] {
        let moved = restore(&mut tablet, wish(id, Source::Version(1), expected)).await;
        assert!(!moved.restored, "{expected}");
        let held = copy(&moved);
        assert_eq!((title(held).as_deref(), held.version), (Some("c"), 3));
        assert_eq!(held.device_label, "Mia's phone");
    }
    assert_eq!(contents(&sql).await, before, "nothing was written");
    // With what they have seen now it goes; the refusals left no memory.
    assert!(
        restore(&mut tablet, wish(id, Source::Version(1), 3))
            .await
            .restored
    );
}

#[tokio::test]
async fn what_the_entity_holds_already_is_not_written_again() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b"), Some("a")]).await;
    let gone = workout(&mut phone, &[Some("a"), None, Some("b"), None]).await;
    let before = contents(&sql).await;
    for (id, version, expected) in [(id, 1, 3), (id, 3, 3), (gone, 2, 4), (gone, 4, 4)] {
        let wish = wish(id, Source::Version(version), expected);
        let answer = restore(&mut phone, wish).await;
        assert!(answer.restored, "{version}");
        assert_eq!(copy(&answer).version, expected);
    }
    assert_eq!(contents(&sql).await, before, "nothing was written");
}

#[tokio::test]
async fn a_deletion_comes_back_as_one_and_a_deleted_entity_to_life() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), None, Some("b")]).await;
    let deletion = wish(id, Source::Version(2), 3);
    let answer = restore(&mut phone, deletion.clone()).await;
    assert!(answer.restored && copy(&answer).deleted);
    assert_eq!(copy(&answer).version, 4);
    check_again(&sql, &mut phone, deletion, &answer).await;

    let life = wish(id, Source::Version(3), 4);
    let answer = restore(&mut phone, life.clone()).await;
    assert_eq!(title(copy(&answer)).as_deref(), Some("b"));
    check_again(&sql, &mut phone, life, &answer).await;
    let entries = history(&mut phone, of("workout", id)).await;
    assert_eq!(entries[0].resolution(), Resurrected);
    let expected = [
        "now 5 phone Resurrected restore 3: b",
        "was 4 phone Applied restore 3: deleted",
    ];
    assert_eq!(lines(&entries[..2]), expected);
}

#[tokio::test]
async fn a_losing_side_comes_back_and_settles_what_waited_of_its_device() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b")]).await;
    let lost = tablet.sync_one(edit("workout", id, 1, Some("mine"))).await;
    assert_eq!(lost.resolution(), NeedsUser);
    assert_eq!(tablet.status().await.open_conflicts, 1);

    let side = wish(id, Source::LosingSide(lost.mutation_id.clone()), 2);
    let answer = restore(&mut tablet, side.clone()).await;
    assert_eq!(title(copy(&answer)).as_deref(), Some("mine"));
    assert_eq!(
        tablet.status().await.open_conflicts,
        0,
        "as if it had pushed it"
    );
    check_again(&sql, &mut tablet, side, &answer).await;
    let settled = "select count(*) from conflicts where settlement = 'pushed' \
                   and settled_by = 'tablet' and settled_version = 3";
    assert_eq!(count(&sql, settled).await, 1);

    // The side itself stays where it was (promise 1).
    let entries = history(&mut phone, of("workout", id)).await;
    let expected = [
        "now 3 tablet Applied restore 3: mine",
        "was 2 phone Applied push 3: b",
        "side of 2 tablet: mine",
        "was 1 phone Applied push 2: a",
    ];
    assert_eq!(lines(&entries), expected);
}

#[tokio::test]
async fn data_that_retention_has_removed_can_not_come_back() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b"), Some("c")]).await;
    let done = wish(id, Source::Version(2), 3);
    let answer = restore(&mut phone, done.clone()).await;
    let compact = "update entity_versions set data = null where entity_id = $1";
    sql.execute(compact, &[&id]).await.expect("compacted");

    let entries = history(&mut phone, of("workout", id)).await;
    let removed: Vec<bool> = entries.iter().map(|entry| entry.data_removed).collect();
    assert_eq!(removed, [false, true, true, true]);
    let refused = phone.restore(wish(id, Source::Version(1), 4)).await;
    let refused = refused.expect_err("gone");
    check_status(
        "removed",
        &refused,
        Code::InvalidArgument,
        "INVALID_REQUEST",
    );
    assert_eq!(fields(&refused), ["version"]);
    assert!(refused.message().contains("retention has not removed"));
    // What was done stays done, also when its source is gone (promise 4).
    check_again(&sql, &mut phone, done, &answer).await;
}

#[tokio::test]
async fn of_two_devices_that_restore_at_once_one_learns_what_the_other_did() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    for _ in 0..5 {
        let id = workout(&mut phone, &[Some("a"), Some("b"), Some("c")]).await;
        let mut wishes = Vec::new();
        for (device, version) in [("d1", 1), ("d2", 2), ("d3", 1), ("d4", 2)] {
            let mut device = service.device("mia", device).await;
            let wish = wish(id, Source::Version(version), 3);
            wishes.push(tokio::spawn(
                async move { restore(&mut device, wish).await },
            ));
        }
        let mut winners = Vec::new();
        let mut copies = Vec::new();
        for wish in wishes {
            let answer = wish.await.expect("an answer");
            assert_eq!(copy(&answer).version, 4);
            copies.push(title(copy(&answer)));
            winners.extend(answer.restored.then(|| title(copy(&answer))));
        }
        assert_eq!(winners.len(), 1, "{copies:?}");
        assert!(copies.iter().all(|copy| *copy == winners[0]), "{copies:?}");
        assert_eq!(versions(&sql, id).await.len(), 4);
    }
}

#[tokio::test]
async fn the_same_wish_on_many_connections_is_fulfilled_once() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b")]).await;
    let mut wishes = Vec::new();
    for _ in 0..8 {
        let mut phone = service.device("mia", "phone").await;
        let wish = wish(id, Source::Version(1), 2);
        wishes.push(tokio::spawn(async move { restore(&mut phone, wish).await }));
    }
    for wish in wishes {
        let answer = wish.await.expect("an answer");
        assert!(answer.restored);
        assert_eq!(copy(&answer).version, 3);
    }
    let held: Vec<_> = versions(&sql, id)
        .await
        .into_iter()
        .map(|(_, data)| data)
        .collect();
    assert_eq!(
        held,
        [Some(titled("a")), Some(titled("b")), Some(titled("a"))]
    );
}

#[tokio::test]
async fn a_wish_says_nothing_of_what_its_device_has_queued() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b")]).await;
    let request = SyncRequest {
        pending_count: 7,
        ..phone.request()
    };
    phone.send(request).await.expect("told");
    assert!(
        restore(&mut phone, wish(id, Source::Version(1), 2))
            .await
            .restored
    );
    let devices = phone.status().await.devices;
    let known = (devices[0].pending_count, devices[0].label.as_str());
    assert_eq!(known, (7, "Mia's phone"));
}

#[tokio::test]
async fn an_entity_without_room_for_a_version_is_not_said_to_be_restored() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = Uuid::new_v4();
    phone
        .sync_one(edit("workout", id, i32::MAX - 2, Some("a")))
        .await;
    phone
        .sync_one(edit("workout", id, i32::MAX - 1, Some("b")))
        .await;
    let wish = wish(id, Source::Version(i32::MAX - 1), i32::MAX);
    let refused = phone.restore(wish).await.expect_err("no room");
    check_status("full", &refused, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(fields(&refused), ["expected_version"]);
    assert_eq!(versions(&sql, id).await.len(), 2);
}

#[tokio::test]
async fn bad_wishes_are_refused_field_by_field() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = workout(&mut phone, &[Some("a"), Some("b")]).await;
    let lost = tablet.sync_one(edit("workout", id, 1, Some("x"))).await;
    let other = workout(&mut phone, &[Some("a")]).await;
    let fine = RestoreVersionRequest {
        device_id: "phone".to_owned(),
        ..wish(id, Source::Version(1), 2)
    };
    let source = |source| RestoreVersionRequest {
        source: Some(source),
        ..fine.clone()
    };
    let of_type = |entity_type: &str| RestoreVersionRequest {
        entity_type: entity_type.to_owned(),
        ..fine.clone()
    };
    let by = |device_id: String| RestoreVersionRequest {
        device_id,
        ..fine.clone()
    };
    let side = |id: &str| Source::LosingSide(id.to_owned());
    let cases: Vec<(&str, RestoreVersionRequest, &[&str])> = vec![
        (
            "nothing",
            RestoreVersionRequest::default(),
            &["entity_type", "entity_id", "device_id", "version"],
        ),
        ("no device", by(String::new()), &["device_id"]),
        ("long device", by("x".repeat(129)), &["device_id"]),
        ("NUL in the device", by("a\0".to_owned()), &["device_id"]),
        ("no type", of_type(""), &["entity_type"]),
        ("odd type", of_type("a b"), &["entity_type"]),
        ("unknown type", of_type("spaceship"), &["entity_type"]),
        (
            "shared type",
            of_type("exercise_definition"),
            &["entity_type"],
        ),
        (
            "odd id",
            RestoreVersionRequest {
                entity_id: "7".to_owned(),
                ..fine.clone()
            },
            &["entity_id"],
        ),
        (
            "no source",
            RestoreVersionRequest {
                source: None,
                ..fine.clone()
            },
            &["version"],
        ),
        ("version 0", source(Source::Version(0)), &["version"]),
        ("version -1", source(Source::Version(-1)), &["version"]),
        ("version to come", source(Source::Version(3)), &["version"]),
        ("empty side", source(side("")), &["losing_side"]),
        ("odd side", source(side("x")), &["losing_side"]),
        (
            "no such side",
            source(side(&Uuid::new_v4().to_string())),
            &["losing_side"],
        ),
        (
            "another entity's side",
            RestoreVersionRequest {
                entity_id: other.to_string(),
                expected_version: 1,
                ..source(side(&lost.mutation_id))
            },
            &["losing_side"],
        ),
        (
            "another type",
            RestoreVersionRequest {
                entity_type: "routine".to_owned(),
                ..fine.clone()
            },
            &["version"],
        ),
        (
            "negative expectation",
            RestoreVersionRequest {
                expected_version: -1,
                ..fine.clone()
            },
            &["expected_version"],
        ),
    ];
    let before = contents(&sql).await;
    for (name, request, expected) in cases {
        let refused = phone.restore_version(request).await.expect_err(name);
        check_status(name, &refused, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&refused), expected, "{name}");
    }
    assert_eq!(contents(&sql).await, before, "nothing was written");
}
