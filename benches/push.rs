//! Pushes through the service beside the raw statement: on the same Postgres (with fsync on), with
//! as many connections, in the same run.
//!
//! Both sides update entities they know the version of. The service does it over gRPC on loopback,
//! as a device would; the raw side runs [`RAW_PUSH`], which does the same durable work and nothing
//! else. Turns alternate, raw first and last; a turn of the service is compared with the raw turns
//! before and after it, and left out where these differ too much: then the machine was busy.

#[path = "../tests/support/mod.rs"]
mod support;
mod workout;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::grpc::proto::{Resolution, SyncItem};
use ironflow_sync::store::Store;
use support::service::QUIET;
use support::{Device, TestDatabase, TestService, WireCount};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;
use workout::workout;

const RAW_PUSH: &str = include_str!("raw_push.sql");

/// Items of a push.
const SIZES: [usize; 3] = [1, 10, 100];

/// Devices that push at once, each of a user of its own, and connections to Postgres on either side.
const CONNECTIONS: usize = 4;

/// Entities of each device, updated in turn.
const ENTITIES: usize = 500;

const ITEM_BYTES: usize = 1024;

/// Turns of the service in each case, and how long a turn takes.
const TURNS: usize = 11;
const TURN: Duration = Duration::from_millis(600);

/// Raw turns that differ by more than this say more about the machine than about the service.
const RAW_DIFFERENCE_MAX: f64 = 0.10;

/// One device and what it knows of its entities, or a raw connection in the place of one.
struct Lane {
    way: Way,
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    pushed_items: usize,
    /// The document of every edit, but for a number.
    template: String,
}

enum Way {
    Service(Device),
    Raw {
        client: Client,
        statement: Statement,
        scope: Scope,
    },
}

#[tokio::main]
async fn main() {
    // Without it cargo only wants to see that the bench works.
    let measured = env::args().any(|argument| argument == "--bench");
    let (turns, turn) = if measured {
        (TURNS, TURN)
    } else {
        (1, Duration::from_millis(50))
    };
    let (database, statements) = count_statements(TestDatabase::durable().await).await;
    let store = database.store_with(CONNECTIONS);
    let service = TestService::over(store, database, &[]).await;
    let admin = service.database.client().await;
    let mut raw = Vec::new();
    let mut ours = Vec::new();
    for i in 0..CONNECTIONS {
        raw.push(Lane::raw(&service, &format!("raw-{i}")).await);
        ours.push(Lane::service(&service, &format!("service-{i}")).await);
    }
    let version = admin.query_one("show server_version", &[]).await;
    let version: String = version.expect("a setting").get(0);
    println!(
        "Updates of about {ITEM_BYTES} bytes, {CONNECTIONS} connections, Postgres {version} with \
         fsync, {turns} turns of {} ms",
        turn.as_millis()
    );
    println!("items  statements  raw pushes/s  service pushes/s  ratio (lowest-highest)  left out");
    for (size, statements) in SIZES.into_iter().zip(statements) {
        // The same for every case: fresh statistics for the plans, fresh WAL.
        for statement in ["vacuum analyze", "checkpoint"] {
            let done = admin.batch_execute(statement).await;
            done.expect("an administrator");
        }
        let results = alternate(&mut raw, &mut ours, size, turns, turn).await;
        println!("{size:5}  {statements:10}  {}", summary(&results, turns));
    }
}

/// A turn of the service, and what the raw side did around it. Pushes per second.
struct Compared {
    raw: f64,
    service: f64,
}

/// Lets both sides take turns, and keeps those of the service that can be compared.
async fn alternate(
    raw: &mut Vec<Lane>,
    service: &mut Vec<Lane>,
    size: usize,
    turns: usize,
    turn: Duration,
) -> Vec<Compared> {
    for side in [&mut *raw, &mut *service] {
        pushes_per_second(side, size, turn).await; // warms up
    }
    let mut compared = Vec::new();
    let mut before = pushes_per_second(raw, size, turn).await;
    for _ in 0..turns {
        let service = pushes_per_second(service, size, turn).await;
        let after = pushes_per_second(raw, size, turn).await;
        let mean = (before + after) / 2.0;
        if (before - after).abs() <= RAW_DIFFERENCE_MAX * mean {
            compared.push(Compared { raw: mean, service });
        }
        before = after;
    }
    compared
}

fn summary(results: &[Compared], turns: usize) -> String {
    if results.is_empty() {
        return format!("the machine was too busy: all {turns} turns left out");
    }
    let median = |of: fn(&Compared) -> f64| {
        let mut values: Vec<f64> = results.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let ratio = |result: &Compared| result.service / result.raw;
    let lowest = results.iter().map(ratio).fold(f64::NAN, f64::min);
    let highest = results.iter().map(ratio).fold(f64::NAN, f64::max);
    format!(
        "{:12.0}  {:16.0}  {:.3} ({lowest:.3}-{highest:.3})     {:2} of {turns}",
        median(|result| result.raw),
        median(|result| result.service),
        median(ratio),
        turns - results.len(),
    )
}

/// All lanes push at once until the turn is over.
async fn pushes_per_second(lanes: &mut Vec<Lane>, size: usize, turn: Duration) -> f64 {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for mut lane in lanes.drain(..) {
        running.spawn(async move {
            let mut pushes = 0;
            while begun.elapsed() < turn {
                lane.push(size).await;
                pushes += 1;
            }
            (lane, pushes)
        });
    }
    let mut pushes = 0;
    for (lane, count) in running.join_all().await {
        lanes.push(lane);
        pushes += count;
    }
    f64::from(pushes) / begun.elapsed().as_secs_f64()
}

impl Lane {
    /// A device with its entities, which it has just created.
    async fn service(service: &TestService, user: &str) -> Self {
        let device = service.device(user, "phone").await;
        let mut lane = Self {
            way: Way::Service(device),
            ids: (0..ENTITIES).map(|_| Uuid::new_v4()).collect(),
            versions: vec![0; ENTITIES],
            pushed_items: 0,
            template: workout(0, ITEM_BYTES),
        };
        lane.push(ENTITIES).await;
        lane
    }

    /// The same, but from now on its updates go straight to Postgres.
    async fn raw(service: &TestService, user: &str) -> Self {
        let client = service.database.client().await;
        // One plan for all sizes: planning each time would take longer than the update of one row.
        let one_plan = "set plan_cache_mode = force_generic_plan";
        client.batch_execute(one_plan).await.expect("a setting");
        let statement = client.prepare(RAW_PUSH).await.expect("the statement");
        let user_id = UserId::new(user).expect("a user id");
        Self {
            way: Way::Raw {
                client,
                statement,
                scope: Scope::of(&user_id),
            },
            ..Self::service(service, user).await
        }
    }

    /// Pushes new data for the next entities in turn.
    async fn push(&mut self, size: usize) {
        let places: Vec<usize> = (self.pushed_items..self.pushed_items + size)
            .map(|item| item % ENTITIES)
            .collect();
        let documents = (self.pushed_items..self.pushed_items + size)
            .map(|item| format!("{{\"edit\":{item},{}", &self.template[1..]))
            .collect();
        self.pushed_items += size;
        let ids: Vec<Uuid> = places.iter().map(|&place| self.ids[place]).collect();
        let bases: Vec<i32> = places.iter().map(|&place| self.versions[place]).collect();
        match &mut self.way {
            Way::Service(device) => push_to_service(device, &ids, &bases, documents).await,
            Way::Raw {
                client,
                statement,
                scope,
            } => {
                push_raw(client, statement, scope, &ids, &bases, documents).await;
            }
        }
        for place in places {
            self.versions[place] += 1;
        }
    }
}

async fn push_to_service(device: &mut Device, ids: &[Uuid], bases: &[i32], documents: Vec<String>) {
    let items = ids.iter().zip(bases).zip(documents);
    let items = items.map(|((id, base), document)| SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        operation: "update".to_owned(),
        data: document.into_bytes(),
        version: *base,
        mutation_id: Uuid::new_v4().to_string(),
        ..SyncItem::default()
    });
    for result in device.sync(items.collect()).await {
        assert_eq!(result.resolution(), Resolution::Applied, "{result:?}");
    }
}

async fn push_raw(
    client: &Client,
    statement: &Statement,
    scope: &Scope,
    ids: &[Uuid],
    bases: &[i32],
    documents: Vec<String>,
) {
    let entity_types = vec!["workout"; ids.len()];
    let mutations: Vec<Uuid> = ids.iter().map(|_| Uuid::new_v4()).collect();
    let row = client
        .query_one(
            statement,
            &[
                &scope.as_str(),
                &"phone",
                &entity_types,
                &ids,
                &bases,
                &documents,
                &mutations,
            ],
        )
        .await
        .expect("every entity has its base version");
    assert_eq!(row.get::<_, i32>(0), 1);
}

/// How many statements an update of each size costs the service, which must be the same for all.
async fn count_statements(database: TestDatabase) -> (Arc<TestDatabase>, Vec<u64>) {
    let wire = WireCount::before(&database.config()).await;
    let store = Store::new(wire.config(), 1).expect("a pool");
    let mut service = TestService::over(store, database, &QUIET).await;
    let mut lane = Lane::service(&service, "counted").await;
    let mut statements = Vec::new();
    for size in SIZES {
        wire.take();
        lane.push(size).await;
        statements.push(wire.take());
    }
    assert!(
        statements.iter().all(|count| *count == statements[0]),
        "{statements:?}"
    );
    drop(lane);
    service.stop().await.expect("stops");
    (service.database, statements)
}
