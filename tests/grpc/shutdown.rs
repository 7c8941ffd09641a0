//! An orderly end: what is under way is finished, within bounds.

use std::time::{Duration, Instant};

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use serde_json::json;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use super::{HeldScope, PATIENCE, count, eventually, waiting_pushes};
use crate::support::{TestService, put};

fn item() -> SyncItem {
    put(Uuid::new_v4(), 0, &json!({}))
}

#[tokio::test]
async fn a_push_under_way_is_finished_and_answered_on_shutdown() {
    let mut service = TestService::with(&["--drain-timeout-s", "3600"]).await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync_one(item()).await;
    let mut watch = HealthClient::new(service.channel().await);
    let watched = watch
        .watch(HealthCheckRequest::default())
        .await
        .expect("watches");
    let mut statuses = watched.into_inner();
    let lock = HeldScope::of(&service, "mia").await;
    let call = tokio::spawn(async move { phone.sync_one(item()).await });
    eventually("the push waits", async || waiting_pushes(&sql).await == 1).await;

    service.begin_stop();
    let address = service.address;
    eventually("new connections are refused", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    assert!(!call.is_finished());
    lock.release().await;
    let answer = call.await.expect("answered");
    assert_eq!(answer.resolution(), Applied);
    // A watched health is told the end and does not put it off.
    let mut last = None;
    let watched = async {
        while let Ok(Some(status)) = statuses.message().await {
            last = Some(status.status());
        }
    };
    let ended = tokio::time::timeout(PATIENCE, watched).await;
    assert!(ended.is_ok(), "the health watch goes on");
    assert_eq!(last, Some(ServingStatus::NotServing));
    let stopped = tokio::time::timeout(PATIENCE, service.stop()).await;
    stopped.expect("held up").expect("an orderly end");
    let current = count(&sql, "select count(*) from entities").await;
    assert_eq!(current, 2);
}

#[tokio::test]
async fn a_push_that_does_not_finish_holds_the_shutdown_up_only_so_long() {
    let mut service = TestService::with(&["--drain-timeout-s", "1"]).await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync_one(item()).await;
    let lock = HeldScope::of(&service, "mia").await;
    let call = tokio::spawn(async move {
        let request = SyncRequest {
            items: vec![item()],
            ..phone.request()
        };
        phone.send(request).await
    });
    eventually("the push waits", async || waiting_pushes(&sql).await == 1).await;
    let begun = Instant::now();
    let stopped = tokio::time::timeout(PATIENCE, service.stop()).await;
    stopped.expect("held up").expect("an end");
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "it was given its time"
    );
    assert!(TcpStream::connect(service.address).await.is_err());
    call.abort();
    lock.release().await;
}
