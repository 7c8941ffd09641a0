//! Deadlines and callers that hang up: a push is done completely or not at
//! all, and asking again tells.

use std::time::{Duration, Instant};

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use prost::Message;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_postgres::Client;
use tonic::Code;
use uuid::Uuid;

use super::{HeldScope, check_status, count, eventually, waiting_pushes};
use crate::support::service::token;
use crate::support::{Device, TestService, put, web};

pub const BATCH_ITEMS: usize = 20;

pub fn batch() -> Vec<SyncItem> {
    let item = |i: usize| put(Uuid::new_v4(), 0, &json!({ "n": i }));
    (0..BATCH_ITEMS).map(item).collect()
}

#[tokio::test]
async fn a_push_outlives_its_deadline_and_the_retry_gets_its_answer() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync(batch()).await;
    let lock = HeldScope::of(&service, "mia").await;
    let items = batch();
    let request = SyncRequest {
        items: items.clone(),
        ..phone.request()
    };
    let deadline = [("grpc-timeout", "200m")];
    let message = request.encode_to_vec();
    let late = web::grpc_web(service.address, &token("mia"), &deadline, &message).await;
    check_status(
        "late",
        &late.grpc_status(),
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
    );
    assert_eq!(waiting_pushes(&sql).await, 1, "the push goes on");
    lock.release().await;
    let done = async || count(&sql, "select revision from scopes").await == 2 * BATCH_ITEMS as i64;
    eventually("the push is done", done).await;
    check_applied_once("late", &sql, &mut phone, &items).await;
    assert!(done().await, "the retry wrote");
}

/// The ways a caller leaves before the answer is there.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Deadline,
    CallDropped,
    ConnectionDropped,
}

#[tokio::test]
async fn a_caller_that_leaves_at_any_moment_leaves_all_or_nothing() {
    const STEPS: u32 = 24;
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync(batch()).await;
    let begun = Instant::now();
    phone.sync(batch()).await;
    let whole = begun.elapsed();
    let mut batches = 2;
    for way in [
        Leaving::Deadline,
        Leaving::CallDropped,
        Leaving::ConnectionDropped,
    ] {
        for step in 0..STEPS {
            let patience = whole * step * 3 / STEPS / 2;
            let name = format!("{way:?} after {patience:?} of {whole:?}");
            let items = batch();
            leave(&service, &mut phone, way, patience, &items).await;
            check_applied_once(&name, &sql, &mut phone, &items).await;
            batches += 1;
        }
    }
    let revision = count(&sql, "select revision from scopes").await;
    assert_eq!(
        revision,
        batches * BATCH_ITEMS as i64,
        "something was applied twice"
    );
    check_sessions_are_clean(&sql).await;
}

/// Pushes, but waits for the answer only so long.
async fn leave(
    service: &TestService,
    phone: &mut Device,
    way: Leaving,
    patience: Duration,
    items: &[SyncItem],
) {
    let request = SyncRequest {
        items: items.to_vec(),
        ..phone.request()
    };
    match way {
        Leaving::Deadline => {
            let timeout = match patience.as_micros() {
                0 => "1n".to_owned(),
                micros => format!("{micros}u"),
            };
            let deadline = [("grpc-timeout", timeout.as_str())];
            let message = request.encode_to_vec();
            let answer = web::grpc_web(service.address, &token("mia"), &deadline, &message).await;
            let code = answer.code();
            assert!(
                code == Code::DeadlineExceeded || (code == Code::Ok && !patience.is_zero()),
                "{answer:?}"
            );
        }
        Leaving::CallDropped => {
            let _left = tokio::time::timeout(patience, phone.send(request)).await;
        }
        Leaving::ConnectionDropped => {
            let mut stream = TcpStream::connect(service.address).await.expect("connects");
            let message = web::frame(&request.encode_to_vec());
            let head = format!(
                "POST /ironflow.sync.v1.SyncService/Sync HTTP/1.1\r\nhost: x\r\n\
                 content-type: application/grpc-web+proto\r\nauthorization: Bearer {}\r\n\
                 content-length: {}\r\n\r\n",
                token("mia"),
                message.len()
            );
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream.write_all(&message).await.expect("sent");
            let _left = tokio::time::timeout(patience, stream.readable()).await;
        }
    }
}

/// That the store holds all of a new batch or nothing of it, and after asking again all of it, once.
pub async fn check_applied_once(name: &str, sql: &Client, phone: &mut Device, items: &[SyncItem]) {
    let ids: Vec<Uuid> = items
        .iter()
        .map(|item| item.entity_id.parse().expect("a UUID"))
        .collect();
    let stored = async || -> i64 {
        let query = "select count(*) from entities where entity_id = any($1) and version = 1";
        sql.query_one(query, &[&ids]).await.expect("a count").get(0)
    };
    let all = items.len() as i64;
    let before = stored().await;
    assert!(before == 0 || before == all, "{name}: {before} of {all}");
    for answer in phone.sync(items.to_vec()).await {
        assert_eq!(
            (answer.resolution(), answer.server_version),
            (Applied, 1),
            "{name}"
        );
    }
    assert_eq!(stored().await, all, "{name}");
}

/// That no session of the service holds a transaction for longer than its work takes.
pub async fn check_sessions_are_clean(sql: &Client) {
    eventually("no session is in a transaction", async || {
        let open = "select count(*) from pg_stat_activity where datname = current_database() \
                    and application_name = 'ironflow-sync' and xact_start is not null";
        count(sql, open).await == 0
    })
    .await;
}
