//! Pushes of nothing but conflicts. Nobody sends that; it is the dearest a batch can be.
//!
//! A device edits what it knows of the first version while another has written the second: every item is a
//! conflict for the person. The raw side does what has to be kept of that: it reads stored copy and base, keeps
//! the losing side, and moves the open conflict to it.

use ironflow_sync::grpc::proto::Resolution;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::bench::{Bench, ITEM_BYTES, random_id, scope};
use crate::cpu;
use crate::lanes::Lane;
use crate::push::{ENTITIES, Edits, LARGE_CONNECTIONS, ServicePush, push};
use crate::support::service::token;
use crate::table::{Aim, compared};
use crate::turns::{Compared, turn};
use crate::wire::Wire;
use crate::workout::workout;

const RAW_CONFLICTS: &str = include_str!("raw_conflicts.sql");

/// Items of a push.
const SIZE: usize = 100;

/// Conflicts beside the same work by a raw statement.
pub async fn conflicts(bench: &Bench) {
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for user in contested(bench).await {
        raw.push(RawConflicts::new(bench, &user).await);
    }
    for user in contested(bench).await {
        ours.push(ServiceConflicts::new(bench, &user).await);
    }
    bench.settle().await;
    let rates = Compared::rates(turn(1_000), &mut raw, &mut ours).await;
    let case = format!(
        "push {SIZE} items, all conflicting, {} connections",
        raw.len()
    );
    compared(&case, &rates, "/s", 1.0, Aim::Told);
    cpu::tell(&bench.service, &mut raw, &mut ours).await;
}

/// Users all of whose entities have had a second version written by a phone.
async fn contested(bench: &Bench) -> Vec<String> {
    let users = bench.users(LARGE_CONNECTIONS, ENTITIES).await;
    for user in &users {
        let edits = Edits::of(bench.entities_of(user, ENTITIES).await);
        let phone = ServicePush::with(&bench.service, user, "phone", edits, ENTITIES).await;
        let mut phone = phone;
        phone.step().await;
    }
    users
}

/// Edits of somebody who has missed that.
async fn missed(bench: &Bench, user: &str) -> Edits {
    let ids = bench.entities_of(user, ENTITIES).await;
    Edits::like(ids, workout(1, ITEM_BYTES))
}

/// A device.
struct ServiceConflicts {
    wire: Wire,
    edits: Edits,
}

impl ServiceConflicts {
    async fn new(bench: &Bench, user: &str) -> Self {
        Self {
            wire: Wire::pushing(&bench.service.address, &token(user)).await,
            edits: missed(bench, user).await,
        }
    }
}

impl Lane for ServiceConflicts {
    async fn step(&mut self) {
        // Nothing is written, so the next edit has the same base.
        let request = self.edits.next(SIZE).request("tablet");
        push(&mut self.wire, &request, Resolution::NeedsUser).await;
    }
}

/// A connection to Postgres in the place of one.
struct RawConflicts {
    client: Client,
    statement: Statement,
    scope: String,
    edits: Edits,
    /// The conflict of each entity.
    conflicts: Vec<Uuid>,
    pushed: usize,
}

impl RawConflicts {
    async fn new(bench: &Bench, user: &str) -> Self {
        let (client, statement) = bench.raw(RAW_CONFLICTS).await;
        Self {
            client,
            statement,
            scope: scope(user).as_str().to_owned(),
            edits: missed(bench, user).await,
            conflicts: (0..ENTITIES).map(|_| random_id()).collect(),
            pushed: 0,
        }
    }
}

impl Lane for RawConflicts {
    async fn step(&mut self) {
        let batch = self.edits.next(SIZE);
        let conflicts: Vec<Uuid> = (self.pushed..self.pushed + SIZE)
            .map(|edit| self.conflicts[edit % ENTITIES])
            .collect();
        self.pushed += SIZE;
        let rows = self
            .client
            .query(
                &self.statement,
                &[
                    &self.scope,
                    &"tablet",
                    &batch.ids,
                    &batch.bases,
                    &batch.documents,
                    &batch.mutations,
                    &conflicts,
                ],
            )
            .await;
        assert_eq!(rows.expect("conflicts").len(), SIZE);
    }
}
