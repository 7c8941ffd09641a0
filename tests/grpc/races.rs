//! Many connections at once, through the real service.

use std::collections::HashMap;

use ironflow_sync::grpc::proto::{Resolution, SyncResult, SyncStatus};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Device, TestService, put};

/// Devices in a race; more than the service has connections to Postgres.
const DEVICES: usize = 24;

/// Devices of one user, each with a connection of its own.
async fn devices(service: &TestService) -> Vec<Device> {
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        devices.push(service.device("mia", &format!("device-{n}")).await);
    }
    devices
}

fn data(result: &SyncResult) -> Value {
    serde_json::from_slice(&result.server_data).expect("the server copy is JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_won_by_one_device_and_losers_get_the_winners_copy() {
    const ROUNDS: i32 = 15;
    let service = TestService::start().await;
    let id = Uuid::new_v4();
    let mut race = JoinSet::new();
    for (n, mut device) in devices(&service).await.into_iter().enumerate() {
        race.spawn(async move {
            let mut won = Vec::new();
            let mut copies = Vec::new();
            let mut base = 0;
            for round in 0..ROUNDS {
                let mine = json!({"by": n, "round": round});
                let result = device.sync_one(put(id, base, &mine)).await;
                match result.status() {
                    SyncStatus::Success => won.push((result.server_version, mine)),
                    SyncStatus::Conflict => {
                        assert!(
                            result.server_version > base,
                            "never an older copy: {result:?}"
                        );
                        copies.push((result.server_version, data(&result)));
                    }
                    other => panic!("{other:?}: {result:?}"),
                }
                base = result.server_version;
            }
            (won, copies)
        });
    }
    let mut winners = HashMap::new();
    let mut copies = Vec::new();
    for (won, met) in race.join_all().await {
        for (version, data) in won {
            let other = winners.insert(version, data);
            assert!(other.is_none(), "version {version} was won twice");
        }
        copies.extend(met);
    }
    let newest = winners.len() as i32;
    for version in 1..=newest {
        assert!(
            winners.contains_key(&version),
            "version {version} was never won"
        );
    }
    for (version, copy) in &copies {
        assert_eq!(
            Some(copy),
            winners.get(version),
            "the copy is what won version {version}"
        );
    }
    assert!(!copies.is_empty(), "a race without a loser is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_first_writes_wins_and_the_others_get_its_copy() {
    let service = TestService::start().await;
    let id = Uuid::new_v4();
    let mut race = JoinSet::new();
    for (n, mut device) in devices(&service).await.into_iter().enumerate() {
        race.spawn(async move { device.sync_one(put(id, 0, &json!({"by": n}))).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = race
        .join_all()
        .await
        .into_iter()
        .partition(|result| result.resolution() == Resolution::Applied);
    assert_eq!(won.len(), 1);
    for result in lost {
        assert_eq!(result.resolution(), Resolution::NeedsUser);
        assert_eq!(result.server_version, 1);
        let by = result
            .conflict
            .as_ref()
            .expect("details")
            .server_device_id
            .clone();
        assert_eq!(
            by,
            format!("device-{}", data(&result)["by"]),
            "writer and copy belong together"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_that_race_their_original_get_its_answers_and_are_applied_once() {
    let service = TestService::start().await;
    let first = Uuid::new_v4();
    let items = vec![
        put(first, 0, &json!({"n": 1})),
        put(first, 0, &json!({"n": 2})),
        put(Uuid::new_v4(), 0, &json!({"n": 3})),
    ];
    let mut race = JoinSet::new();
    for _ in 0..DEVICES {
        let mut phone = service.device("mia", "phone").await;
        let items = items.clone();
        race.spawn(async move { phone.sync(items).await });
    }
    let mut answers = race.join_all().await;
    let first = answers.pop().expect("an answer");
    let versions: Vec<i32> = first.iter().map(|result| result.server_version).collect();
    assert_eq!(versions, [1, 2, 1]);
    for answer in answers {
        assert_eq!(answer, first);
    }
    let client = service.database.client().await;
    let revision = client
        .query_one("select revision from scopes", &[])
        .await
        .expect("one scope");
    assert_eq!(revision.get::<_, i64>(0), 3, "three versions were written");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_name_the_same_entities_in_opposite_order_do_not_block_each_other() {
    const ENTITIES: usize = 20;
    let service = TestService::start().await;
    let ids: Vec<Uuid> = (0..ENTITIES).map(|_| Uuid::new_v4()).collect();
    let mut race = JoinSet::new();
    for (n, mut device) in devices(&service).await.into_iter().enumerate() {
        let mut items: Vec<_> = ids
            .iter()
            .map(|id| put(*id, 0, &json!({"by": n})))
            .collect();
        if n % 2 == 1 {
            items.reverse();
        }
        race.spawn(async move { device.sync(items).await });
    }
    let mut applied = 0;
    for results in race.join_all().await {
        let won = results
            .iter()
            .filter(|r| r.resolution() == Resolution::Applied)
            .count();
        assert!(
            won == 0 || won == ENTITIES,
            "batches happen one after the other: {won}"
        );
        applied += won;
    }
    assert_eq!(applied, ENTITIES);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_do_not_wait_for_each_other() {
    let service = TestService::start().await;
    let mut blocker = service.database.client().await;
    let mut mia = service.device("mia", "phone").await;
    mia.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let held = blocker.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for update";
    held.execute(lock, &[])
        .await
        .expect("the lock of mia's scope");

    let mut leo = service.device("leo", "phone").await;
    let result = leo.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert_eq!(result.resolution(), Resolution::Applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_pushes_of_one_user_hold_no_connections_others_need() {
    let service = TestService::start().await;
    let mut mia = service.device("mia", "phone").await;
    mia.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let mut blocker = service.database.client().await;
    let held = blocker.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for update";
    held.execute(lock, &[])
        .await
        .expect("the lock of mia's scope");

    // More of them than the service has connections.
    let mut waiting = JoinSet::new();
    for mut device in devices(&service).await {
        waiting.spawn(async move { device.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await });
    }
    let mut leo = service.device("leo", "phone").await;
    for _ in 0..10 {
        let result = leo.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
        assert_eq!(result.resolution(), Resolution::Applied);
    }
    let pushing = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let pushing: i64 = counted(&service, pushing).await;
    assert!(pushing <= 1, "{pushing} of mia's pushes hold a connection");
    held.rollback().await.expect("released");
    for result in waiting.join_all().await {
        assert_eq!(result.resolution(), Resolution::Applied);
    }
}

async fn counted(service: &TestService, count: &str) -> i64 {
    let client = service.database.client().await;
    client.query_one(count, &[]).await.expect("a count").get(0)
}
