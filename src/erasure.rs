//! Deleting an account: a confirmation, a mark, and then every row.
//!
//! The mark counts from its commit: whatever the user's devices send or ask is refused, and streams end. The
//! rows follow in small steps beside the traffic of others. What a stop or a crash leaves of them goes with
//! the next [`crate::retention`], or when it is asked for again.

use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::domain::clock::Millis;
use crate::domain::erasure::Confirmation;
use crate::domain::scope::Scope;
use crate::error::{CallError, Fault, FieldProblem, Refusal};
use crate::feed::Feed;
use crate::store::Store;
use crate::store::export::Counts;
use crate::turns::Turns;

/// Rows of each table that go in one step: some tens of milliseconds, under the lock of a scope that nobody
/// can write any more.
pub const STEP_ROWS: i64 = 1_000;

/// Deletes accounts. Cheap to clone.
#[derive(Clone)]
pub struct Erasing {
    store: Store,
    /// Told that there is nothing to watch any more.
    feed: Feed,
    /// Deletions of one account take turns: asking often costs no more than asking once.
    turns: Turns,
    /// Work under way. Shutdown waits for it.
    tasks: TaskTracker,
}

/// What would be deleted, and how to confirm it.
#[derive(Debug)]
pub struct Offer {
    /// What would go.
    pub counts: Counts,
    /// The confirmation, as text.
    pub token: String,
    /// Until when it is good.
    pub expires: Millis,
}

impl Erasing {
    /// Work is spawned on `tasks`, deletions are told to `feed`.
    pub fn new(store: Store, feed: Feed, tasks: TaskTracker) -> Self {
        Self {
            store,
            feed,
            turns: Turns::default(),
            tasks,
        }
    }

    /// What there is of a user, and a confirmation that it is to be deleted. Deletes nothing.
    pub async fn offer(&self, scope: &Scope, now: Millis) -> Result<Offer, Fault> {
        let account = self.store.count_account(scope).await?;
        let key = self.store.cursor_key().await?;
        let confirmation = Confirmation::at(now);
        Ok(Offer {
            counts: account.counts,
            token: confirmation.encode(scope, &key),
            expires: confirmation.expires,
        })
    }

    /// Deletes the account of a user who has confirmed it; what went.
    pub async fn confirmed(
        &self,
        scope: Scope,
        token: &str,
        now: Millis,
    ) -> Result<Counts, CallError> {
        let key = self.store.cursor_key().await?;
        if !Confirmation::is_given(token, &scope, &key, now) {
            return Err(Refusal::from(FieldProblem {
                field: "confirmation_token",
                expected: "one this server gave to this user less than 10 minutes ago, or nothing",
            })
            .into());
        }
        self.erase(scope, now).await
    }

    /// Deletes an account; what went. Asking again is safe, also when nothing is left.
    ///
    /// The work runs in a task of its own. A caller that hangs up stops waiting for it, not it.
    pub async fn erase(&self, scope: Scope, now: Millis) -> Result<Counts, CallError> {
        let turn = self.turns.take(&scope).await?;
        let erasing = self.clone();
        let work = async move {
            let _turn = turn;
            if let Some(last) = erasing.store.mark_erased(&scope, now).await? {
                erasing.feed.publish(&scope, last);
            }
            let mut gone = Counts::default();
            loop {
                let step = erasing.store.erase_some(&scope, STEP_ROWS).await?;
                gone = gone.plus(step.counts);
                if step.finished {
                    tracing::info!(entities = gone.entities, "an account was deleted");
                    return Ok(gone);
                }
            }
        };
        // Without the scope: a log that is kept would say for how long who is gone.
        let task = self.tasks.spawn(
            async { work.await.inspect_err(Fault::report) }
                .instrument(tracing::info_span!("erase")),
        );
        Ok(task.await.unwrap_or_else(|error| {
            let what = "a deletion did not finish".into();
            let fault = Fault::Defect(what, Some(error.into()));
            fault.report();
            Err(fault)
        })?)
    }
}
