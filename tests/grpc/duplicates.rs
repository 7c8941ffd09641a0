//! The same workout recorded twice: both are kept, and the person is asked.

use ironflow_sync::grpc::proto::{
    Choice, Conflict, ConflictKind, ConflictState, Resolution, ResolveConflictRequest,
    ResolveStatus, Settlement, SyncItem,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::inbox::told;
use crate::support::{Device, TestService, delete, put};

fn session(id: Uuid, date: &str, title: &str) -> SyncItem {
    SyncItem {
        entity_type: "workout_session".to_owned(),
        ..put(id, 0, &json!({"date": date, "workoutTitle": title}))
    }
}

async fn open(device: &mut Device) -> Vec<Conflict> {
    device.conflicts(ConflictState::Open).await
}

/// What the user holds, by id: title, or nothing.
async fn titles(device: &mut Device) -> Vec<(String, Value)> {
    let mut from = device.page_after("");
    from.include_own = true;
    let (entities, _) = device.pull_all(from).await;
    let mut titles: Vec<(String, Value)> = entities
        .into_iter()
        .filter(|entity| !entity.deleted)
        .map(|entity| {
            let data: Value = serde_json::from_slice(&entity.data).expect("JSON");
            (entity.entity_id, data["workoutTitle"].clone())
        })
        .collect();
    titles.sort_by_key(|(id, _)| id.clone());
    titles
}

#[tokio::test]
async fn only_what_began_within_the_tolerance_is_a_possible_duplicate() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut watch = service.device("mia", "watch").await;
    let mut stranger = service.device("leo", "phone").await;
    let first = Uuid::new_v4();
    phone
        .sync_one(session(first, "2026-01-05T18:00:00Z", "Push day"))
        .await;
    let answer = stranger
        .sync_one(session(Uuid::new_v4(), "2026-01-05T18:00:00Z", "Push day"))
        .await;
    assert_eq!(answer.possible_duplicate_of, "", "somebody else's is none");
    for (date, duplicate) in [
        ("2026-01-05T17:54:59Z", false),
        ("2026-01-05T18:05:01Z", false),
        ("2026-01-05", false),
        ("soon", false),
        ("2026-01-05T19:04:00+01:00", true),
        ("2026-01-05 17:55:00", true),
    ] {
        let id = Uuid::new_v4();
        let answer = watch.sync_one(session(id, date, "Workout")).await;
        assert_eq!(answer.resolution(), Resolution::Applied, "both are kept");
        let noted = !answer.possible_duplicate_of.is_empty();
        assert_eq!(noted, duplicate, "{date}");
        // Out of the way of the next.
        let gone = SyncItem {
            entity_type: "workout_session".to_owned(),
            ..delete(id, 1)
        };
        watch.sync_one(gone).await;
    }
    assert_eq!(open(&mut phone).await, [], "a deleted one is no duplicate");
    // Another type is another thing.
    let workout = SyncItem {
        entity_type: "workout".to_owned(),
        ..session(Uuid::new_v4(), "2026-01-05T18:00:00Z", "Push day")
    };
    let answer = watch.sync_one(workout).await;
    assert_eq!(answer.possible_duplicate_of, "");
}

/// Two entities in one batch, as an import brings them.
#[tokio::test]
async fn a_batch_meets_its_own_duplicates_and_a_retry_tells_the_same() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let batch: Vec<SyncItem> = ids
        .iter()
        .map(|id| session(*id, "2026-01-05T18:00:00Z", "Push day"))
        .collect();
    let answers = phone.sync(batch.clone()).await;
    assert_eq!(answers[0].possible_duplicate_of, "");
    assert_eq!(answers[1].possible_duplicate_of, ids[0].to_string());
    let again = phone.sync(batch).await;
    assert_eq!(again, answers);
    let open = open(&mut phone).await;
    assert_eq!(open.len(), 1, "noted once");
    assert_eq!(open[0].kind(), ConflictKind::Duplicate);
    assert_eq!(open[0].entity_id, ids[1].to_string());
    assert_eq!(open[0].possible_duplicate_of, ids[0].to_string());
}

#[tokio::test]
async fn possible_duplicates_are_merged_or_dismissed_by_a_decision() {
    let merged = json!({"date": "2026-01-05T18:00:00Z", "workoutTitle": "Both"});
    for (choice, settlement, left) in [
        (
            Choice::KeepBoth,
            Settlement::KeepBoth,
            ["Phone", "Watch"].as_slice(),
        ),
        (Choice::KeepServer, Settlement::KeepServer, &["Phone"]),
        (Choice::KeepClient, Settlement::KeepClient, &["Watch"]),
        (Choice::UseData, Settlement::UseData, &["Both"]),
    ] {
        let service = TestService::start().await;
        let mut phone = service.device("mia", "phone").await;
        let mut watch = service.device("mia", "watch").await;
        let (older, newer) = (Uuid::new_v4(), Uuid::new_v4());
        phone
            .sync_one(session(older, "2026-01-05T18:00:00Z", "Phone"))
            .await;
        watch
            .sync_one(session(newer, "2026-01-05T18:01:00Z", "Watch"))
            .await;
        let [conflict] = <[Conflict; 1]>::try_from(open(&mut phone).await).expect("one");
        let found = phone.conflict(&conflict.conflict_id).await.expect("there");
        let proposed: Value = serde_json::from_slice(&found.proposed_data).expect("JSON");
        assert!(proposed["workoutTitle"].is_string(), "{proposed}");
        assert_eq!(found.server.expect("the newer").version, 1);
        assert_eq!(found.duplicate.expect("the older").version, 1);

        let decide = |seen: i32, seen_other: i32| ResolveConflictRequest {
            expected_duplicate_version: seen_other,
            choice: choice.into(),
            ..phone.own_decision(&conflict.conflict_id, &merged, seen)
        };
        let (stale, decision) = (decide(1, 7), decide(1, 1));
        let moved = phone.resolve(stale).await.expect("answered");
        assert_eq!(moved.status(), ResolveStatus::Moved, "{choice:?}");
        let resolved = phone.resolve(decision.clone()).await.expect("resolved");
        assert_eq!(resolved.status(), ResolveStatus::Resolved);
        let settled = resolved.conflict.clone().expect("the conflict");
        assert_eq!(settled.settlement(), settlement);
        let again = phone.resolve(decision).await.expect("again");
        assert_eq!(told(&again), told(&resolved));
        let mut held: Vec<Value> = titles(&mut phone).await.into_iter().map(|t| t.1).collect();
        held.sort_by_key(Value::to_string);
        assert_eq!(held, left, "{choice:?}");
        assert_eq!(open(&mut watch).await, []);
    }
}
