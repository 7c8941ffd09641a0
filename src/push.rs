//! One batch: lock the scope, read, plan, write, wake, answer. What a person decides about a conflict
//! or an old version ([`resolve`]) goes the same way, and so does revoking a device ([`revoke`]).

mod line;
mod report;
pub mod resolve;
pub mod revoke;
mod settle;

use std::error::Error;
use std::sync::Arc;

use line::Lines;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, field};

use crate::domain::answer::Answer;
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::entity::MutationId;
use crate::domain::item::Submission;
use crate::domain::plan::{BatchContext, Plan};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::{BatchMark, Gate};
use crate::error::{CallError, Fault, Refusal};
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::places::{Place, Places, Work};
use crate::store::Store;
use crate::store::batch::{Author, Batch, Recorded};
use crate::store::device::DeviceInfo;
use crate::trace::traced;
use crate::turns::{Turn, Turns};

/// A batch, ready to be decided.
#[derive(Debug)]
pub struct PushRequest {
    /// Whose data.
    pub scope: Scope,
    /// The device that sends.
    pub device: DeviceId,
    /// What it says of itself.
    pub info: DeviceInfo,
    /// The items, in the order sent.
    pub batch: Vec<Submission>,
    /// Which of the device's batches this is; `None`: it does not count them.
    pub mark: Option<BatchMark>,
    /// Whether a subscription is needed.
    pub gate: Gate,
    /// Decide and answer, but write nothing.
    pub validate_only: bool,
    /// The server's clock on arrival.
    pub now: Millis,
}

/// What came of a batch.
#[derive(Debug)]
pub struct PushResponse {
    /// One per item, in the order sent.
    pub answers: Vec<Answer>,
    /// The id of each valid item's edit, sent or derived.
    pub mutations: Vec<Option<MutationId>>,
}

/// Pushes batches.
#[derive(Clone)]
pub struct Push {
    store: Store,
    /// Told of every commit.
    feed: Feed,
    turns: Turns,
    /// Batches that wait for a turn.
    lines: Lines,
    places: Places,
    metrics: Metrics,
    /// Work under way. Shutdown waits for it.
    tasks: TaskTracker,
    rules: PushRules,
}

/// What holds for all pushes.
#[derive(Debug, Clone)]
pub struct PushRules {
    /// The entity types.
    pub catalog: Arc<Catalog>,
    /// See [`BatchContext::item_bytes_max`].
    pub item_bytes_max: usize,
    /// See [`BatchContext::copy_bytes_max`].
    pub copy_bytes_max: usize,
    /// Devices a user may have.
    pub account_devices_max: usize,
    /// Entities a user may have, deleted ones included.
    pub account_entities_max: usize,
}

impl Push {
    /// Work is done in `places` and spawned on `tasks`, commits are told to `feed`, batches to `metrics`.
    pub fn new(
        store: Store,
        feed: Feed,
        places: Places,
        metrics: Metrics,
        tasks: TaskTracker,
        rules: PushRules,
    ) -> Self {
        Self {
            store,
            feed,
            turns: Turns::default(),
            lines: Lines::default(),
            places,
            metrics,
            tasks,
            rules,
        }
    }

    /// Decides a batch and writes what it decided: completely or not at all.
    ///
    /// Once it is its turn the work runs in a task of its own. A caller that hangs up then stops waiting
    /// for it, not it; before, nothing has begun, and nothing stays behind.
    pub async fn run(&self, request: PushRequest) -> Result<PushResponse, CallError> {
        let span = traced(tracing::info_span!(
            "sync",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
            items = request.batch.len(),
            validate_only = request.validate_only,
            applied = field::Empty,
            unchanged = field::Empty,
            conflicts = field::Empty,
            errors = field::Empty,
            duration_ms = field::Empty,
        ));
        let scope = request.scope.clone();
        let mut caller = self.lines.join(request, span);
        let refused = loop {
            // Whoever has the turn sees to it that all who are in line then are settled, this batch among them.
            let settling = async {
                let turn = self.turns.take_in_line(&scope).await?;
                self.see_settled(&scope, turn).await
            };
            tokio::select! {
                biased;
                settled = &mut caller.answer => return settled.unwrap_or_else(unfinished),
                settled = settling => if let Err(refusal) = settled {
                    break refusal;
                },
            }
        };
        if caller.leave() {
            return Err(refused.into());
        }
        (&mut caller.answer).await.unwrap_or_else(unfinished)
    }

    /// Sees to it that those who are first in a scope's line are settled. It is their turn.
    async fn see_settled(&self, scope: &Scope, turn: Turn) -> Result<(), Refusal> {
        let entered = self.lines.enter(scope, turn);
        while entered.is_waiting() {
            let place = self.places.take_to_write(scope).await?;
            // Somebody with a place may have taken them along.
            if entered.is_waiting() {
                let push = self.clone();
                let work = async move {
                    push.settle_next(place).await;
                };
                // If it does not finish, nor do its batches.
                let _ = self.tasks.spawn(work).await;
            }
        }
        Ok(())
    }

    /// Waits for the scope's turn, and then for a place: whoever waits for a turn needs no place.
    async fn turn(&self, scope: &Scope) -> Result<(Turn, Place), Refusal> {
        let turn = self.turns.take(scope).await?;
        let place = self.places.take_soon(scope, Work::Other).await?;
        Ok((turn, place))
    }

    /// Waits for the scope's turn and for a place, then runs work that its caller cannot stop half way.
    /// What it is refused for and faults are logged, also those nobody waits for any more.
    async fn in_turn<T: Send + 'static>(
        &self,
        scope: &Scope,
        span: Span,
        work: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        let turn = self.turn(scope).await?;
        let work = async move {
            let result = work.await.inspect_err(report::failure);
            drop(turn);
            result
        };
        let task = self.tasks.spawn(work.instrument(span));
        task.await.unwrap_or_else(unfinished)
    }

    fn context(&self, device: &DeviceId, now: Millis) -> BatchContext {
        BatchContext {
            device: device.clone(),
            now,
            catalog: self.rules.catalog.clone(),
            item_bytes_max: self.rules.item_bytes_max,
            copy_bytes_max: self.rules.copy_bytes_max,
        }
    }

    fn author<'a>(
        &self,
        device: &'a DeviceId,
        info: &'a DeviceInfo,
        mark: Option<BatchMark>,
        now: Millis,
    ) -> Author<'a> {
        Author {
            device,
            info,
            now,
            mark,
            devices_max: self
                .rules
                .account_devices_max
                .try_into()
                .unwrap_or(i64::MAX),
        }
    }

    /// Writes a plan, and wakes those who watch; or nothing, if the device is one too many.
    async fn commit(
        &self,
        batch: Batch<'_>,
        scope: &Scope,
        plan: &Plan,
        author: &Author<'_>,
    ) -> Result<(), CallError> {
        let before = batch.revision();
        match batch.write(plan, author).await? {
            Recorded::Known => (),
            Recorded::OneTooMany => {
                let limit = self.rules.account_devices_max;
                return Err(Refusal::TooManyDevices { limit }.into());
            }
        }
        if plan.last_revision != before {
            self.feed.publish(scope, plan.last_revision);
        }
        Ok(())
    }
}

/// What became of work that ended in the middle.
fn unfinished<T>(error: impl Into<Box<dyn Error + Send + Sync>>) -> Result<T, CallError> {
    let fault = Fault::Defect("a push did not finish".into(), Some(error.into()));
    fault.report();
    Err(fault.into())
}
