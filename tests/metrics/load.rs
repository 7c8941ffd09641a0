//! A little of everything that devices do, so that every metric has something to tell.

use ironflow_sync::grpc::proto::Resolution::{Applied, Merged, NeedsUser};
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest, SyncStatus, WatchResponse};
use serde_json::json;
use tonic::{Code, Streaming};
use uuid::Uuid;

use crate::support::{Device, TestService, put};

/// The types of the items that are sent, and what items of no type are called.
pub const ITEM_TYPES: [&str; 3] = ["unknown", "volume", "workout"];

/// Pushes, conflicts, a merge, a replay, bad items, refused calls, a pull, and a watch that is still open.
pub async fn load(service: &TestService, user: &str) -> Streaming<WatchResponse> {
    let mut phone = service.device(user, "phone").await.called("Mia's phone");
    let mut tablet = service.device(user, "tablet").await;
    let workout = Uuid::new_v4();
    let first = SyncRequest {
        items: vec![SyncItem {
            retry_count: 4,
            ..put(workout, 0, &json!({"title": "Push day"}))
        }],
        pending_count: 7,
        ..phone.request()
    };
    let answers = phone.send(first.clone()).await.expect("pushed").results;
    assert_eq!(answers[0].resolution(), Applied);
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;
    let mut watch = tablet
        .watch(tablet.page_after(&cursor))
        .await
        .expect("watches");
    watch.message().await.expect("goes on").expect("caught up");
    let second = put(workout, 1, &json!({"title": "Pull day"}));
    assert_eq!(phone.sync_one(second).await.resolution(), Applied);
    watch.message().await.expect("goes on").expect("a change");

    // The first edit again, whose answer was lost: this time with nothing queued behind it.
    let again = SyncRequest {
        pending_count: 0,
        items: vec![SyncItem {
            retry_count: 0,
            ..first.items[0].clone()
        }],
        ..first
    };
    let answers = phone.send(again).await.expect("pushed").results;
    assert_eq!(answers[0].resolution(), Applied);
    let mut other = service.device(user, "intruder").await;
    let late = put(workout, 1, &json!({"title": "Leg day"}));
    assert_eq!(other.sync_one(late).await.resolution(), NeedsUser);

    let volume = Uuid::new_v4();
    let volume = |base, data| SyncItem {
        entity_type: "volume".to_owned(),
        ..put(volume, base, &data)
    };
    for (base, data) in [(0, json!({"chest": 8})), (1, json!({"chest": 12}))] {
        assert_eq!(
            phone.sync_one(volume(base, data)).await.resolution(),
            Applied
        );
    }
    let merged = other
        .sync_one(volume(1, json!({"chest": 9, "back": 6})))
        .await;
    assert_eq!(merged.resolution(), Merged);

    let bad = |entity_type: &str| SyncItem {
        entity_type: entity_type.to_owned(),
        ..put(Uuid::new_v4(), 0, &json!({}))
    };
    let nobody_knows = format!("of_{}", user.replace('-', "_"));
    let malformed = format!("{user} & co");
    for answer in phone.sync(vec![bad(&nobody_knows), bad(&malformed)]).await {
        assert_eq!(answer.status(), SyncStatus::Error, "{answer:?}");
    }
    refused_calls(service, &mut phone).await;
    phone.status().await;
    watch
}

async fn refused_calls(service: &TestService, phone: &mut Device) {
    let stranger = Device::new(service.client().await, "no token".to_owned(), "intruder");
    let refused = stranger.clone().send(stranger.request()).await;
    assert_eq!(refused.expect_err("refused").code(), Code::Unauthenticated);
    let somebody_elses = SyncRequest {
        user_id: "somebody else".to_owned(),
        ..phone.request()
    };
    let refused = phone.send(somebody_elses).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut client = tonic::client::Grpc::new(service.channel().await);
    client.ready().await.expect("ready");
    let path = http::uri::PathAndQuery::from_static("/of.mia.Phone/Intruder");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let refused = client.unary(tonic::Request::new(()), path, codec).await;
    assert_eq!(
        refused.expect_err("no such method").code(),
        Code::Unimplemented
    );
}
