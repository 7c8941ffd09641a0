//! What runs beside the calls, for as long as the service does.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::server::HealthReporter;

use super::health::watch_health;
use crate::admission::Admission;
use crate::feed::{Feed, FeedOptions};
use crate::grpc::edge;
use crate::keyring::Keyring;
use crate::metrics::{Metrics, Port};
use crate::presence::Presence;
use crate::retention::Retention;
use crate::store::Store;
use crate::tls::Certificates;

/// All of it.
pub(super) struct Beside {
    pub(super) store: Store,
    pub(super) keyring: Keyring,
    pub(super) certificates: Option<Certificates>,
    pub(super) feed: Feed,
    pub(super) feed_options: FeedOptions,
    pub(super) presence: Presence,
    pub(super) admission: Admission,
    pub(super) retention: Retention,
    /// `None`: this service never compacts.
    pub(super) compact_interval: Option<Duration>,
    pub(super) metrics: Metrics,
    /// Where metrics are read; `None`: nowhere.
    pub(super) port: Option<Port>,
    pub(super) health: HealthReporter,
}

impl Beside {
    /// Starts it. Each part ends with `stop`; what is returned is done when all have.
    pub(super) fn start(self, stop: &CancellationToken) -> TaskTracker {
        let Self {
            store,
            keyring,
            certificates,
            feed,
            feed_options,
            presence,
            admission,
            retention,
            compact_interval,
            metrics,
            port,
            health,
        } = self;
        let tasks = TaskTracker::new();
        let stopping = stop.clone();
        tasks.spawn(async move { keyring.run(stopping).await });
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.run(stop.clone()));
        }
        let (feed_store, stopping) = (store.clone(), stop.clone());
        tasks.spawn(async move { feed.run(&feed_store, feed_options, stopping).await });
        let (presence_store, stopping) = (store.clone(), stop.clone());
        tasks.spawn(async move { presence.run(&presence_store, stopping).await });
        let stopping = stop.clone();
        tasks.spawn(async move { admission.run(stopping).await });
        if let Some(interval) = compact_interval {
            let stopping = stop.clone();
            tasks.spawn(async move { retention.run(interval, edge::now, stopping).await });
        }
        if let Some(port) = port {
            let (counted, counted_store) = (metrics.clone(), store.clone());
            let stopping = stop.clone();
            tasks.spawn(async move { counted.run(&counted_store, edge::now, stopping).await });
            tasks.spawn(port.run(stop.clone()));
        }
        tasks.spawn(watch_health(store, health, metrics, stop.clone()));
        tasks.close();
        tasks
    }
}
