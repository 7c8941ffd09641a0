//! Pages that are read, and watches that wait for the next.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, Register};

pub(super) struct Streams {
    page_entities: Histogram,
    page_seconds: Histogram,
    watchers: Gauge,
    wakeups: Counter,
    delivery_seconds: Histogram,
}

impl Streams {
    pub(super) fn new(register: &mut Register) -> Self {
        Self {
            page_entities: register.counts(
                "ironflow_page_entities",
                "Entities on a page, of a pull or a watch",
            ),
            page_seconds: register.seconds(
                "ironflow_page_seconds",
                "How long reading a page took, of a pull or a watch",
            ),
            watchers: register.add("ironflow_watchers", "Watches under way"),
            wakeups: register.add(
                "ironflow_watch_wakeups",
                "Watches that were woken because their scope may have moved",
            ),
            delivery_seconds: register.seconds(
                "ironflow_watch_delivery_seconds",
                "From waking a watch to handing over what it was woken for",
            ),
        }
    }
}

impl Metrics {
    /// A page with so many entities was read, which took so long.
    pub fn page_read(&self, entities: usize, took: Duration) {
        let streams = &self.0.streams;
        streams.page_entities.observe(entities as f64);
        streams.page_seconds.observe(took.as_secs_f64());
    }

    /// A watch has begun.
    pub fn watch_began(&self) {
        self.0.streams.watchers.inc();
    }

    /// A watch has ended.
    pub fn watch_ended(&self) {
        self.0.streams.watchers.dec();
    }

    /// A watch was woken.
    pub fn watch_woken(&self) {
        self.0.streams.wakeups.inc();
    }

    /// A watch handed over what it was woken for so long ago.
    pub fn delivered(&self, took: Duration) {
        self.0.streams.delivery_seconds.observe(took.as_secs_f64());
    }
}
