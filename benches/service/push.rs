//! Pushes through the service beside the raw statement, which does the same durable work and nothing else.
//!
//! Both sides update entities they know the version of.

use ironflow_sync::grpc::proto::{Resolution, SyncItem, SyncRequest, SyncResponse};
use prost::Message;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use crate::bench::{Bench, ITEM_BYTES, random_id, scope};
use crate::cpu;
use crate::lanes::{Lane, measured};
use crate::process::Process;
use crate::support::service::token;
use crate::table::{Aim, compared};
use crate::turns::{Compared, turn};
use crate::wire::{Wire, framed};
use crate::workout::workout;

const RAW_PUSH: &str = include_str!("raw_push.sql");
const RAW_PUSH_ONE: &str = "select raw_push_one($1, $2, $3, $4, $5, $6, $7)";

/// Entities of each lane, updated in turn.
pub const ENTITIES: usize = 500;

/// Devices that push at once, each of a user of its own, and connections to Postgres on either side.
pub fn connections() -> usize {
    if measured() { 64 } else { 3 }
}

/// The same where a push is large.
pub const LARGE_CONNECTIONS: usize = 8;

/// One item at a time by as many users as there are connections.
pub async fn single(bench: &Bench) {
    let (mut raw, mut ours) = lanes(bench, connections(), 1).await;
    bench.settle().await;
    let rates = Compared::rates(turn(1_000), &mut raw, &mut ours).await;
    let case = format!("push 1 item of 1 KB, {} connections", raw.len());
    compared(&case, &rates, "/s", 1.0, Aim::Least(0.65));
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
}

/// A hundred items at a time.
pub async fn hundred(bench: &Bench) {
    let (mut raw, mut ours) = lanes(bench, LARGE_CONNECTIONS, 100).await;
    bench.settle().await;
    let rates = Compared::rates(turn(1_000), &mut raw, &mut ours).await;
    let case = format!("push 100 items of 1 KB, {} connections", raw.len());
    compared(&case, &rates, "/s", 1.0, Aim::Least(0.85));
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
}

/// One user with many devices beside one connection that does nothing else.
pub async fn one_user(bench: &Bench) {
    let devices = if measured() { 32 } else { 3 };
    let user = &bench.users(1, ENTITIES * devices).await[0];
    let ids = bench.entities_of(user, ENTITIES * devices).await;
    let mut ours = Vec::new();
    for (n, ids) in ids.chunks(ENTITIES).enumerate() {
        let edits = Edits::of(ids.to_vec());
        let device = format!("device-{n}");
        ours.push(ServicePush::with(&bench.service, user, &device, edits, 1).await);
    }
    let (mut raw, _) = lanes(bench, 1, 1).await;
    bench.settle().await;
    let rates = Compared::rates(turn(1_000), &mut raw, &mut ours).await;
    let case = format!("one user, {devices} devices pushing 1 item");
    compared(&case, &rates, "/s", 1.0, Aim::Least(3.0));
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
}

/// Raw connections and as many devices, each with a user and entities of its own.
pub async fn lanes(bench: &Bench, count: usize, size: usize) -> (Vec<RawPush>, Vec<ServicePush>) {
    let mut raw = Vec::new();
    for user in bench.users(count, ENTITIES).await {
        raw.push(RawPush::new(bench, &user, size).await);
    }
    (raw, devices(bench, &bench.service, count, size).await)
}

/// Devices that push to a service, each of a user of its own.
pub async fn devices(
    bench: &Bench,
    service: &Process,
    count: usize,
    size: usize,
) -> Vec<ServicePush> {
    let mut devices = Vec::new();
    for user in bench.users(count, ENTITIES).await {
        let edits = Edits::of(bench.entities_of(&user, ENTITIES).await);
        devices.push(ServicePush::with(service, &user, "phone", edits, size).await);
    }
    devices
}

/// Entities of one lane and the versions they have, edited in turn.
pub struct Edits {
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    made: usize,
    /// The document of every edit, but for a number.
    template: String,
}

/// The next edits of a lane.
pub struct Batch {
    pub ids: Vec<Uuid>,
    pub bases: Vec<i32>,
    pub documents: Vec<String>,
    pub mutations: Vec<Uuid>,
}

impl Edits {
    /// Edits of entities that are as they were created, with about 1 KB each.
    pub fn of(ids: Vec<Uuid>) -> Self {
        Self::like(ids, workout(0, ITEM_BYTES))
    }

    /// The same with documents like this one.
    pub fn like(ids: Vec<Uuid>, template: String) -> Self {
        let versions = vec![1; ids.len()];
        Self {
            ids,
            versions,
            made: 0,
            template,
        }
    }

    /// New data for the next entities in turn, on the versions that are known.
    pub fn next(&mut self, size: usize) -> Batch {
        let mut batch = Batch {
            ids: Vec::with_capacity(size),
            bases: Vec::with_capacity(size),
            documents: Vec::with_capacity(size),
            mutations: Vec::with_capacity(size),
        };
        for edit in self.made..self.made + size {
            let place = edit % self.ids.len();
            batch.ids.push(self.ids[place]);
            batch.bases.push(self.versions[place]);
            let document = format!("{{\"edit\":{edit},{}", &self.template[1..]);
            batch.documents.push(document);
            batch.mutations.push(random_id());
        }
        self.made += size;
        batch
    }

    /// They were written.
    pub fn written(&mut self, size: usize) {
        for edit in self.made - size..self.made {
            let place = edit % self.ids.len();
            self.versions[place] += 1;
        }
    }
}

impl Batch {
    /// As a device sends it.
    pub fn request(self, device: &str) -> SyncRequest {
        let items = self.ids.iter().zip(self.bases).zip(self.documents);
        let items = items.zip(self.mutations);
        let items = items.map(|(((id, base), document), mutation)| SyncItem {
            entity_type: "workout".to_owned(),
            entity_id: id.to_string(),
            operation: "update".to_owned(),
            data: document.into_bytes(),
            version: base,
            mutation_id: mutation.to_string(),
            ..SyncItem::default()
        });
        SyncRequest {
            device_id: device.to_owned(),
            items: items.collect(),
            ..SyncRequest::default()
        }
    }
}

/// A device.
pub struct ServicePush {
    wire: Wire,
    device: String,
    edits: Edits,
    size: usize,
}

impl ServicePush {
    /// A device of a user, which pushes so many edits at a time.
    pub async fn with(
        service: &Process,
        user: &str,
        device: &str,
        edits: Edits,
        size: usize,
    ) -> Self {
        Self {
            wire: Wire::pushing(&service.address, &token(user)).await,
            device: device.to_owned(),
            edits,
            size,
        }
    }
}

impl Lane for ServicePush {
    async fn step(&mut self) {
        let request = self.edits.next(self.size).request(&self.device);
        push(&mut self.wire, &request, Resolution::Applied).await;
        self.edits.written(self.size);
    }
}

/// Sends a batch, all of whose items are settled like this.
pub async fn push(wire: &mut Wire, request: &SyncRequest, expected: Resolution) {
    let answer = wire.call(&framed(request)).await;
    let answer = SyncResponse::decode(answer).expect("an answer");
    assert_eq!(answer.results.len(), request.items.len());
    for result in answer.results {
        assert_eq!(result.resolution(), expected, "{result:?}");
    }
}

/// A connection to Postgres in the place of a device. A push of one item has a statement of its own.
pub struct RawPush {
    client: Client,
    statement: Statement,
    scope: String,
    edits: Edits,
    size: usize,
}

impl RawPush {
    /// In the place of a device of a user, which pushes so many edits at a time.
    pub async fn new(bench: &Bench, user: &str, size: usize) -> Self {
        let statement = if size == 1 { RAW_PUSH_ONE } else { RAW_PUSH };
        let (client, statement) = bench.raw(statement).await;
        Self {
            client,
            statement,
            scope: scope(user).as_str().to_owned(),
            edits: Edits::of(bench.entities_of(user, ENTITIES).await),
            size,
        }
    }
}

impl Lane for RawPush {
    async fn step(&mut self) {
        let batch = self.edits.next(self.size);
        let row = match self.size {
            1 => self.push_one(&batch).await,
            _ => self.push_all(&batch).await,
        };
        let row = row.expect("every entity has its base version");
        assert_eq!(row.get::<_, i32>(0), 1);
        self.edits.written(self.size);
    }
}

impl RawPush {
    async fn push_all(&self, batch: &Batch) -> Result<Row, tokio_postgres::Error> {
        let entity_types = vec!["workout"; self.size];
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &self.scope,
            &"phone",
            &entity_types,
            &batch.ids,
            &batch.bases,
            &batch.documents,
            &batch.mutations,
        ];
        self.client.query_one(&self.statement, &parameters).await
    }

    async fn push_one(&self, batch: &Batch) -> Result<Row, tokio_postgres::Error> {
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &self.scope,
            &"phone",
            &"workout",
            &batch.ids[0],
            &batch.bases[0],
            &batch.documents[0],
            &batch.mutations[0],
        ];
        self.client.query_one(&self.statement, &parameters).await
    }
}
