//! What readers that have stopped reading cost the service: a page each, not a backlog, nor an account.

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use serde_json::json;
use uuid::Uuid;

use crate::support::program::Program;
use crate::support::service::token;
use crate::support::{Device, TestDatabase, put};

const WATCHES: usize = 20;
/// Larger than the windows of a stream, smaller than a page.
const ITEM_BYTES: usize = 200_000;
const ITEMS: usize = 150;

/// What a watch may hold: a page of about 1 MiB, as rows, as messages and as bytes to send.
const PER_WATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn stopped_readers_cost_a_page_each_however_much_happens() {
    let database = TestDatabase::new().await;
    let program = Program::start(&database, &[]);
    let connect = async || {
        let client = SyncServiceClient::connect(program.url()).await;
        client.expect("it listens")
    };
    // On a connection of its own: unread streams use up the window of theirs.
    let mut phone = Device::new(connect().await, token("mia"), "phone");
    let client = connect().await;
    let mut stopped = Vec::new();
    for n in 0..WATCHES {
        let mut device = Device::new(client.clone(), token("mia"), &format!("stopped-{n}"));
        let request = device.page_after("");
        stopped.push(device.watch(request).await.expect("a stream"));
    }
    let push = async |phone: &mut Device, count: usize| {
        for _ in 0..count {
            let notes = "x".repeat(ITEM_BYTES);
            phone
                .sync_one(put(Uuid::new_v4(), 0, &json!({"notes": notes})))
                .await;
        }
    };
    push(&mut phone, 10).await;
    let before = program.resident_bytes();
    push(&mut phone, ITEMS).await;
    let grown = program.resident_bytes().saturating_sub(before);
    let backlog = WATCHES * ITEMS * ITEM_BYTES;
    assert!(
        grown < WATCHES * PER_WATCH_BYTES_MAX,
        "grown by {grown} bytes, a backlog would be {backlog}"
    );
    println!("grown by {grown} bytes, a backlog would be {backlog}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_cost_a_page_each_however_large_the_account() {
    let database = TestDatabase::new().await;
    let program = Program::start(&database, &[]);
    let address = program.url();
    let connect = async || {
        let client = SyncServiceClient::connect(address.clone()).await;
        client.expect("it listens")
    };
    let mut phone = Device::new(connect().await, token("mia"), "phone");
    for _ in 0..ITEMS {
        let notes = "x".repeat(ITEM_BYTES);
        phone
            .sync_one(put(Uuid::new_v4(), 0, &json!({"notes": notes})))
            .await;
    }
    let before = program.resident_bytes();
    let client = connect().await;
    let mut stopped = Vec::new();
    for _ in 0..WATCHES {
        let mut device = Device::new(client.clone(), token("mia"), "stopped");
        // Not read at all: together they share the window of their connection.
        stopped.push(device.export().await.expect("a stream"));
    }
    // The account, the device, the entities and the end.
    assert_eq!(phone.export_all().await.len(), ITEMS + 3);
    let grown = program.resident_bytes().saturating_sub(before);
    let whole = (WATCHES + 1) * ITEMS * ITEM_BYTES;
    assert!(
        grown < (WATCHES + 1) * PER_WATCH_BYTES_MAX,
        "grown by {grown} bytes, whole accounts would be {whole}"
    );
    println!("grown by {grown} bytes, whole accounts would be {whole}");
}
