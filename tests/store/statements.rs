//! How many statements a batch costs.

use ironflow_sync::grpc::proto::{Resolution, SyncItem};
use ironflow_sync::store::Store;
use serde_json::json;
use uuid::Uuid;

use crate::support::service::QUIET;
use crate::support::{Device, TestDatabase, TestService, WireCount, put};

#[tokio::test]
async fn a_batch_costs_the_same_number_of_statements_whatever_its_size() {
    let database = TestDatabase::new().await;
    let wire = WireCount::before(&database.config()).await;
    let store = Store::new(wire.config(), 1).expect("a pool");
    let service = TestService::over(store, database, &QUIET).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    for device in [&mut phone, &mut tablet] {
        // The first batch of a scope makes it, the first of a device makes that known.
        device.sync(puts(&[Uuid::new_v4()], 0, "first")).await;
    }
    wire.take();
    let mut uncontested = Vec::new();
    for size in [1, 10, 100, 500] {
        let ids: Vec<Uuid> = (0..size).map(|_| Uuid::new_v4()).collect();
        let created = cost(&wire, &mut phone, puts(&ids, 0, "a"), Resolution::Applied).await;
        let updated = cost(&wire, &mut phone, puts(&ids, 1, "b"), Resolution::Applied).await;
        uncontested.push([created, updated]);
    }
    // Begin, the batch, commit.
    assert_eq!(uncontested, [[3, 3]; 4], "created, updated");

    // With an open conflict it has more to look at.
    let contested = [Uuid::new_v4()];
    phone.sync(puts(&contested, 0, "a")).await;
    tablet.sync(puts(&contested, 0, "b")).await;
    wire.take();
    let mut costs = Vec::new();
    for size in [1, 10, 100, 500] {
        let ids: Vec<Uuid> = (0..size).map(|_| Uuid::new_v4()).collect();
        let created = cost(&wire, &mut phone, puts(&ids, 0, "a"), Resolution::Applied);
        let created = created.await;
        let update = puts(&ids, 1, "b");
        let updated = cost(&wire, &mut phone, update.clone(), Resolution::Applied).await;
        let repeated = cost(&wire, &mut phone, update, Resolution::Applied).await;
        let stale = puts(&ids, 1, "c");
        let conflicting = cost(&wire, &mut tablet, stale, Resolution::NeedsUser).await;
        costs.push([created, updated, repeated, conflicting]);
    }
    // Begin, the batch in vain, commit; begin, lock, standing, two reads, the open conflicts, two or three writes,
    // revision, device, commit.
    // What conflicts reads its base and whether it is kept, too, and writes sides and conflicts.
    assert_eq!(
        costs,
        [[14, 15, 12, 17]; 4],
        "created, updated, repeated, conflicting"
    );
}

/// The number of statements a batch costs, all of whose items are settled like this.
async fn cost(
    wire: &WireCount,
    device: &mut Device,
    items: Vec<SyncItem>,
    expected: Resolution,
) -> u64 {
    let results = device.sync(items).await;
    assert!(results.iter().all(|result| result.resolution() == expected));
    wire.take()
}

fn puts(ids: &[Uuid], base: i32, title: &str) -> Vec<SyncItem> {
    let data = json!({ "title": title });
    ids.iter().map(|id| put(*id, base, &data)).collect()
}
