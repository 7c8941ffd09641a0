//! Compaction: what is no longer current goes at the ages the catalog says.
//!
//! The contents of old versions are removed, never the versions: their numbers, the edits that made them
//! and the fact of a deletion stay for good (promises 4, 6 and 8). Settled conflicts go with their losing
//! sides; what an open conflict needs stays. All scopes are gone through in steps of a bounded number of
//! rows, each step a short transaction of its own beside live traffic, with a pause in between.

mod progress;
mod run;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use run::Run;

pub use progress::Progress;

use crate::domain::catalog::{self, Catalog};
use crate::domain::clock::Millis;
use crate::error::Fault;
use crate::store::Store;
use crate::store::retention::{Cutoff, Cutoffs};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How often it is looked at whether a compaction is due; then it is late by at most this, also when
/// services are restarted more often than it is due.
const DUE_INTERVAL: Duration = Duration::from_secs(600);

/// How a compaction treats others.
#[derive(Debug, Clone, Copy)]
pub struct RetentionOptions {
    /// Rows of a step at most: bounds how long pushes of a scope wait, and the memory.
    pub step_rows: u16,
    /// How long to leave the database alone after so many rows.
    pub pause: Duration,
    /// Counts what would go, and removes nothing.
    pub dry_run: bool,
}

impl Default for RetentionOptions {
    /// A step takes some milliseconds; so at most about half of the time is spent in them.
    fn default() -> Self {
        Self {
            step_rows: 500,
            pause: Duration::from_millis(20),
            dry_run: false,
        }
    }
}

/// What a compaction removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Versions that lost their data.
    pub versions: u64,
    /// Settled conflicts.
    pub conflicts: u64,
    /// Their losing sides.
    pub sides: u64,
    /// Rows of deleted accounts that were left.
    pub erased: u64,
    /// All scopes were gone through; false: it was stopped, and the next one does the rest.
    pub finished: bool,
}

/// Removes what the retention of a catalog does not keep.
#[derive(Clone)]
pub struct Retention {
    store: Store,
    catalog: Arc<Catalog>,
    options: RetentionOptions,
    progress: Arc<Progress>,
}

impl Retention {
    /// Compaction of a store by the ages of a catalog.
    pub fn new(store: Store, catalog: Arc<Catalog>, options: RetentionOptions) -> Self {
        // With steps of no rows it would never end.
        let step_rows = options.step_rows.max(1);
        let options = RetentionOptions {
            step_rows,
            ..options
        };
        Self {
            store,
            catalog,
            options,
            progress: Arc::default(),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Compacts once in every interval until `stop`. A compaction that fails is logged, and tried again
    /// when the next one is due.
    pub async fn run(&self, interval: Duration, clock: fn() -> Millis, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval.min(DUE_INTERVAL)) => (),
            }
            if let Err(fault) = self.run_if_due(clock(), interval, &stop).await {
                fault.report();
            }
        }
    }

    /// Compacts if that was not done for an interval; `None`: it is not due, or another instance is at it.
    pub async fn run_if_due(
        &self,
        now: Millis,
        interval: Duration,
        stop: &CancellationToken,
    ) -> Result<Option<Compacted>, Fault> {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        if !self.store.claim_compaction(now, interval_ms).await? {
            return Ok(None);
        }
        self.run_once(now, stop).await.map(Some)
    }

    /// Goes through all scopes once, and says what went. Ends soon after `stop`, between two steps.
    ///
    /// May be run at any time, beside pushes and beside itself: removing twice is removing once.
    pub async fn run_once(
        &self,
        now: Millis,
        stop: &CancellationToken,
    ) -> Result<Compacted, Fault> {
        let span = tracing::info_span!(
            "compact",
            versions = field::Empty,
            conflicts = field::Empty,
            sides = field::Empty,
            erased = field::Empty,
            finished = field::Empty,
            duration_ms = field::Empty,
        );
        let work = async {
            let begun = Instant::now();
            let mut run = Run::new(self, cutoffs(&self.catalog, now), stop);
            self.progress.begin();
            let ended = run.everything().await;
            run.tell();
            self.progress.end(ended.as_ref().ok());
            let compacted = ended?;
            Span::current()
                .record("versions", compacted.versions)
                .record("conflicts", compacted.conflicts)
                .record("sides", compacted.sides)
                .record("erased", compacted.erased)
                .record("finished", compacted.finished)
                .record("duration_ms", begun.elapsed().as_millis() as u64);
            tracing::info!("compacted");
            Ok(compacted)
        };
        work.instrument(span).await
    }
}

/// What is old now, by type.
fn cutoffs(catalog: &Catalog, now: Millis) -> Cutoffs {
    let ago = |days: u32| Millis(now.0.saturating_sub(i64::from(days) * DAY_MS));
    let cutoff = |kept: &catalog::Retention| Cutoff {
        versions_before: ago(kept.versions_days),
        versions_min: kept.versions_min,
        deleted_before: ago(kept.deleted_days),
        conflicts_before: ago(kept.conflicts_days),
    };
    let types = catalog.types();
    Cutoffs::new(
        types.map(|(entity_type, rules)| (entity_type, cutoff(&rules.retention))),
        cutoff(&catalog.unlisted().retention),
    )
}
