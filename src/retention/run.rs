//! One compaction: all scopes, in steps of a bounded number of rows.

use tokio_util::sync::CancellationToken;

use super::{Compacted, Retention};
use crate::domain::scope::Scope;
use crate::error::Fault;
use crate::store::retention::{ConflictPlace, Cutoffs, VersionPlace};

/// Scopes listed in one statement.
const SCOPES_PAGE: i64 = 500;

/// What a statement costs beside its rows, in rows: many scopes have but a few old versions.
const STATEMENT_ROWS: usize = 20;

/// A compaction under way. What its methods return says whether to go on.
pub(super) struct Run<'a> {
    retention: &'a Retention,
    cutoffs: Cutoffs,
    stop: &'a CancellationToken,
    /// Rows since the last pause.
    rows: usize,
    compacted: Compacted,
    /// What of it the progress has.
    told: Compacted,
}

impl<'a> Run<'a> {
    /// One that has not begun.
    pub(super) fn new(
        retention: &'a Retention,
        cutoffs: Cutoffs,
        stop: &'a CancellationToken,
    ) -> Self {
        Self {
            retention,
            cutoffs,
            stop,
            rows: 0,
            compacted: Compacted::default(),
            told: Compacted::default(),
        }
    }

    /// Goes through everything once, and says what went.
    pub(super) async fn everything(&mut self) -> Result<Compacted, Fault> {
        self.compacted.finished = self.erasures().await? && self.all_scopes().await?;
        Ok(self.compacted)
    }

    /// Tells the progress what has gone since it was told last.
    pub(super) fn tell(&mut self) {
        let progress = &self.retention.progress;
        progress.removed(&self.told, &self.compacted);
        self.told = self.compacted;
    }

    /// Finishes what was left of deleted accounts, before anything else.
    async fn erasures(&mut self) -> Result<bool, Fault> {
        let Retention { store, options, .. } = self.retention;
        let step_rows = i64::from(options.step_rows);
        let mut after: Option<Scope> = None;
        loop {
            let page = store.list_scopes(after.as_ref(), SCOPES_PAGE).await?;
            for (scope, _) in page.iter().filter(|(_, erased)| *erased) {
                if options.dry_run {
                    let account = store.count_account(scope).await?;
                    self.compacted.erased += account.counts.all();
                    continue;
                }
                let mut finished = false;
                while !finished {
                    let step = store.erase_some(scope, step_rows).await?;
                    self.compacted.erased += step.counts.all();
                    finished = step.finished;
                    if !self.rest(step.counts.all() as usize).await {
                        return Ok(false);
                    }
                }
            }
            let Some((last, _)) = page.into_iter().last() else {
                return Ok(true);
            };
            after = Some(last);
        }
    }

    async fn all_scopes(&mut self) -> Result<bool, Fault> {
        let store = &self.retention.store;
        let mut after: Option<Scope> = None;
        loop {
            let page = store.list_scopes(after.as_ref(), SCOPES_PAGE).await?;
            for (scope, _) in page.iter().filter(|(_, erased)| !erased) {
                if !self.versions(scope).await? || !self.conflicts(scope).await? {
                    return Ok(false);
                }
                self.retention.progress.went_through_scope();
            }
            let Some((last, _)) = page.into_iter().last() else {
                return Ok(true);
            };
            after = Some(last);
        }
    }

    /// Goes through the old versions of a scope, the oldest first. Each step begins behind the one before
    /// it, whether or not that could remove anything.
    async fn versions(&mut self, scope: &Scope) -> Result<bool, Fault> {
        let Retention { store, options, .. } = self.retention;
        let limit = i64::from(options.step_rows);
        let mut after = VersionPlace::FIRST;
        loop {
            let page = store
                .read_old_versions(scope, &after, &self.cutoffs, limit)
                .await?;
            self.compacted.versions += match page.expired.as_slice() {
                [] => 0,
                expired if options.dry_run => expired.len() as u64,
                expired => store.empty_versions(scope, expired).await?,
            };
            if !self.rest(page.rows).await {
                return Ok(false);
            }
            match page.last {
                Some(last) if page.rows == usize::from(options.step_rows) => after = last,
                Some(_) | None => return Ok(true),
            }
        }
    }

    /// Goes through the settled conflicts of a scope, likewise.
    async fn conflicts(&mut self, scope: &Scope) -> Result<bool, Fault> {
        let Retention { store, options, .. } = self.retention;
        let limit = i64::from(options.step_rows);
        let mut after = ConflictPlace::FIRST;
        loop {
            let page = store
                .read_old_conflicts(scope, &after, &self.cutoffs, limit)
                .await?;
            if options.dry_run {
                self.compacted.conflicts += page.expired.len() as u64;
                let sides = page.expired.iter().map(ConflictPlace::sides);
                self.compacted.sides += sides.sum::<u64>();
            } else if !self.delete(scope, &page.expired).await? {
                return Ok(false);
            }
            if !self.rest(page.rows).await {
                return Ok(false);
            }
            match page.last {
                Some(last) if page.rows == usize::from(options.step_rows) => after = last,
                Some(_) | None => return Ok(true),
            }
        }
    }

    /// Deletes conflicts; one with many losing sides takes several steps.
    async fn delete(&mut self, scope: &Scope, expired: &[ConflictPlace]) -> Result<bool, Fault> {
        let Retention { store, options, .. } = self.retention;
        let mut more = !expired.is_empty();
        while more {
            let deleted = store
                .delete_conflicts(scope, expired, i64::from(options.step_rows))
                .await?;
            self.compacted.conflicts += deleted.conflicts;
            self.compacted.sides += deleted.sides;
            more = deleted.more;
            if more && !self.rest(usize::from(options.step_rows)).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Leaves room to others once enough rows were gone through; false: stop.
    async fn rest(&mut self, rows: usize) -> bool {
        self.tell();
        let options = &self.retention.options;
        self.rows += STATEMENT_ROWS + rows;
        if self.rows < usize::from(options.step_rows) {
            return !self.stop.is_cancelled();
        }
        self.rows = 0;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(options.pause) => true,
        }
    }
}
