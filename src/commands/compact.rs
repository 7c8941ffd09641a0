//! Retention by hand, or by cron.

use std::error::Error;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Database, catalog, now, print, shutdown_signal};
use crate::config::Config;
use crate::domain::catalog::Catalog;
use crate::retention::{Compacted, Retention, RetentionOptions};
use crate::store::Store;
use crate::store::migrations::migrate;

/// Compacts once, whatever the schedule, and says what went, or would go.
pub(super) async fn run(config: &Config, dry_run: bool) -> Result<(), Box<dyn Error>> {
    let catalog = catalog::in_effect(config)?;
    let database = Database::open(config, "ironflow-sync compact").await?;
    let compacted = compact(&database.store, catalog, dry_run).await;
    database.close().await;
    print(&sentence(&compacted?, dry_run));
    Ok(())
}

/// Compacts until the end, or until a signal says to stop.
async fn compact(
    store: &Store,
    catalog: Catalog,
    dry_run: bool,
) -> Result<Compacted, Box<dyn Error>> {
    migrate(store).await?;
    let now = now();
    if !dry_run {
        // So that a service that keeps a schedule need not do it again.
        store.claim_compaction(now, 0).await?;
    }
    let options = RetentionOptions {
        dry_run,
        ..RetentionOptions::default()
    };
    let retention = Retention::new(store.clone(), Arc::new(catalog), options);
    let shutdown = shutdown_signal()?;
    let stop = CancellationToken::new();
    let compacting = retention.run_once(now, &stop);
    tokio::pin!(compacting);
    let compacted = tokio::select! {
        compacted = &mut compacting => compacted,
        () = shutdown => {
            stop.cancel();
            compacting.await
        }
    };
    Ok(compacted?)
}

fn sentence(compacted: &Compacted, dry_run: bool) -> String {
    let verb = if dry_run { "Would remove" } else { "Removed" };
    let end = match compacted.finished {
        true => "",
        false => "; stopped before the end",
    };
    let erased = match compacted.erased {
        0 => String::new(),
        rows => format!(", and {} of deleted accounts", counted(rows, "row")),
    };
    format!(
        "{verb} the data of {}, {} and {}{erased}{end}.\n",
        counted(compacted.versions, "old version"),
        counted(compacted.conflicts, "settled conflict"),
        counted(compacted.sides, "losing side"),
    )
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_what_went_or_would_go_and_whether_that_is_all() {
        let compacted = Compacted {
            versions: 2,
            conflicts: 1,
            sides: 0,
            erased: 0,
            finished: true,
        };
        assert_eq!(
            sentence(&compacted, false),
            "Removed the data of 2 old versions, 1 settled conflict and 0 losing sides.\n"
        );
        let stopped = Compacted {
            erased: 7,
            finished: false,
            ..compacted
        };
        assert_eq!(
            sentence(&stopped, true),
            "Would remove the data of 2 old versions, 1 settled conflict and 0 losing sides, \
             and 7 rows of deleted accounts; stopped before the end.\n"
        );
    }
}
