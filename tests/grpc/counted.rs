//! What a device that counts sends again: batches, and decisions, which are counted like them.

use ironflow_sync::grpc::proto::ErrorCode::RetryLater;
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, Resurrected, Unchanged};
use ironflow_sync::grpc::proto::{
    Choice, ResolveConflictRequest, ResolveStatus, RestoreVersionRequest, SyncItem, SyncRequest,
    restore_version_request,
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::{check_field, check_status, versions};
use crate::support::database::contents;
use crate::support::service::QUIET;
use crate::support::{Device, TestService, delete, put};

fn batch(device: &Device, batch_number: i64, items: &[SyncItem]) -> SyncRequest {
    SyncRequest {
        batch_number,
        items: items.to_vec(),
        ..device.request()
    }
}

/// An edit was nothing new, then somebody deletes what it wants, then the batch comes again, late: decided
/// anew it would bring the entity back behind the backs of the device's copies.
#[tokio::test]
async fn a_counted_batch_that_comes_again_writes_nothing_and_what_is_due_is_put_off() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let (same, new) = (Uuid::new_v4(), Uuid::new_v4());
    tablet.sync_one(put(same, 0, &json!({"sets": 3}))).await;
    let items = [put(same, 0, &json!({"sets": 3})), put(new, 0, &json!({}))];
    let first = phone.send(batch(&phone, 1, &items)).await.expect("counted");
    assert_eq!(first.results[0].resolution(), Unchanged);
    assert_eq!(first.results[1].resolution(), Applied);
    let again = phone.send(batch(&phone, 1, &items)).await.expect("a retry");
    assert_eq!(again.results, first.results, "nothing is due");

    tablet.sync_one(delete(same, 1)).await;
    let before = contents(&sql).await;
    let again = phone.send(batch(&phone, 1, &items)).await.expect("a retry");
    assert_eq!(again.results[0].error_code(), RetryLater);
    assert!(again.results[0].error_message.contains("batch_number"));
    assert_eq!(
        again.results[1], first.results[1],
        "its first answer stands"
    );
    assert_eq!(contents(&sql).await, before);

    let next = phone.send(batch(&phone, 2, &items)).await.expect("counted");
    assert_eq!(next.results[0].resolution(), Resurrected);
    assert_eq!(next.results[1], first.results[1]);
    assert_eq!(versions(&sql, same).await.len(), 3);
}

/// A phone with an open conflict about an entity at version 2, after two batches.
async fn in_conflict(service: &TestService) -> (Device, Uuid, String) {
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    let created = [put(id, 0, &json!({"sets": 1}))];
    phone
        .send(batch(&phone, 1, &created))
        .await
        .expect("counted");
    tablet.sync_one(put(id, 1, &json!({"sets": 2}))).await;
    let edited = [put(id, 1, &json!({"sets": 3}))];
    let answer = phone.send(batch(&phone, 2, &edited)).await;
    let answer = answer.expect("counted").results.remove(0);
    assert_eq!(answer.resolution(), NeedsUser);
    let conflict = answer.conflict.expect("a conflict").conflict_id;
    (phone, id, conflict)
}

#[tokio::test]
async fn a_decision_takes_a_number_and_a_copy_that_does_not_know_of_it_is_noticed() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let (mut phone, id, conflict) = in_conflict(&service).await;
    let decide = |phone: &Device, choice, batch_number| ResolveConflictRequest {
        batch_number,
        ..phone.decision(&conflict, choice, 2)
    };
    let keep = decide(&phone, Choice::KeepClient, 3);
    let first = phone.resolve(keep.clone()).await.expect("counted");
    assert_eq!(first.status(), ResolveStatus::Resolved);
    let again = phone.resolve(keep).await.expect("a retry");
    assert_eq!(again, first);
    let before = contents(&sql).await;
    let reused = |refused| {
        check_status(
            "a copy",
            &refused,
            Code::FailedPrecondition,
            "DEVICE_ID_REUSED",
        );
    };
    let other = decide(&phone, Choice::KeepServer, 3);
    reused(phone.resolve(other).await.expect_err("another decision"));
    let older = decide(&phone, Choice::KeepClient, 2);
    reused(
        phone
            .resolve(older)
            .await
            .expect_err("a number from before"),
    );
    let edited = [put(id, 2, &json!({"sets": 4}))];
    let pushed = phone.send(batch(&phone, 3, &edited)).await;
    reused(pushed.expect_err("a batch with the decision's number"));
    assert_eq!(contents(&sql).await, before);
    let negative = phone.resolve(decide(&phone, Choice::KeepClient, -1)).await;
    check_field(
        "negative",
        &negative.expect_err("malformed"),
        "batch_number",
    );
}

#[tokio::test]
async fn a_wish_for_an_old_version_is_counted_too() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let (mut phone, id, _) = in_conflict(&service).await;
    let wish = |batch_number, version| RestoreVersionRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        source: Some(restore_version_request::Source::Version(version)),
        expected_version: 2,
        batch_number,
        ..RestoreVersionRequest::default()
    };
    let unknown = phone
        .restore(wish(3, 9))
        .await
        .expect_err("no such version");
    check_field("unknown", &unknown, "version");
    // It was refused as a whole: what is made instead takes its number.
    let first = phone.restore(wish(3, 1)).await.expect("counted");
    assert!(first.restored);
    let again = phone.restore(wish(3, 1)).await.expect("a retry");
    assert_eq!(again, first);
    let before = contents(&sql).await;
    for (case, wish) in [
        ("another wish", wish(3, 2)),
        ("an older number", wish(2, 1)),
    ] {
        let refused = phone.restore(wish).await.expect_err(case);
        check_status(case, &refused, Code::FailedPrecondition, "DEVICE_ID_REUSED");
    }
    assert_eq!(contents(&sql).await, before);
    let negative = phone.restore(wish(-1, 1)).await.expect_err("malformed");
    check_field("negative", &negative, "batch_number");
}
