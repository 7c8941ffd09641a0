//! Promise 7 under fire: many writers, many pullers with pages and filters of all sizes, two
//! instances on one database. No puller ever misses a change or goes back, and all end equal to the
//! server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use ironflow_sync::grpc::proto::{Entity, PullRequest, SyncItem, SyncStatus};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Device, LocalStore, TestService, adopt, delete, put};

const USERS: [&str; 2] = ["mia", "leo"];
const WRITERS: usize = 6;
const PULLERS: usize = 6;
const BATCHES: usize = 40;
/// Few enough that writers meet.
const ENTITIES: u128 = 40;
const TYPES: [&str; 3] = ["workout", "routine", "superset"];

#[tokio::test(flavor = "multi_thread")]
async fn every_puller_converges_while_everybody_writes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let here = TestService::start().await;
    let there = here.beside(&[]).await;
    let writing = Arc::new(AtomicUsize::new(USERS.len() * WRITERS));
    let mut writers = JoinSet::new();
    let mut pullers = JoinSet::new();
    for user in USERS {
        for n in 0..WRITERS {
            let service = if n % 2 == 0 { &here } else { &there };
            let device = service.device(user, &format!("writer-{n}")).await;
            writers.spawn(write(device, rng.fork(), writing.clone()));
        }
        for n in 0..PULLERS {
            let service = if n % 2 == 0 { &there } else { &here };
            let device = service.device(user, &format!("puller-{n}")).await;
            // Half of them see only some types.
            let types = if n < PULLERS / 2 {
                &TYPES[..]
            } else {
                &TYPES[..n - 2]
            };
            let pulled = pull(device, types, rng.fork(), writing.clone());
            pullers.spawn(async move { (user, types, pulled.await) });
        }
    }
    writers.join_all().await;
    for (user, types, store) in pullers.join_all().await {
        let expected = on_the_server(&here, user, types).await;
        assert_eq!(store.len(), expected.len(), "{user} {types:?}");
        assert_eq!(store, expected, "{user} {types:?}");
    }
}

/// Pushes random edits, adopting what conflicts show.
async fn write(mut device: Device, mut rng: Rng, writing: Arc<AtomicUsize>) {
    let mut versions: HashMap<(usize, u128), i32> = HashMap::new();
    for _ in 0..BATCHES {
        let mut items = Vec::new();
        let mut places = Vec::new();
        for _ in 0..rng.usize(1..6) {
            let place = (rng.usize(..TYPES.len()), rng.u128(..ENTITIES));
            let base = versions.get(&place).copied().unwrap_or_default();
            items.push(edit(place, base, &mut rng));
            places.push(place);
        }
        for (place, result) in places.into_iter().zip(device.sync(items).await) {
            assert_ne!(result.status(), SyncStatus::Error, "{result:?}");
            versions.insert(place, result.server_version);
        }
    }
    writing.fetch_sub(1, Ordering::SeqCst);
}

fn edit((kind, number): (usize, u128), base: i32, rng: &mut Rng) -> SyncItem {
    let id = Uuid::from_u128(number);
    let item = match rng.u8(..5) {
        0 => delete(id, base),
        _ => put(id, base, &json!({"n": rng.u64(..)})),
    };
    SyncItem {
        entity_type: TYPES[kind].to_owned(),
        ..item
    }
}

/// Pulls until everybody has stopped writing, and then once more.
async fn pull(
    mut device: Device,
    types: &[&str],
    mut rng: Rng,
    writing: Arc<AtomicUsize>,
) -> LocalStore {
    let mut store = LocalStore::new();
    let mut newest: HashMap<(String, String), i32> = HashMap::new();
    let mut cursor = String::new();
    loop {
        // Asked before the page is read: what is written later makes another round.
        let last = writing.load(Ordering::SeqCst) == 0;
        let mut has_more = true;
        while has_more {
            let request = PullRequest {
                page_size: rng.i32(1..40),
                entity_types: match types.len() {
                    all if all == TYPES.len() => Vec::new(),
                    _ => types.iter().map(|name| (*name).to_owned()).collect(),
                },
                ..device.page_after(&cursor)
            };
            let page = device.pull(request).await.expect("a page");
            never_back(&mut newest, &page.entities);
            adopt(&mut store, &page.entities);
            cursor = page.cursor;
            has_more = page.has_more;
        }
        if last {
            return store;
        }
    }
}

fn never_back(newest: &mut HashMap<(String, String), i32>, entities: &[Entity]) {
    for entity in entities {
        let key = (entity.entity_type.clone(), entity.entity_id.clone());
        let known = newest.insert(key, entity.version).unwrap_or_default();
        assert!(entity.version >= known, "back from {known}: {entity:?}");
    }
}

async fn on_the_server(service: &TestService, user: &str, types: &[&str]) -> LocalStore {
    let client = service.database.client().await;
    let live = "select entity_type, entity_id, data::text, version from entities
        where scope = 'user/' || $1 and entity_type = any($2) and not deleted";
    let rows = client
        .query(live, &[&user, &types])
        .await
        .expect("entities");
    rows.iter()
        .map(|row| {
            let id: Uuid = row.get(1);
            let data: Value = serde_json::from_str(row.get(2)).expect("JSON");
            ((row.get(0), id.to_string()), (data, row.get(3)))
        })
        .collect()
}
