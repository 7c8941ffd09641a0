//! Promise 3: items share a fate only if they share a group, and then they do.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, NeedsUser, Resurrected, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::{
    ErrorCode, Resolution, SyncItem, SyncRequest, SyncResult, SyncStatus,
};
use serde_json::json;
use uuid::Uuid;

use super::{now_ms, versions};
use crate::support::database::contents;
use crate::support::{Device, TestService, delete, put, put_bytes};

fn grouped(group: &str, item: SyncItem) -> SyncItem {
    SyncItem {
        group_id: group.to_owned(),
        ..item
    }
}

/// How an item was answered: settled, or why not.
fn settled(answers: &[SyncResult]) -> Vec<Result<Resolution, ErrorCode>> {
    let one = |answer: &SyncResult| match answer.status() {
        SyncStatus::Error => Err(answer.error_code()),
        _ => Ok(answer.resolution()),
    };
    answers.iter().map(one).collect()
}

const ABORTED: Result<Resolution, ErrorCode> = Err(ErrorCode::GroupAborted);

/// A service with two devices, and an entity the tablet holds at version 1.
async fn two_devices() -> (TestService, Device, Device, Uuid) {
    let service = TestService::start().await;
    let phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let taken = Uuid::new_v4();
    tablet
        .sync_one(put(taken, 0, &json!({"by": "tablet"})))
        .await;
    (service, phone, tablet, taken)
}

#[tokio::test]
async fn a_failing_item_keeps_its_answer_and_takes_its_group_down() {
    let (service, mut phone, mut tablet, taken) = two_devices().await;
    let sql = service.database.client().await;
    let deleted = Uuid::new_v4();
    let long_ago = SyncItem {
        timestamp: now_ms() - 3_600_000,
        ..put(deleted, 0, &json!({"by": "phone"}))
    };
    tablet.sync_one(put(deleted, 0, &json!({}))).await;
    tablet.sync_one(delete(deleted, 1)).await;
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let data = &json!({"by": "phone"});
    let cases = [
        ("conflict", put(taken, 0, data), Ok(NeedsUser)),
        ("lost", long_ago, Ok(ServerWon)),
        (
            "bad data",
            put_bytes(Uuid::new_v4(), 0, "[]"),
            Err(ErrorCode::InvalidData),
        ),
        (
            "bad id",
            SyncItem {
                entity_id: "7".to_owned(),
                ..put(taken, 1, data)
            },
            Err(ErrorCode::InvalidItem),
        ),
        (
            "too large",
            put_bytes(Uuid::new_v4(), 0, vec![b' '; 256 * 1024 + 1]),
            Err(ErrorCode::TooLarge),
        ),
    ];
    for (name, failing, answer) in cases {
        let before = contents(&sql).await;
        for place in 0..3 {
            let fresh = Uuid::new_v4();
            let mut items = vec![
                grouped("g", put(fresh, 0, data)),
                grouped("g", put(fresh, 0, &json!({"by": "phone again"}))),
            ];
            items.insert(place, grouped("g", failing.clone()));
            let mut expected = vec![ABORTED; 2];
            expected.insert(place, answer);
            let answers = phone.sync(items).await;
            assert_eq!(settled(&answers), expected, "{name} at {place}");
            for aborted in answers
                .iter()
                .filter(|a| a.error_code() == ErrorCode::GroupAborted)
            {
                assert!(aborted.error_message.starts_with("group_id: "), "{name}");
                assert_eq!(aborted.server_version, 0, "{name}");
            }
        }
        assert_eq!(
            contents(&sql).await,
            before,
            "{name}: something was written"
        );
    }
}

#[tokio::test]
async fn a_group_without_a_failure_is_applied_and_replayed_as_a_whole() {
    let (service, mut phone, _tablet, taken) = two_devices().await;
    let sql = service.database.client().await;
    let (new, gone) = (Uuid::new_v4(), Uuid::new_v4());
    let batch = vec![
        grouped("g", put(new, 0, &json!({"n": 1}))),
        grouped("g", delete(taken, 1)),
        grouped("g", delete(gone, 0)),
        grouped("g", put(taken, 1, &json!({"n": 2}))),
    ];
    let first = phone.sync(batch.clone()).await;
    let expected = [Ok(Applied), Ok(Applied), Ok(Unchanged), Ok(Resurrected)];
    assert_eq!(settled(&first), expected);
    assert_eq!(versions(&sql, taken).await.len(), 3);
    assert_eq!(phone.sync(batch).await, first);
}

/// The others are decided as if the aborted group had never been sent.
#[tokio::test]
async fn an_aborted_group_leaves_the_rest_of_the_batch_alone() {
    let (service, mut phone, _tablet, taken) = two_devices().await;
    let sql = service.database.client().await;
    let [shared, single, ok_1, ok_2] = [(); 4].map(|()| Uuid::new_v4());
    let n = |n: i32| json!({ "n": n });
    let batch = vec![
        put(shared, 0, &n(1)),
        grouped("bad", put(shared, 1, &n(2))),
        grouped("good", put(ok_1, 0, &n(1))),
        put(shared, 1, &n(3)),
        grouped("bad", put(single, 0, &n(1))),
        grouped("bad", put(taken, 0, &n(1))),
        grouped("good", put(ok_2, 0, &n(1))),
        put(single, 0, &n(2)),
        grouped("bad", put(ok_2, 1, &n(2))),
        grouped("alone", put(taken, 0, &n(5))),
    ];
    let answers = phone.sync(batch.clone()).await;
    let expected = [
        Ok(Applied),
        ABORTED,
        Ok(Applied),
        Ok(Applied),
        ABORTED,
        Ok(NeedsUser),
        Ok(Applied),
        Ok(Applied),
        ABORTED,
        Ok(NeedsUser),
    ];
    assert_eq!(settled(&answers), expected);
    assert_eq!(
        versions(&sql, shared).await,
        [(1, Some(n(1))), (2, Some(n(3)))]
    );
    assert_eq!(versions(&sql, single).await, [(1, Some(n(2)))]);
    assert_eq!(versions(&sql, ok_2).await, [(1, Some(n(1)))]);
    assert_eq!(versions(&sql, taken).await.len(), 1);
    for (item, answer) in batch.iter().zip(&answers) {
        assert_eq!(answer.mutation_id, item.mutation_id);
    }
}

/// What the second group builds on is taken away together with the first.
#[tokio::test]
async fn a_group_that_builds_on_an_aborted_one_is_decided_without_it() {
    let (service, mut phone, _tablet, taken) = two_devices().await;
    let sql = service.database.client().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let bad = put_bytes(b, 0, "{");
    let n = |n: i32| json!({ "n": n });
    let answers = phone
        .sync(vec![
            grouped("first", put(taken, 1, &n(1))),
            grouped("second", put(taken, 1, &n(2))),
            grouped("second", put(a, 0, &n(1))),
            grouped("third", put(taken, 2, &n(3))),
            grouped("third", put(a, 1, &n(3))),
            grouped("first", bad),
        ])
        .await;
    // Without `first`, `second` is the one that edits version 1, and `third` stands on both.
    let invalid = Err(ErrorCode::InvalidData);
    let expected = [
        ABORTED,
        Ok(Applied),
        Ok(Applied),
        Ok(Applied),
        Ok(Applied),
        invalid,
    ];
    assert_eq!(settled(&answers), expected);
    let by = Some(json!({"by": "tablet"}));
    assert_eq!(
        versions(&sql, taken).await,
        [(1, by), (2, Some(n(2))), (3, Some(n(3)))]
    );
    assert_eq!(versions(&sql, a).await, [(1, Some(n(1))), (2, Some(n(3)))]);
}

/// A group came through, its answer was lost, and meanwhile an item of it that wrote nothing
/// would fail: what was applied is still said to be (promise 4).
#[tokio::test]
async fn an_applied_item_of_a_group_is_answered_as_applied_for_ever() {
    let (_service, mut phone, mut tablet, taken) = two_devices().await;
    let new = Uuid::new_v4();
    let batch = vec![
        grouped("g", put(new, 0, &json!({"n": 1}))),
        grouped("g", put(taken, 0, &json!({"by": "tablet"}))),
    ];
    let first = phone.sync(batch.clone()).await;
    assert_eq!(settled(&first), [Ok(Applied), Ok(Unchanged)]);
    tablet
        .sync_one(put(taken, 1, &json!({"by": "tablet again"})))
        .await;
    let again = phone.sync(batch).await;
    assert_eq!(settled(&again), [Ok(Applied), Ok(NeedsUser)]);
    assert_eq!(again[0], first[0]);
}

#[tokio::test]
async fn validate_only_answers_as_the_real_thing_and_leaves_no_trace() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await.called("Mia's phone");
    let empty = contents(&sql).await;
    let [new, taken] = [(); 2].map(|()| Uuid::new_v4());
    let batch = vec![
        put(new, 0, &json!({"n": 1})),
        put(new, 1, &json!({"n": 2})),
        put(taken, 0, &json!({"n": 1})),
        delete(taken, 0),
        put_bytes(new, 0, "]"),
        grouped("g", put(new, 0, &json!({"n": 3}))),
        grouped("g", put_bytes(new, 0, "{")),
    ];
    for round in ["as the first call ever", "on existing data"] {
        let before = contents(&sql).await;
        let request = SyncRequest {
            items: batch.clone(),
            validate_only: true,
            ..phone.request()
        };
        let mut tried = phone.send(request).await.expect("answers").results;
        assert_eq!(contents(&sql).await, before, "{round}: it left a trace");
        let mut real = phone.sync(batch.clone()).await;
        for answer in tried.iter_mut().chain(&mut real) {
            answer.server_timestamp = 0;
        }
        assert_eq!(tried, real, "{round}");
        assert_eq!(real[0].resolution(), Applied, "{round}");
        let mut tablet = service.device("mia", "tablet").await;
        tablet.sync_one(put(taken, 2, &json!({"n": 9}))).await;
    }
    assert_ne!(contents(&sql).await, empty);
}
