//! The only place with SQL: one statement per file in `store/sql`, called from one file per task.

pub mod address;
pub mod batch;
mod columns;
mod conflict;
pub mod device;
pub mod erasure;
pub mod explain;
pub mod export;
mod fault;
pub mod feed;
pub mod history;
pub mod inbox;
mod library;
pub mod migrations;
pub mod news;
pub mod overview;
pub mod page;
pub mod reach;
pub mod retention;
mod session;
pub mod standing;
mod state;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod, Runtime, TimeoutType,
};
use thiserror::Error;

use address::Address;
use fault::ErrorTally;

use crate::error::Fault;

/// How long a call waits for a free connection, and a connection for Postgres. A call that would
/// wait longer is told to come back.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

/// How long a ping waits for a free connection.
const PING_WAIT: Duration = Duration::from_millis(500);

/// What our sessions tell Postgres when they start.
///
/// - Limits on what one of them may hold up, should the service be stopped in its tracks: a statement,
///   the wait for a lock (a scope's other pushes are short), a silent transaction.
/// - Plans are made once per session, for any parameters: planning a push takes longer than a small
///   push. The statements are written so that every plan looks rows up by their whole key, also on a
///   young database of which the planner knows nothing; `tests/store/plans.rs` looks at the plans.
///   A bitmap of an index has lost its order (`enable_bitmapscan`): what walks from key to key would read
///   all that is behind a key to find the next.
///   Compiling them (`jit`) takes longer than any of them runs.
pub const SESSION_OPTIONS: &str = "-c statement_timeout=30s -c lock_timeout=10s \
     -c idle_in_transaction_session_timeout=30s -c timezone=UTC \
     -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c jit=off";

/// A pool of connections to Postgres. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// What went wrong.
    errors: Arc<ErrorTally>,
    /// For sessions outside the pool.
    address: Address,
}

/// How a pool is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// Connections at work.
    pub used: usize,
    /// Connections that wait for work.
    pub idle: usize,
    /// Work that waits for a connection.
    pub waiting: usize,
    /// Connections at most.
    pub max: usize,
}

/// Settings no pool can be made from.
#[derive(Debug, Error)]
#[error("the connection pool could not be made: {0}")]
pub struct BadPool(#[from] deadpool_postgres::BuildError);

impl Store {
    /// A store on the database that `address` names. Connects when first used.
    pub fn new(address: impl Into<Address>, connections_max: usize) -> Result<Self, BadPool> {
        let mut address = address.into();
        let config = &mut address.config;
        let options = [config.get_options().unwrap_or_default(), SESSION_OPTIONS].join(" ");
        config
            .options(options.trim_start())
            .application_name("ironflow-sync")
            .connect_timeout(CONNECTION_WAIT)
            .tcp_user_timeout(CONNECTION_WAIT)
            .keepalives_idle(Duration::from_secs(30));
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(
            config.clone(),
            address.tls.clone(),
            ManagerConfig { recycling_method },
        );
        let pool = Pool::builder(manager)
            .max_size(connections_max)
            // Few are needed most of the time, and those that are know the statements and have them in their caches.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECTION_WAIT))
            .create_timeout(Some(CONNECTION_WAIT))
            .build()?;
        Ok(Self {
            pool,
            errors: Arc::default(),
            address,
        })
    }

    /// Whether Postgres answers. While all connections are in use it does.
    pub async fn ping(&self) -> Result<(), Fault> {
        let mut timeouts = self.pool.timeouts();
        timeouts.wait = Some(PING_WAIT);
        let client = match self.pool.timeout_get(&timeouts).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => return Ok(()),
            client => client?,
        };
        client.simple_query("").await?;
        Ok(())
    }

    /// Connections at most.
    pub fn connections_max(&self) -> usize {
        self.pool.status().max_size
    }

    /// How the pool is used now.
    pub fn usage(&self) -> PoolUsage {
        let status = self.pool.status();
        PoolUsage {
            used: status.size.saturating_sub(status.available),
            idle: status.available,
            waiting: status.waiting,
            max: status.max_size,
        }
    }

    /// How often something went wrong between the service and Postgres, by kind.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.errors.counts()
    }

    /// Closes the pool; later calls fail as [`Fault::Unavailable`].
    pub fn close(&self) {
        self.pool.close();
    }
}
