//! What the cases share: a durable database, the service on it, and users who have something.

use ironflow_sync::domain::scope::{Scope, UserId};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::process::Process;
use crate::support::TestDatabase;
use crate::support::database::connect;
use crate::turns;
use crate::workout::workout;

const FILL: &str = include_str!("fill.sql");
const RAW_PUSH_ONE: &str = include_str!("raw_push_one.sql");

/// Bytes of an entity, about.
pub const ITEM_BYTES: usize = 1024;

/// What the cases share.
pub struct Bench {
    pub database: TestDatabase,
    pub service: Process,
    pub admin: Client,
}

impl Bench {
    /// A database with nothing in it, and a service.
    pub async fn start() -> Self {
        Self::on(TestDatabase::durable().await).await
    }

    /// A service on a database.
    pub async fn on(database: TestDatabase) -> Self {
        let service = Process::service(&database, &[]);
        let admin = database.client().await;
        let made = admin.batch_execute(RAW_PUSH_ONE).await;
        made.expect("an administrator");
        Self {
            database,
            service,
            admin,
        }
    }

    /// Fills the scope of a user who has nothing yet.
    pub async fn fill(&self, user: &str, entities: usize, document: &str) {
        let filled = self
            .admin
            .execute(
                FILL,
                &[&scope(user).as_str(), &(entities as i64), &document],
            )
            .await;
        filled.expect("an empty scope");
    }

    /// Users with names of their own, each with so many entities of about 1 KB.
    pub async fn users(&self, count: usize, entities: usize) -> Vec<String> {
        let document = workout(0, ITEM_BYTES);
        let mut users = Vec::new();
        for _ in 0..count {
            let user = format!("user-{}", random_id());
            self.fill(&user, entities, &document).await;
            users.push(user);
        }
        users
    }

    /// The first entities of a user.
    pub async fn entities_of(&self, user: &str, count: usize) -> Vec<Uuid> {
        let select = "select entity_id from entities where scope = $1 and revision > 0 \
                      order by revision limit $2";
        let scope = scope(user);
        let rows = self
            .admin
            .query(select, &[&scope.as_str(), &(count as i64)])
            .await;
        let rows = rows.expect("entities");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A connection in the place of a device, with a prepared statement.
    pub async fn raw(&self, statement: &str) -> (Client, Statement) {
        prepared(&self.database.url(), statement).await
    }

    /// Gives the next case the same start as the others.
    pub async fn settle(&self) {
        turns::settle(&self.admin).await;
    }
}

/// A connection to a database, with a prepared statement.
pub async fn prepared(url: &str, statement: &str) -> (Client, Statement) {
    let client = connect(&url.parse().expect("an address")).await;
    // One plan for all sizes: planning each time would take longer than the update of one row. And such a
    // plan knows so little that it would rather sort than read in the order of an index.
    let settings = "set plan_cache_mode = force_generic_plan; set jit = off; \
                    set enable_seqscan = off; set enable_bitmapscan = off";
    client.batch_execute(settings).await.expect("settings");
    let statement = client.prepare(statement).await.expect("the statement");
    (client, statement)
}

/// The scope of a user.
pub fn scope(user: &str) -> Scope {
    Scope::of(&UserId::new(user).expect("a user id"))
}

/// An id nobody has, without a question to the system.
pub fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid()
}
