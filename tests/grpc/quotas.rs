//! How much an account may hold: devices and entities (section 8).

use ironflow_sync::grpc::proto::Resolution::{Applied, Unchanged};
use ironflow_sync::grpc::proto::{ErrorCode, SyncItem, SyncRequest};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{check_status, count, eventually};
use crate::support::service::QUIET;
use crate::support::{Device, TestService, delete, put};

fn item(id: Uuid) -> SyncItem {
    put(id, 0, &json!({}))
}

async fn push(device: &mut Device, validate_only: bool) -> Result<(), Status> {
    let request = SyncRequest {
        items: vec![item(Uuid::new_v4())],
        validate_only,
        ..device.request()
    };
    let answers = device.send(request).await?.results;
    assert_eq!(answers[0].resolution(), Applied);
    Ok(())
}

#[tokio::test]
async fn a_device_too_many_is_refused_and_writes_nothing_and_those_before_it_go_on() {
    let service = TestService::with(&["--account-devices-max", "3"]).await;
    let sql = service.database.client().await;
    let mut devices = Vec::new();
    for n in 0..4 {
        devices.push(service.device("mia", &format!("phone-{n}")).await);
    }
    let [first, second, third, fourth] = &mut devices[..] else {
        panic!("four")
    };
    for device in [&mut *first, second, third] {
        push(device, false).await.expect("up to three");
    }
    let entities = "select count(*) from entities where scope = 'user/mia'";
    let known = "select count(*) from devices where scope = 'user/mia'";
    let revision = "select revision from scopes where scope = 'user/mia'";
    for _ in 0..2 {
        let refused = push(fourth, false).await.expect_err("a fourth");
        check_status(
            "fourth",
            &refused,
            Code::ResourceExhausted,
            "TOO_MANY_DEVICES",
        );
        let quota = refused.get_details_quota_failure().expect("QuotaFailure");
        assert_eq!(quota.violations[0].subject, "account.devices");
        let description = &quota.violations[0].description;
        assert!(
            description.starts_with("at most 3 of an account"),
            "{description}"
        );
        // Coming back would not help.
        assert!(refused.get_details_retry_info().is_none());
    }
    for (read, expected) in [(entities, 3), (known, 3), (revision, 3)] {
        assert_eq!(count(&sql, read).await, expected, "{read}");
    }
    // It reads, and may ask what a push would do; what it sees is not news of its own.
    let page = fourth.page_after("");
    assert_eq!(fourth.pull(page).await.expect("a page").entities.len(), 3);
    push(fourth, true).await.expect("writes nothing");
    push(first, false).await.expect("a known device");
    let mut other = service.device("leo", "phone-3").await;
    push(&mut other, false).await.expect("leo has his own");
    assert_eq!(count(&sql, known).await, 3);
    let limits = first.server_info().await.limits.expect("limits");
    assert_eq!(limits.account_devices_max, 3);
    first.revoke("phone-1").await.expect("revoked");
    push(fourth, false).await.expect("that makes room");
}

#[tokio::test]
async fn devices_that_only_read_are_remembered_up_to_the_quota() {
    let arguments = [&QUIET[..], &["--account-devices-max", "3"]].concat();
    let service = TestService::with(&arguments).await;
    let sql = service.database.client().await;
    let mut known = service.device("mia", "known").await;
    push(&mut known, false).await.expect("a device");
    for n in 0..5 {
        let mut device = service.device("mia", &format!("reader-{n}")).await;
        let page = device.page_after("");
        device.pull(page).await.expect("a page");
    }
    let mut other = service.device("leo", "reader-0").await;
    let page = other.page_after("");
    other.pull(page).await.expect("a page");
    let of = async |user: &str| {
        let read = format!("select count(*) from devices where scope = 'user/{user}'");
        count(&sql, &read).await
    };
    eventually("they are written", async || of("leo").await == 1).await;
    assert_eq!(of("mia").await, 3);
    push(&mut known, false).await.expect("a known device");
}

#[tokio::test]
async fn an_account_without_room_takes_edits_of_what_it_holds_and_nothing_new() {
    let service = TestService::with(&["--account-entities-max", "2"]).await;
    let mut phone = service.device("mia", "phone").await;
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::new_v4()).collect();
    let answers = phone
        .sync(ids[..3].iter().map(|id| item(*id)).collect())
        .await;
    assert_eq!(answers[0].resolution(), Applied);
    assert_eq!(answers[1].resolution(), Applied);
    assert_eq!(answers[2].error_code(), ErrorCode::QuotaExceeded);
    assert_eq!(
        answers[2].error_message,
        "entity_id: expected an entity the account holds, it has no room for another; \
         what it holds can be changed and deleted"
    );
    assert!(answers[2].error_message.starts_with("entity_id: expected"));
    let edits = vec![
        put(ids[0], 1, &json!({"notes": "edited"})),
        delete(ids[1], 1),
        item(ids[3]),
        delete(ids[3], 0),
    ];
    let answers = phone.sync(edits).await;
    assert_eq!(answers[0].resolution(), Applied);
    assert_eq!(answers[1].resolution(), Applied);
    assert_eq!(answers[2].error_code(), ErrorCode::QuotaExceeded);
    assert_eq!(answers[3].resolution(), Unchanged);
    let sql = service.database.client().await;
    let held = "select count(*) from entities";
    assert_eq!(count(&sql, held).await, 2);
    let mut other = service.device("leo", "phone").await;
    let answer = other.sync_one(item(Uuid::new_v4())).await;
    assert_eq!(answer.resolution(), Applied, "leo has his own");
    let limits = phone.server_info().await.limits.expect("limits");
    assert_eq!(limits.account_entities_max, 2);
}
