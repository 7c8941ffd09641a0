//! Pulls through the service beside the raw statement, which reads the same entities and nothing else. Neither
//! side unpacks what it gets further than to count it.

use std::pin::pin;

use futures_util::TryStreamExt;
use ironflow_sync::grpc::proto::PullRequest;
use prost::Message;
use prost::bytes::Bytes;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::bench::{Bench, ITEM_BYTES, scope};
use crate::cpu;
use crate::lanes::{Lane, measured};
use crate::plain::PlainPull;
use crate::process::Process;
use crate::push::{LARGE_CONNECTIONS, connections};
use crate::support::frames::message;
use crate::support::service::token;
use crate::table::{Aim, compared, ratio};
use crate::turns::{Compared, turn};
use crate::wire::{PULL, Wire};
use crate::workout::workout;

pub const RAW_PULL: &str = include_str!("raw_pull.sql");
const RAW_SYNC: &str = include_str!("raw_sync.sql");

/// Entities on a page.
const PAGE_ENTITIES: usize = 500;

/// The most a device may ask for at once.
const PAGE_ENTITIES_MAX: usize = 2_000;

/// Entities of 1 KB on the largest page of the service, about.
const PLAIN_ENTITIES: usize = 1_000;

/// Entities of each user that is pulled: there is always a page behind the first.
const USER_ENTITIES: usize = 1_000;

/// A full page, again and again.
pub async fn page(bench: &Bench) {
    let case = format!("pull {PAGE_ENTITIES} entities of 1 KB, {LARGE_CONNECTIONS} connections");
    let (mut raw, mut ours) = lanes(bench, LARGE_CONNECTIONS, 0, PAGE_ENTITIES).await;
    let rates = Compared::rates(turn(600), &mut raw, &mut ours).await;
    compared(&case, &rates, "/s", 1.0, Aim::Least(0.8));
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
    behind_tonic(bench, &mut raw, PAGE_ENTITIES).await;
}

/// Nothing new, again and again.
pub async fn nothing(bench: &Bench) {
    let case = format!("empty pull, {} connections", connections());
    let (mut raw, mut ours) = lanes(bench, connections(), USER_ENTITIES, 0).await;
    let rates = Compared::rates(turn(600), &mut raw, &mut ours).await;
    compared(&case, &rates, "/s", 1.0, Aim::Least(0.6));
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
    behind_tonic(bench, &mut raw, 0).await;
    // What the same clients get from a server that has nobody to ask and nothing to say.
    let plain = Process::plain(&bench.database, 0);
    let mut plainly = Vec::new();
    for _ in 0..connections() {
        plainly.push(PlainCall::to(&plain).await);
    }
    let rates = Compared::rates(turn(600), &mut raw, &mut plainly).await;
    let case = "a call tonic answers at once, beside the same";
    compared(case, &rates, "/s", 1.0, Aim::Told);
    cpu::tell(&plain, &mut raw, &mut plainly).await;
}

/// The same statements for the same users, asked by a server that does nothing else.
async fn behind_tonic(bench: &Bench, raw: &mut Vec<RawPull>, entities: usize) {
    let plain = Process::plain(&bench.database, raw.len());
    let mut plainly = Vec::new();
    for lane in raw.iter() {
        let after = lane.after as usize;
        let pull = PlainPull::new(&plain, &lane.scope, after, PAGE_ENTITIES, entities);
        plainly.push(pull.await);
    }
    let rates = Compared::rates(turn(600), raw, &mut plainly).await;
    let case = "the raw statement behind tonic";
    compared(case, &rates, "/s", 1.0, Aim::Told);
    cpu::tell(&plain, raw, &mut plainly).await;
}

/// A client of the plain server.
struct PlainCall {
    wire: Wire,
    request: Vec<u8>,
}

impl PlainCall {
    async fn to(plain: &Process) -> Self {
        Self {
            wire: Wire::connect(&plain.address, "/grpc.health.v1.Health/Check", "none").await,
            request: message(false, &[]),
        }
    }
}

impl Lane for PlainCall {
    async fn step(&mut self) {
        let answer = self.wire.call(&self.request).await;
        assert!(!answer.is_empty(), "it serves");
    }
}

async fn lanes(
    bench: &Bench,
    connections: usize,
    after: usize,
    entities: usize,
) -> (Vec<RawPull>, Vec<ServicePull>) {
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for user in bench.users(connections, USER_ENTITIES).await {
        let (client, statement) = bench.raw(RAW_PULL).await;
        raw.push(RawPull {
            client,
            statement,
            scope: scope(&user).as_str().to_owned(),
            after: after as i64,
            entities,
        });
        let pull = ServicePull::after(&bench.service, &user, after, PAGE_ENTITIES).await;
        ours.push(ServicePull { entities, ..pull });
    }
    bench.settle().await;
    (raw, ours)
}

/// A page, unpacked as far as a device needs to count it and to go on.
#[derive(Clone, PartialEq, Message)]
pub struct Page {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub entities: Vec<Bytes>,
    #[prost(string, tag = "2")]
    pub cursor: String,
    #[prost(bool, tag = "3")]
    pub has_more: bool,
}

/// A device that pulls the same page again and again.
pub struct ServicePull {
    wire: Wire,
    request: Vec<u8>,
    entities: usize,
}

impl ServicePull {
    /// A device that asks for a page of what follows the first `after` entities.
    pub async fn after(service: &Process, user: &str, after: usize, page: usize) -> Self {
        let mut wire = Wire::connect(&service.address, PULL, &token(user)).await;
        let (mut cursor, mut passed) = (String::new(), 0);
        while passed < after {
            let size = (after - passed).min(PAGE_ENTITIES_MAX);
            let next = pull(&mut wire, &request(&cursor, size)).await;
            passed += next.entities.len();
            cursor = next.cursor;
        }
        let page_entities = pull(&mut wire, &request(&cursor, page)).await.entities;
        Self {
            wire,
            request: request(&cursor, page),
            entities: page_entities.len(),
        }
    }
}

impl Lane for ServicePull {
    async fn step(&mut self) {
        let page = pull(&mut self.wire, &self.request).await;
        assert_eq!(page.entities.len(), self.entities);
    }
}

/// A request for a page after a cursor, as it travels. From a device that has written nothing.
fn request(cursor: &str, page_size: usize) -> Vec<u8> {
    let request = PullRequest {
        device_id: "tablet".to_owned(),
        cursor: cursor.to_owned(),
        page_size: page_size as i32,
        ..PullRequest::default()
    };
    message(false, &request.encode_to_vec())
}

async fn pull(wire: &mut Wire, request: &[u8]) -> Page {
    Page::decode(wire.call(request).await).expect("a page")
}

/// A connection to Postgres in the place of a device.
struct RawPull {
    client: Client,
    statement: Statement,
    scope: String,
    after: i64,
    entities: usize,
}

impl Lane for RawPull {
    async fn step(&mut self) {
        let limit = PAGE_ENTITIES as i64;
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.scope, &self.after, &limit];
        let rows = self.client.query(&self.statement, &parameters).await;
        assert_eq!(rows.expect("a page").len(), self.entities);
    }
}

/// Everything there is, by one device, and what that does to the service's memory.
pub async fn first_sync(bench: &Bench) {
    let (much, little) = if measured() {
        (100_000, 10_000)
    } else {
        (500, 100)
    };
    let much_user = &bench.users(1, much).await[0];
    let little_user = &bench.users(1, little).await[0];
    bench.settle().await;

    let service = Process::service(&bench.database, &[]);
    let mut peaks_kib = Vec::new();
    for (user, entities) in [(little_user, little), (much_user, much)] {
        service.forget_peak();
        ServiceSync::new(&service, user, entities)
            .await
            .step()
            .await;
        peaks_kib.push(service.peak_kib() / 1024.0);
    }
    let case = format!("memory after a first sync of {little}, {much} entities");
    ratio(&case, peaks_kib[0], peaks_kib[1], "MiB", Aim::Most(1.1));

    let (client, statement) = bench.raw(RAW_SYNC).await;
    let raw = RawSync {
        client,
        statement,
        scope: scope(much_user).as_str().to_owned(),
        entities: much,
    };
    let ours = ServiceSync::new(&service, much_user, much).await;
    // A turn is one sync, however long it takes.
    let (mut raw, mut ours) = (vec![raw], vec![ours]);
    let rates = Compared::rates(turn(1), &mut raw, &mut ours).await;
    let megabytes = (much * workout(0, ITEM_BYTES).len()) as f64 / 1e6;
    let case = format!("first sync of {much} entities, one device");
    compared(&case, &rates, "MB/s", megabytes, Aim::Least(0.8));
    let plain = Process::plain(&bench.database, 1);
    let scope = &raw[0].scope;
    let plainly = PlainPull::new(&plain, scope, 0, PLAIN_ENTITIES, much).await;
    let rates = Compared::rates(turn(1), &mut raw, &mut vec![plainly]).await;
    let case = "the raw statement behind tonic, page by page";
    compared(case, &rates, "MB/s", megabytes, Aim::Told);
}

/// A device that begins with nothing, each time.
struct ServiceSync {
    wire: Wire,
    entities: usize,
}

impl ServiceSync {
    async fn new(service: &Process, user: &str, entities: usize) -> Self {
        let wire = Wire::connect(&service.address, PULL, &token(user)).await;
        Self { wire, entities }
    }
}

impl Lane for ServiceSync {
    async fn step(&mut self) {
        let (mut cursor, mut entities) = (String::new(), 0);
        loop {
            let page = pull(&mut self.wire, &request(&cursor, PAGE_ENTITIES_MAX)).await;
            entities += page.entities.len();
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        assert_eq!(entities, self.entities);
    }
}

/// A connection to Postgres in the place of one.
struct RawSync {
    client: Client,
    statement: Statement,
    scope: String,
    entities: usize,
}

impl Lane for RawSync {
    async fn step(&mut self) {
        let rows = self.client.query_raw(&self.statement, [&self.scope]);
        let mut rows = pin!(rows.await.expect("rows"));
        let mut entities = 0;
        while rows.try_next().await.expect("a row").is_some() {
            entities += 1;
        }
        assert_eq!(entities, self.entities);
    }
}
