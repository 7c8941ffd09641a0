//! One batch: lock the scope, read, plan, write, wake, answer. What a person decides about a conflict
//! or an old version ([`resolve`]) goes the same way.

pub mod resolve;

use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, field};

use crate::domain::answer::Answer;
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::entity::MutationId;
use crate::domain::item::{Item, Submission};
use crate::domain::plan::{BatchContext, Plan, plan};
use crate::domain::scope::{DeviceId, Scope};
use crate::error::Fault;
use crate::feed::Feed;
use crate::store::Store;
use crate::store::batch::{Author, Batch};
use crate::store::device::DeviceInfo;
use crate::turns::Turns;

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
}

impl Push {
    /// Work is spawned on `tasks`, commits are told to `feed`.
    pub fn new(store: Store, feed: Feed, tasks: TaskTracker, rules: PushRules) -> Self {
        Self {
            store,
            feed,
            turns: Turns::default(),
            tasks,
            rules,
        }
    }

    /// Decides a batch and writes what it decided: completely or not at all.
    ///
    /// The work runs in a task of its own. A caller that hangs up stops waiting for it, not it.
    pub async fn run(&self, request: PushRequest) -> Result<PushResponse, Fault> {
        let span = tracing::info_span!(
            "sync",
            scope = %request.scope,
            device = request.device.as_str(),
            items = request.batch.len(),
            applied = field::Empty,
            unchanged = field::Empty,
            conflicts = field::Empty,
            errors = field::Empty,
            duration_ms = field::Empty,
        );
        let push = self.clone();
        let work = async move {
            let begun = Instant::now();
            let result = push.settle(&request).await;
            Span::current().record("duration_ms", begun.elapsed().as_millis() as u64);
            match &result {
                Ok(answers) => report(answers),
                Err(fault) => fault.report(),
            }
            let answers = result?;
            let mutations = request.batch.iter().map(mutation).collect();
            Ok(PushResponse { answers, mutations })
        };
        self.in_a_task(work.instrument(span)).await
    }

    /// Runs work that its caller can not stop half way.
    async fn in_a_task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let task = self.tasks.spawn(work);
        task.await.unwrap_or_else(|error| {
            let fault = Fault::Defect("a push did not finish".into(), Some(error.into()));
            fault.report();
            Err(fault)
        })
    }

    async fn settle(&self, request: &PushRequest) -> Result<Vec<Answer>, Fault> {
        let context = self.context(&request.device, request.now);
        let items: Vec<&Item> = request
            .batch
            .iter()
            .filter_map(|submission| submission.item.as_ref().ok())
            .collect();
        let _turn = self.turns.take(&request.scope).await?;
        let batch = self.store.begin(&request.scope).await?;
        let snapshot = batch
            .read(&items, &request.device, &context.catalog)
            .await?;
        let plan = plan(&snapshot, &request.batch, &context);
        if request.validate_only {
            batch.discard().await?;
        } else {
            let author = Author {
                device: &request.device,
                info: &request.info,
                now: request.now,
            };
            self.commit(batch, &request.scope, &plan, &author).await?;
        }
        Ok(plan.answers)
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

    /// Writes a plan, and wakes those who watch.
    async fn commit(
        &self,
        batch: Batch<'_>,
        scope: &Scope,
        plan: &Plan,
        author: &Author<'_>,
    ) -> Result<(), Fault> {
        let before = batch.revision();
        batch.write(plan, author).await?;
        if plan.last_revision != before {
            self.feed.publish(scope, plan.last_revision);
        }
        Ok(())
    }
}

fn mutation(submission: &Submission) -> Option<MutationId> {
    submission.item.as_ref().ok().map(|item| item.mutation)
}

/// Counts the answers into the call's span, and says that it is done.
fn report(answers: &[Answer]) {
    let count = |kind: fn(&Answer) -> bool| answers.iter().filter(|answer| kind(answer)).count();
    Span::current()
        .record("applied", count(|a| matches!(a, Answer::Written { .. })))
        .record(
            "unchanged",
            count(|a| matches!(a, Answer::Unchanged { .. })),
        )
        .record("conflicts", count(|a| matches!(a, Answer::Conflict(_))))
        .record("errors", count(|a| matches!(a, Answer::Rejected(_))));
    tracing::info!("batch settled");
}
