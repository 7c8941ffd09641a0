//! How things stand: looked at when somebody asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use super::{Counters, Metrics, Register};
use crate::admission::Admission;
use crate::connections::Room;
use crate::domain::clock::Millis;
use crate::feed::Feed;
use crate::places::Places;
use crate::retention::Progress;
use crate::store::Store;

/// How often the open conflicts of all users are counted.
const CONFLICTS_INTERVAL: Duration = Duration::from_secs(15);

/// Conflicts that are counted at most: a number beyond it says no more.
const CONFLICTS_MAX: i64 = 10_000;

/// Where to look.
#[derive(Clone)]
pub struct Sources {
    /// The pool, and what went wrong in it.
    pub store: Store,
    /// Who works on the database.
    pub places: Places,
    /// Calls under way.
    pub admission: Admission,
    /// What woke watchers.
    pub feed: Feed,
    /// Connections.
    pub room: Arc<Room>,
    /// How far compaction is.
    pub compaction: Arc<Progress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    of: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stand {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

type Gauges<L> = Family<L, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

pub(super) struct State {
    serving: Gauge,
    calls: Gauges<Kind>,
    received_bytes: Gauge,
    connections: Gauge,
    connections_refused: Counter,
    places: Gauges<Stand>,
    pool: Gauges<Stand>,
    database_errors: Counters<Kind>,
    watched_scopes: Gauge,
    recovered: Counter,
    conflicts_open: Gauge,
    conflicts_oldest: Seconds,
    compactions: Counters<Stand>,
    compaction_running: Gauge,
    compaction_scopes: Gauge,
    compacted: Counters<Of>,
}

impl State {
    pub(super) fn new(register: &mut Register) -> Self {
        let build: Gauges<Version> = register.add(
            "ironflow_build_info",
            "1; the version of the service is in the label",
        );
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Version { version }).set(1);
        Self {
            serving: register.add("ironflow_serving", "1 while calls are served, else 0"),
            calls: register.add(
                "ironflow_calls_under_way",
                "Calls and watches that were let in and are not over",
            ),
            received_bytes: register.add(
                "ironflow_received_bytes",
                "Bytes of messages that are being received or worked on",
            ),
            connections: register.add("ironflow_connections", "Open connections of callers"),
            connections_refused: register.add(
                "ironflow_connections_refused",
                "Connections that were closed as they came: there was no room",
            ),
            places: register.add(
                "ironflow_places",
                "Places at the database, and how many calls wait for one",
            ),
            pool: register.add(
                "ironflow_pool_connections",
                "Connections to Postgres, and how many ask for one",
            ),
            database_errors: register.add(
                "ironflow_database_errors",
                "What went wrong between the service and Postgres",
            ),
            watched_scopes: register.add(
                "ironflow_watched_scopes",
                "Users (and the library) that somebody watches",
            ),
            recovered: register.add(
                "ironflow_lost_signals_recovered",
                "Changes of watched scopes that the poll found and no signal had announced",
            ),
            conflicts_open: register.add(
                "ironflow_open_conflicts",
                "Conflicts that wait for a person, of all users; counted up to 10,000",
            ),
            conflicts_oldest: register.add(
                "ironflow_oldest_open_conflict_seconds",
                "Since when the oldest open conflict waits; 0: there is none",
            ),
            compactions: register.add(
                "ironflow_compactions",
                "Compactions of this instance, by how they ended",
            ),
            compaction_running: register.add(
                "ironflow_compaction_running",
                "1 while this instance compacts, else 0",
            ),
            compaction_scopes: register.add(
                "ironflow_compaction_scopes",
                "Scopes that the compaction under way, or the last one, has gone through",
            ),
            compacted: register.add(
                "ironflow_compacted_rows",
                "Rows that compactions of this instance emptied or deleted",
            ),
        }
    }

    /// Takes over how things stand now.
    pub(super) fn look(&self, sources: &Sources) {
        let load = sources.admission.load();
        for (kind, calls) in [("call", load.calls), ("watch", load.watches)] {
            self.calls.get_or_create(&Kind { kind }).set(whole(calls));
        }
        self.received_bytes.set(whole(load.received_bytes));
        self.connections.set(whole(sources.room.taken()));
        set(&self.connections_refused, sources.room.refused());
        let usage = sources.places.usage();
        for (state, count) in [
            ("taken", usage.taken),
            ("free", usage.free),
            ("waiting", usage.waiting),
        ] {
            self.places
                .get_or_create(&Stand { state })
                .set(whole(count));
        }
        let usage = sources.store.usage();
        for (state, count) in [
            ("used", usage.used),
            ("idle", usage.idle),
            ("waiting", usage.waiting),
            ("max", usage.max),
        ] {
            self.pool.get_or_create(&Stand { state }).set(whole(count));
        }
        for (kind, count) in sources.store.errors() {
            set(&self.database_errors.get_or_create(&Kind { kind }), count);
        }
        self.watched_scopes.set(whole(sources.feed.watched()));
        set(&self.recovered, sources.feed.recovered());
        self.look_at_compaction(&sources.compaction);
    }

    fn look_at_compaction(&self, progress: &Progress) {
        self.compaction_running
            .set(i64::from(progress.is_running()));
        self.compaction_scopes.set(whole(progress.scopes()));
        let [finished, stopped, failed] = progress.runs();
        for (state, runs) in [
            ("finished", finished),
            ("stopped", stopped),
            ("failed", failed),
        ] {
            set(&self.compactions.get_or_create(&Stand { state }), runs);
        }
        for (of, rows) in progress.rows() {
            set(&self.compacted.get_or_create(&Of { of }), rows);
        }
    }
}

impl Metrics {
    /// Whether calls are served.
    pub fn serves(&self, serving: bool) {
        self.0.state.serving.set(i64::from(serving));
    }

    pub(super) fn is_serving(&self) -> bool {
        self.0.state.serving.get() == 1
    }

    /// Counts the open conflicts now and then, until `stop`. While the store is out of reach the last count
    /// stands.
    pub async fn run(&self, store: &Store, clock: fn() -> Millis, stop: CancellationToken) {
        loop {
            match store.measure_conflicts(CONFLICTS_MAX).await {
                Ok(waiting) => {
                    let state = &self.0.state;
                    state.conflicts_open.set(waiting.open);
                    let since = waiting
                        .oldest
                        .map_or(0, |at| clock().0.saturating_sub(at.0));
                    state.conflicts_oldest.set(since.max(0) as f64 / 1_000.0);
                }
                Err(fault) => tracing::debug!(cause = %fault, "open conflicts were not counted"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CONFLICTS_INTERVAL) => (),
            }
        }
    }
}

/// What is counted elsewhere, as the counter it is told by.
fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
