//! Pulls through the service beside the raw statement: on the same Postgres, with as many
//! connections, in the same run. And whether a page costs more the more a user has.
//!
//! The service is asked over gRPC on loopback, as by a device; the raw side runs [`RAW_PULL`], which
//! reads the same entities and nothing else. They take [`turns`].

mod lanes;
#[path = "../tests/support/mod.rs"]
mod support;
mod turns;
mod workout;

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::grpc::proto::PullRequest;
use lanes::{Lane, measured};
use support::{Device, TestDatabase, TestService};
use tokio_postgres::{Client, Row, Statement};
use turns::Turns;
use uuid::Uuid;
use workout::workout;

const RAW_PULL: &str = include_str!("raw_pull.sql");
const FILL: &str = include_str!("fill.sql");

/// Entities on a page, and how large each is.
const PAGE_ENTITIES: usize = 500;
const ITEM_BYTES: usize = 1024;

/// Entities of each user that is pulled in turns: there is always a page behind the first.
const USER_ENTITIES: i64 = 1_000;

/// Devices that pull at once, each of a user of its own, and connections to Postgres on either side.
const CONNECTIONS: usize = 4;

/// One device that pulls the same page again and again, or a raw connection in the place of one.
struct PullLane {
    way: Way,
    entities: usize,
}

enum Way {
    Service {
        device: Device,
        request: PullRequest,
    },
    Raw {
        client: Client,
        statement: Statement,
        scope: Scope,
        after: i64,
    },
}

#[tokio::main]
async fn main() {
    let turns = Turns::of_this_run();
    let database = TestDatabase::durable().await;
    let store = database.store_with(CONNECTIONS);
    let service = TestService::over(store, database, &[]).await;
    let admin = service.database.client().await;
    for i in 0..CONNECTIONS {
        fill(&admin, &user(i), USER_ENTITIES).await;
    }
    turns::settle(&admin).await;
    println!(
        "Pages of entities of about {ITEM_BYTES} bytes, {CONNECTIONS} connections, {turns}, {}",
        turns::postgres(&admin).await
    );
    println!("entities  {}", turns::headings("raw", "service"));
    for (entities, after) in [(PAGE_ENTITIES, 0), (0, USER_ENTITIES)] {
        let mut raw = Vec::new();
        let mut ours = Vec::new();
        for i in 0..CONNECTIONS {
            raw.push(PullLane::raw(&service, &user(i), after, entities).await);
            ours.push(PullLane::service(&service, &user(i), after, entities).await);
        }
        let compared = turns.compare(&mut raw, &mut ours).await;
        println!("{entities:8}  {compared}");
    }
    flatness(&service, &admin).await;
}

fn user(i: usize) -> String {
    format!("user-{i}")
}

/// Fills the scope of a user who has nothing yet.
async fn fill(admin: &Client, user: &str, entities: i64) {
    let document = workout(0, ITEM_BYTES);
    let scope = scope(user);
    admin
        .execute(FILL, &[&scope.as_str(), &entities, &document])
        .await
        .expect("an empty scope");
}

fn scope(user: &str) -> Scope {
    Scope::of(&UserId::new(user).expect("a user id"))
}

impl PullLane {
    /// A device that asks for what follows the first `after` entities.
    async fn service(service: &TestService, user: &str, after: i64, entities: usize) -> Self {
        let mut device = service.device(user, "tablet").await;
        let request = PullRequest {
            page_size: PAGE_ENTITIES as i32,
            ..request_after(&mut device, after).await
        };
        let way = Way::Service { device, request };
        Self { way, entities }
    }

    /// The same, but straight from Postgres.
    async fn raw(service: &TestService, user: &str, after: i64, entities: usize) -> Self {
        let client = service.database.client().await;
        let statement = client.prepare(RAW_PULL).await.expect("the statement");
        let way = Way::Raw {
            client,
            statement,
            scope: scope(user),
            after,
        };
        Self { way, entities }
    }
}

impl Lane for PullLane {
    async fn step(&mut self) {
        let pulled = match &mut self.way {
            Way::Service { device, request } => {
                let page = device.pull(request.clone()).await.expect("a page");
                page.entities.len()
            }
            Way::Raw {
                client,
                statement,
                scope,
                after,
            } => {
                let rows = client.query(statement, &[&scope.as_str(), after]).await;
                let rows = rows.expect("a page");
                rows.iter().for_each(unpack);
                rows.len()
            }
        };
        assert_eq!(pulled, self.entities);
    }
}

/// Reads every column, as anybody who asks for it would.
fn unpack(row: &Row) {
    black_box((
        row.get::<_, i64>(0),
        row.get::<_, &str>(1),
        row.get::<_, Uuid>(2),
        row.get::<_, i32>(3),
        row.get::<_, bool>(4),
        row.get::<_, &str>(5),
        row.get::<_, &str>(6),
        [7, 8, 9].map(|time| row.get::<_, SystemTime>(time)),
    ));
}

/// A request for what follows the first `after` entities.
async fn request_after(device: &mut Device, after: i64) -> PullRequest {
    const PAGE_SIZE_MAX: i64 = 2_000;
    let mut request = device.page_after("");
    let mut passed = 0;
    while passed < after {
        request.page_size = (after - passed).min(PAGE_SIZE_MAX) as i32;
        let page = device.pull(request.clone()).await.expect("a page");
        passed += page.entities.len() as i64;
        request.cursor = page.cursor;
    }
    request
}

/// Prints what a page costs users who have little and users who have much.
async fn flatness(service: &TestService, admin: &Client) {
    const PAGE_ENTITIES: i64 = 100;
    let (much, rounds) = if measured() {
        (100_000, 300)
    } else {
        (1_000, 3)
    };
    let mut cases = Vec::new();
    for (user, held) in [("little", PAGE_ENTITIES), ("much", much)] {
        fill(admin, user, held).await;
        let mut device = service.device(user, "tablet").await;
        for (page, after) in [
            ("first", 0),
            ("last", held - PAGE_ENTITIES),
            ("empty", held),
        ] {
            let request = PullRequest {
                page_size: PAGE_ENTITIES as i32,
                ..request_after(&mut device, after).await
            };
            cases.push((held, page, device.clone(), request, Vec::new()));
        }
    }
    turns::settle(admin).await;
    for _ in 0..rounds {
        for (_, _, device, request, times_ms) in &mut cases {
            let begun = Instant::now();
            device.pull(request.clone()).await.expect("a page");
            times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("\nA page of {PAGE_ENTITIES}, one device, {rounds} rounds, milliseconds");
    println!("the user has  page   median  10 % - 90 %");
    for (held, page, _, _, mut times_ms) in cases {
        times_ms.sort_by(f64::total_cmp);
        let at = |percent: usize| times_ms[(times_ms.len() - 1) * percent / 100];
        let (low, middle, high) = (at(10), at(50), at(90));
        println!("{held:12}  {page:5}  {middle:6.2}  {low:.2} - {high:.2}");
    }
}
