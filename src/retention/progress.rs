//! How far compaction is, for those who look at it from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::Compacted;

/// What a [`super::Retention`] has done so far.
#[derive(Debug, Default)]
pub struct Progress {
    running: AtomicBool,
    scopes: AtomicUsize,
    finished: AtomicU64,
    stopped: AtomicU64,
    failed: AtomicU64,
    versions: AtomicU64,
    conflicts: AtomicU64,
    sides: AtomicU64,
    erased: AtomicU64,
}

impl Progress {
    /// Whether a compaction is under way.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Scopes that it, or else the last one, has gone through.
    pub fn scopes(&self) -> usize {
        self.scopes.load(Ordering::Relaxed)
    }

    /// How many compactions came to their end, were stopped before it, and failed.
    pub fn runs(&self) -> [u64; 3] {
        [&self.finished, &self.stopped, &self.failed].map(|runs| runs.load(Ordering::Relaxed))
    }

    /// Rows that all of them emptied or deleted, by what they were.
    pub fn rows(&self) -> [(&'static str, u64); 4] {
        [
            ("version", &self.versions),
            ("conflict", &self.conflicts),
            ("losing_side", &self.sides),
            ("erased_account", &self.erased),
        ]
        .map(|(of, rows)| (of, rows.load(Ordering::Relaxed)))
    }

    pub(super) fn begin(&self) {
        self.scopes.store(0, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
    }

    pub(super) fn went_through_scope(&self) {
        self.scopes.fetch_add(1, Ordering::Relaxed);
    }

    /// A compaction that had removed so much `before` has now.
    pub(super) fn removed(&self, before: &Compacted, now: &Compacted) {
        for (count, before, now) in [
            (&self.versions, before.versions, now.versions),
            (&self.conflicts, before.conflicts, now.conflicts),
            (&self.sides, before.sides, now.sides),
            (&self.erased, before.erased, now.erased),
        ] {
            count.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        }
    }

    /// A compaction has ended; `None`: it failed.
    pub(super) fn end(&self, compacted: Option<&Compacted>) {
        let runs = match compacted {
            Some(compacted) if compacted.finished => &self.finished,
            Some(_) => &self.stopped,
            None => &self.failed,
        };
        runs.fetch_add(1, Ordering::Relaxed);
        self.running.store(false, Ordering::Relaxed);
    }
}
