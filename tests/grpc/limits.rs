//! The limits of section 8: what is just within them, and what is beyond.

use ironflow_sync::domain::catalog::{Catalog, TypeRules};
use ironflow_sync::domain::policy::Policy;
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, Unchanged};
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{ErrorCode, SyncItem, SyncRequest};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{check_status, count, versions};
use crate::support::service::token;
use crate::support::{Device, TestDatabase, TestService, delete, put, put_bytes};

/// Levels of objects, one in the other.
pub fn nested(levels: usize) -> String {
    "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1)
}

/// An object of so many bytes.
pub fn sized(bytes: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8))
}

#[tokio::test]
async fn what_is_just_within_the_limits_is_applied() {
    let longest_type = "w".repeat(64);
    let types = ["workout", &longest_type].map(|name| (name, TypeRules::with(Policy::Ask)));
    let catalog = Catalog::new(types);
    let service = TestService::knowing(TestDatabase::new().await, &[], catalog).await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    let long_number = format!("{{\"a\":{}}}", "7".repeat(64));
    let item = |change: fn(&mut SyncItem)| {
        let mut item = put(Uuid::new_v4(), 0, &json!({}));
        change(&mut item);
        item
    };
    let items = [
        ("256 KiB", put_bytes(Uuid::new_v4(), 0, sized(256 * 1024))),
        ("depth 64", put_bytes(Uuid::new_v4(), 0, nested(64))),
        ("64 digits", put_bytes(Uuid::new_v4(), 0, long_number)),
        ("1e-308", put_bytes(Uuid::new_v4(), 0, r#"{"a":1e-308}"#)),
        (
            "a pair of surrogates",
            put_bytes(Uuid::new_v4(), 0, r#"{"a":"\ud83d\ude00"}"#),
        ),
        (
            "an empty key",
            put_bytes(Uuid::new_v4(), 0, r#"{"":{"":1}}"#),
        ),
        (
            "white space around",
            put_bytes(Uuid::new_v4(), 0, " \r\n\t{ } "),
        ),
        ("letter case", item(|i| i.operation = "UpDaTe".to_owned())),
        ("create", item(|i| i.operation = "create".to_owned())),
        ("capital UUID", item(|i| i.entity_id.make_ascii_uppercase())),
        ("type of 64 bytes", item(|i| i.entity_type = "w".repeat(64))),
        (
            "group id of 128 bytes",
            item(|i| i.group_id = "g".repeat(128)),
        ),
        ("wild times", item(|i| i.timestamp = i64::MIN)),
        ("a wild future", item(|i| i.timestamp = i64::MAX)),
        ("a wild retry count", item(|i| i.retry_count = i32::MIN)),
    ];
    for (name, item) in items {
        let id = item.entity_id.parse().expect("a UUID");
        let sent: Option<Value> = serde_json::from_slice(&item.data).ok();
        let answer = phone.sync_one(item).await;
        assert_eq!(answer.resolution(), Applied, "{name}: {answer:?}");
        assert_eq!(versions(&sql, id).await, [(1, sent)], "{name}");
    }
    let with_data = SyncItem {
        data: b"ignored".to_vec(),
        ..delete(Uuid::new_v4(), 0)
    };
    assert_eq!(phone.sync_one(with_data).await.resolution(), Unchanged);
}

/// Checks that a call was refused for its size.
fn check_too_large(name: &str, refused: &Status, reason: &str) {
    check_status(name, refused, Code::ResourceExhausted, reason);
    let quota = refused.get_details_quota_failure();
    let quota = quota.unwrap_or_else(|| panic!("{name}: no QuotaFailure"));
    assert_eq!(quota.violations.len(), 1, "{name}");
    assert!(
        quota.violations[0].description.starts_with("at most "),
        "{name}"
    );
}

#[tokio::test]
async fn batches_have_at_most_500_items_and_may_have_none() {
    let service = TestService::start().await;
    let mut mia = service.device("mia", "phone").await;
    let items = |count: usize| {
        let item = put(Uuid::new_v4(), 0, &json!({}));
        vec![item; count]
    };
    let many = SyncRequest {
        items: items(501),
        ..mia.request()
    };
    let refused = mia.send(many).await.expect_err("501");
    check_too_large("501 items", &refused, "BATCH_TOO_LARGE");
    let sql = service.database.client().await;
    assert_eq!(count(&sql, "select count(*) from entities").await, 0);
    assert_eq!(mia.sync(items(500)).await.len(), 500);
    assert_eq!(mia.sync(vec![]).await, []);
}

#[tokio::test]
async fn a_message_beyond_4_mib_is_refused_however_small_it_was_packed() {
    const MIB: usize = 1024 * 1024;
    let service = TestService::start().await;
    let packings = [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ];
    for packing in packings {
        let mut client = service.client().await;
        if let Some(packing) = packing {
            client = client.send_compressed(packing);
        }
        let largest = if packing.is_some() { 64 * MIB } else { 5 * MIB };
        for size in [4 * MIB, largest] {
            let refused = send_sized(&mut client, size).await.expect_err("too large");
            check_too_large(
                &format!("{packing:?} {size}"),
                &refused,
                "MESSAGE_TOO_LARGE",
            );
        }
        // Within the limit the connection still works, and the item is its own error.
        send_sized(&mut client, 4 * MIB - 200)
            .await
            .expect("4 MiB pass");
    }
}

async fn send_sized(client: &mut SyncServiceClient<Channel>, size: usize) -> Result<(), Status> {
    let request = SyncRequest {
        device_id: "phone".to_owned(),
        items: vec![put_bytes(Uuid::new_v4(), 0, vec![b'x'; size])],
        ..SyncRequest::default()
    };
    let mut call = Request::new(request);
    let bearer = format!("Bearer {}", token("mia")).parse().expect("ASCII");
    call.metadata_mut().append("authorization", bearer);
    client.sync(call).await.map(|_| ())
}

/// A device whose gRPC library takes 4 MiB, as all do unless told otherwise, gets its answers.
#[tokio::test]
async fn server_copies_beyond_one_message_are_put_off() {
    const ENTITIES: usize = 18;
    let service = TestService::start().await;
    let mut tablet = service.device("mia", "tablet").await;
    let ids: Vec<Uuid> = (0..ENTITIES).map(|_| Uuid::new_v4()).collect();
    for half in ids.chunks(ENTITIES / 2) {
        let large = half
            .iter()
            .map(|id| put_bytes(*id, 0, sized(256 * 1024 - 24)));
        for answer in tablet.sync(large.collect()).await {
            assert_eq!(answer.resolution(), Applied);
        }
    }
    let mut open: Vec<Uuid> = ids;
    let client = service.plain_client().await;
    let mut phone = Device::new(client, token("mia"), "phone");
    let mut rounds = 0;
    while !open.is_empty() {
        let stale = open.iter().map(|id| put(*id, 0, &json!({"mine": 1})));
        let answers = phone.sync(stale.collect()).await;
        let put_off = |code| code == ErrorCode::RetryLater;
        let left: Vec<Uuid> = open
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| put_off(answer.error_code()))
            .map(|(id, _)| *id)
            .collect();
        let conflicts = answers
            .iter()
            .filter(|a| a.resolution() == NeedsUser)
            .count();
        assert_eq!(conflicts + left.len(), open.len());
        assert!(left.len() < open.len(), "no way forward");
        open = left;
        rounds += 1;
    }
    assert_eq!(rounds, 2);
}
