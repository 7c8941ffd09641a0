//! What is counted and measured, and how it is told: names, help texts and labels of every metric are
//! here and nowhere else (docs/operations.md has the table, a test compares the two).
//!
//! What happens is counted as it happens, by whoever does it (`metrics.batch_settled(..)`), on atomics or a
//! short lock once per batch, page or call. How things stand is looked at when somebody asks
//! ([`Sources`]), and costs nothing in between. No label ever holds a user, a device or an entity: types are
//! bounded by the catalog, methods and reasons by the contract.

mod batches;
mod calls;
mod port;
mod state;
mod streams;
mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use batches::Batches;
use calls::Calls;
use state::State;
use streams::Streams;

use crate::domain::catalog::Catalog;

pub use calls::{CallUnderWay, Method};
pub use port::Port;
pub use state::Sources;

/// Upper bounds of durations, in seconds: from a quiet read to the longest a call may take.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds of counts of items and entities, up to what a batch or page holds by default.
const COUNTS: [f64; 11] = [
    0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 2_000.0,
];

/// The metrics of a service. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    calls: Calls,
    batches: Batches,
    streams: Streams,
    state: State,
}

impl Metrics {
    /// Metrics of which nothing has been counted yet, for the types of a catalog.
    pub fn new(catalog: &Catalog) -> Self {
        let mut register = Register(Registry::default());
        Self(Arc::new(Inner {
            calls: Calls::new(&mut register),
            batches: Batches::new(&mut register, catalog),
            streams: Streams::new(&mut register),
            state: State::new(&mut register),
            registry: register.0,
        }))
    }

    /// All of them in the text format of Prometheus, with how things stand now.
    pub fn text(&self, sources: &Sources) -> Result<String, fmt::Error> {
        self.0.state.look(sources);
        text::classic(&self.0.registry)
    }
}

/// Gives metrics their names and help texts, to which the library adds a full stop.
struct Register(Registry);

impl Register {
    /// A metric of some kind, under a name; counters get `_total` behind theirs.
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.keep(name, help, M::default())
    }

    fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        self.keep(name, help, Histogram::new(SECONDS))
    }

    fn counts(&mut self, name: &str, help: &str) -> Histogram {
        self.keep(name, help, Histogram::new(COUNTS))
    }

    fn keep<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

/// One counter for each set of labels, made when it is first needed.
type Counters<L> = Family<L, Counter>;

/// One histogram of durations for each set of labels.
type Durations<L> = Family<L, Histogram, InSeconds>;

/// Makes histograms of durations.
#[derive(Clone)]
struct InSeconds;

impl MetricConstructor<Histogram> for InSeconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}
