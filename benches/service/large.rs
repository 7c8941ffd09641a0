//! Whether a push or a pull costs more the more there is: of the user, and of everybody.
//!
//! Two databases on one server, ten times as much in one as in the other; a user with little and one with much in
//! each. All four take turns call by call.

use std::time::Instant;

use crate::bench::{Bench, scope};
use crate::lanes::{Lane, measured, median};
use crate::pull::ServicePull;
use crate::push::{ENTITIES, Edits, ServicePush};
use crate::support::TestDatabase;
use crate::table::{Aim, ratio};
use crate::workout::workout;

const FILL_MANY: &str = include_str!("fill_many.sql");

/// Bytes of an entity: little, so that a million of them are written soon.
const ITEM_BYTES: usize = 128;

/// How much there is.
struct Extent {
    /// Entities of the user with little and the user with much.
    of_user: [usize; 2],
    /// Entities in the smaller table, and how many times as many in the larger.
    in_table: usize,
    times: usize,
    rounds: usize,
}

impl Extent {
    fn of_this_run() -> Self {
        let (of_user, in_table, rounds) = if measured() {
            ([100, 1_000_000], 1_000_000, 1_500)
        } else {
            ([100, 200], 200, 2)
        };
        Self {
            of_user,
            in_table,
            times: 10,
            rounds,
        }
    }
}

/// A user of one of the databases.
struct Place<'a> {
    name: String,
    bench: &'a Bench,
    user: String,
}

/// Users with little and much in tables with little and much.
pub async fn large() {
    let extent = Extent::of_this_run();
    let small = TestDatabase::durable().await;
    let large = TestDatabase::on_server(&small.config()).await;
    let (small, large) = tokio::join!(
        filled(small, &extent, 1),
        filled(large, &extent, extent.times)
    );
    let mut places = Vec::new();
    for (bench, times) in [(&small, 1), (&large, extent.times)] {
        for entities in extent.of_user {
            let user = format!("user-with-{entities}");
            let name = format!("{entities} of {}", extent.in_table * times);
            places.push(Place { name, bench, user });
        }
    }
    pulls("pull 100 entities", &places, 0, extent.rounds).await;
    pulls("empty pull", &places, usize::MAX, extent.rounds).await;
    // Last: they leave dead rows, among a hundred entities more than among a million.
    pushes(&places, extent.rounds).await;
    drop(large); // it is on the other's server
}

/// A database with so many times as many entities.
async fn filled(database: TestDatabase, extent: &Extent, times: usize) -> Bench {
    /// Entities of each of the other users.
    const OTHERS_ENTITIES: usize = 1_000;
    let bench = Bench::on(database).await;
    let document = workout(0, ITEM_BYTES);
    for entities in extent.of_user {
        let user = format!("user-with-{entities}");
        bench.fill(&user, entities, &document).await;
    }
    let others = extent.in_table * (times - 1) / OTHERS_ENTITIES.min(extent.in_table);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [
        &(others as i64),
        &(OTHERS_ENTITIES.min(extent.in_table) as i64),
        &document,
    ];
    let filled = bench.admin.execute(FILL_MANY, &parameters).await;
    filled.expect("other users");
    bench.settle().await;
    bench
}

async fn pushes(places: &[Place<'_>], rounds: usize) {
    let mut lanes = Vec::new();
    for place in places {
        let held = place.bench.some_entities_of(&place.user, ENTITIES).await;
        let edits = Edits::like(held, workout(0, ITEM_BYTES));
        let service = &place.bench.service;
        lanes.push(ServicePush::with(service, &place.user, "phone", edits, 1).await);
    }
    tell("push 1 item", places, lanes, rounds).await;
}

async fn pulls(what: &str, places: &[Place<'_>], after: usize, rounds: usize) {
    let mut lanes = Vec::new();
    for place in places {
        let held = place.bench.count_of(&place.user).await;
        let after = after.min(held);
        lanes.push(ServicePull::after(&place.bench.service, &place.user, after, 100).await);
    }
    tell(what, places, lanes, rounds).await;
}

/// Lets all take turns, and prints what a step costs each, beside the first of them.
async fn tell<L: Lane>(what: &str, places: &[Place<'_>], mut lanes: Vec<L>, rounds: usize) {
    let mut times_ms = vec![Vec::new(); lanes.len()];
    for _ in 0..rounds {
        for (lane, times_ms) in lanes.iter_mut().zip(&mut times_ms) {
            let begun = Instant::now();
            lane.step().await;
            times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let medians: Vec<f64> = times_ms.into_iter().map(median).collect();
    for (place, cost) in places.iter().zip(&medians).skip(1) {
        let case = format!("{what}: {}, beside {}", place.name, places[0].name);
        ratio(&case, medians[0], *cost, "ms", Aim::Near(0.1));
    }
}

impl Bench {
    /// Some of a user's entities, from all over what there is.
    async fn some_entities_of(&self, user: &str, count: usize) -> Vec<uuid::Uuid> {
        let held = self.count_of(user).await;
        let count = count.min(held);
        let revisions: Vec<i64> = (0..count)
            .map(|n| (1 + n * (held / count)) as i64)
            .collect();
        let select = "select entity_id from entities where scope = $1 and revision > 0 \
                      and revision = any($2)";
        let scope = scope(user);
        let rows = self
            .admin
            .query(select, &[&scope.as_str(), &revisions])
            .await;
        let rows = rows.expect("entities");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many entities a user has.
    async fn count_of(&self, user: &str) -> usize {
        let scope = scope(user);
        let select = "select entities from scopes where scope = $1";
        let row = self.admin.query_one(select, &[&scope.as_str()]).await;
        row.expect("a scope").get::<_, i64>(0) as usize
    }
}
