//! Pushes through the service beside the raw statement: on the same Postgres (with fsync on), with
//! as many connections, in the same run.
//!
//! Both sides update entities they know the version of. The service does it over gRPC on loopback,
//! as a device would; the raw side runs [`RAW_PUSH`], which does the same durable work and nothing
//! else. They take [`turns`].

mod lanes;
#[path = "../tests/support/mod.rs"]
mod support;
mod turns;
mod workout;

use std::sync::Arc;

use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::grpc::proto::{Resolution, SyncItem};
use ironflow_sync::store::Store;
use lanes::Lane;
use support::service::QUIET;
use support::{Device, TestDatabase, TestService, WireCount};
use tokio_postgres::{Client, Statement};
use turns::Turns;
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

/// One device and what it knows of its entities, or a raw connection in the place of one.
struct PushLane {
    way: Way,
    /// Items of a push.
    size: usize,
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
    let turns = Turns::of_this_run();
    let (database, statements) = count_statements(TestDatabase::durable().await).await;
    let store = database.store_with(CONNECTIONS);
    let service = TestService::over(store, database, &[]).await;
    let admin = service.database.client().await;
    let mut raw = Vec::new();
    let mut ours = Vec::new();
    for i in 0..CONNECTIONS {
        raw.push(PushLane::raw(&service, &format!("raw-{i}")).await);
        ours.push(PushLane::service(&service, &format!("service-{i}")).await);
    }
    println!(
        "Updates of about {ITEM_BYTES} bytes, {CONNECTIONS} connections, {turns}, {}",
        turns::postgres(&admin).await
    );
    println!("items  statements  {}", turns::headings("raw", "service"));
    for (size, statements) in SIZES.into_iter().zip(statements) {
        for lane in raw.iter_mut().chain(&mut ours) {
            lane.size = size;
        }
        turns::settle(&admin).await;
        let compared = turns.compare(&mut raw, &mut ours).await;
        println!("{size:5}  {statements:10}  {compared}");
    }
}

impl Lane for PushLane {
    async fn step(&mut self) {
        self.push(self.size).await;
    }
}

impl PushLane {
    /// A device with its entities, which it has just created.
    async fn service(service: &TestService, user: &str) -> Self {
        let device = service.device(user, "phone").await;
        let mut lane = Self {
            way: Way::Service(device),
            size: ENTITIES,
            ids: (0..ENTITIES).map(|_| Uuid::new_v4()).collect(),
            versions: vec![0; ENTITIES],
            pushed_items: 0,
            template: workout(0, ITEM_BYTES),
        };
        lane.step().await;
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
    let mut lane = PushLane::service(&service, "counted").await;
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
