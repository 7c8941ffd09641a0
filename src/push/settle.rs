//! Batches at work: those nothing stands in the way of in one go, the others one by one.

use std::time::Instant;

use tracing::{Instrument, Span};

use super::line::Waiting;
use super::{Push, PushRequest, PushResponse, report};
use crate::domain::answer::Answer;
use crate::domain::entity::MutationId;
use crate::domain::item::{Item, Submission};
use crate::domain::plan::{Uncontested, plan, plan_uncontested};
use crate::domain::scope::Scope;
use crate::domain::standing::{Standing, Wanted, admit};
use crate::error::{CallError, Fault};
use crate::store::batch::{Batch, Offer, Taken};

impl Push {
    /// Settles the batches that are first in a scope's line. It is their turn.
    pub(super) async fn settle_line(&self, scope: &Scope) {
        let line = self.lines.take(scope);
        let begun = Instant::now();
        let mut together: Vec<Option<Result<Vec<Answer>, CallError>>> = match line.len() {
            0 | 1 => Vec::new(),
            _ => match self.settle_together(scope, &line).await {
                Ok(settled) => settled.into_iter().map(|one| one.map(Ok)).collect(),
                // All have waited for the same, and it is out of reach for all.
                Err(CallError::Failed(Fault::Unavailable(cause))) => {
                    let fault = || Fault::Unavailable(cause.to_string().into());
                    line.iter().map(|_| Some(Err(fault().into()))).collect()
                }
                // One of them is the cause, and shows it alone.
                Err(CallError::Failed(Fault::Defect(..)) | CallError::Refused(_)) => Vec::new(),
            },
        };
        together.resize_with(line.len(), || None);
        let mut alone = Vec::new();
        for (waiting, settled) in line.into_iter().zip(together) {
            let span = waiting.span.clone();
            span.in_scope(report::attempt);
            match settled {
                Some(settled) => span.in_scope(|| self.answer(waiting, settled, begun)),
                None => alone.push(waiting),
            }
        }
        for waiting in alone {
            let span = waiting.span.clone();
            let work = async {
                let settled = self.settle(&waiting.request).await;
                self.answer(waiting, settled, begun);
            };
            work.instrument(span).await;
        }
    }

    /// Tells what became of a batch: its caller, the log and the metrics.
    fn answer(&self, waiting: Waiting, settled: Result<Vec<Answer>, CallError>, begun: Instant) {
        let took = begun.elapsed();
        Span::current().record("duration_ms", took.as_millis() as u64);
        let request = &waiting.request;
        let settled = settled.map(|answers| {
            if !request.validate_only {
                self.metrics
                    .batch_settled(&request.batch, &answers, request.now, took);
            }
            report::success(&request.batch, &answers);
            let mutations = request.batch.iter().map(mutation).collect();
            PushResponse { answers, mutations }
        });
        let settled = settled.inspect_err(report::failure);
        // Whoever has hung up does not hear of it.
        drop(waiting.answer.send(settled));
    }

    /// Settles in one transaction all batches that nothing stands in the way of: their answers; `None` for the
    /// others. After an error none of them is settled, or all are and will be recognised.
    async fn settle_together(
        &self,
        scope: &Scope,
        line: &[Waiting],
    ) -> Result<Vec<Option<Vec<Answer>>>, CallError> {
        let requests = line.iter().map(|waiting| &waiting.request);
        let planned: Vec<Option<Uncontested<'_>>> =
            requests.map(|request| self.uncontested(request)).collect();
        let offered: Vec<(&PushRequest, &Uncontested<'_>)> = line
            .iter()
            .zip(&planned)
            .filter_map(|(waiting, planned)| Some((&waiting.request, planned.as_ref()?)))
            .collect();
        if offered.len() < 2 {
            return Ok(Vec::new());
        }
        let mut written = self.write_together(scope, &offered).await?.into_iter();
        let answers = planned.into_iter().map(|planned| {
            let planned = planned?;
            written.next()?.then_some(planned.answers)
        });
        Ok(answers.collect())
    }

    /// Writes batches in one transaction; which of them were written, and which something stands in the way of.
    async fn write_together(
        &self,
        scope: &Scope,
        offered: &[(&PushRequest, &Uncontested<'_>)],
    ) -> Result<Vec<bool>, CallError> {
        let offers = offered.iter();
        let offers: Vec<Offer<'_>> = offers
            .map(|(request, planned)| self.offer(request, planned))
            .collect();
        let (batch, taken) = self.store.begin_with(scope, &offers).await?;
        let mut pairs = offered.iter().zip(&taken);
        if !pairs.all(|((request, _), taken)| !taken.is_written() || admits(request, taken)) {
            // Who may not write must not have written; each hears that alone.
            batch.discard().await?;
            return Ok(Vec::new());
        }
        batch.commit().await?;
        let last = taken.iter().filter_map(|taken| taken.last_revision).max();
        if let Some(last) = last {
            self.feed.publish(scope, last);
        }
        Ok(taken.iter().map(Taken::is_written).collect())
    }

    /// Settles one batch.
    async fn settle(&self, request: &PushRequest) -> Result<Vec<Answer>, CallError> {
        let Some(planned) = self.uncontested(request) else {
            let batch = self.store.begin(&request.scope).await?;
            return self.settle_contested(request, batch, None).await;
        };
        let offer = self.offer(request, &planned);
        let scope = &request.scope;
        let (batch, taken) = self.store.begin_with(scope, &[offer]).await?;
        let Some(taken) = taken.into_iter().next() else {
            return self.settle_contested(request, batch, None).await;
        };
        let Some(last_revision) = taken.last_revision else {
            let standing = Some(taken.standing);
            return self.settle_contested(request, batch, standing).await;
        };
        let wanted = Wanted::Write(request.mark);
        if let Err(problem) = admit(&taken.standing, wanted, &request.gate, request.now) {
            return Err(batch.refuse(problem).await);
        }
        batch.commit().await?;
        self.feed.publish(scope, last_revision);
        Ok(planned.answers)
    }

    /// Settles a batch whose items may meet something: reads what they name, decides, and writes. `standing`: of
    /// its device, if it is known already.
    async fn settle_contested(
        &self,
        request: &PushRequest,
        batch: Batch<'_>,
        standing: Option<Standing>,
    ) -> Result<Vec<Answer>, CallError> {
        let context = self.context(&request.device, request.now);
        let items: Vec<&Item> = request
            .batch
            .iter()
            .filter_map(|submission| submission.item.as_ref().ok())
            .collect();
        let stands = async {
            match standing {
                Some(standing) => Ok(standing),
                // Under the lock, so that of two copies of a device only one is the first.
                None => batch.read_standing(&request.device).await,
            }
        };
        let read = batch.read(&items, &request.device, &context.catalog);
        let (standing, mut snapshot) = tokio::try_join!(stands, read)?;
        let wanted = Wanted::Write(request.mark);
        if let Err(problem) = admit(&standing, wanted, &request.gate, request.now) {
            return Err(batch.refuse(problem).await);
        }
        snapshot.room = Some(batch.room(self.rules.account_entities_max));
        let mut plan = plan(&snapshot, &request.batch, &context);
        if standing.has_counted(request.mark) {
            plan = plan.repeated(&snapshot, &request.batch);
        }
        if request.validate_only {
            batch.discard().await?;
        } else {
            let author = self.author(&request.device, &request.info, request.mark, request.now);
            self.commit(batch, &request.scope, &plan, &author).await?;
        }
        Ok(plan.answers)
    }

    fn uncontested<'a>(&self, request: &'a PushRequest) -> Option<Uncontested<'a>> {
        if request.validate_only {
            return None;
        }
        let context = self.context(&request.device, request.now);
        plan_uncontested(&request.batch, &context)
    }

    fn offer<'a>(&self, request: &'a PushRequest, planned: &'a Uncontested<'a>) -> Offer<'a> {
        let entities_max = self.rules.account_entities_max;
        Offer {
            author: self.author(&request.device, &request.info, request.mark, request.now),
            planned,
            entities_max: entities_max.try_into().unwrap_or(i64::MAX),
        }
    }
}

fn admits(request: &PushRequest, taken: &Taken) -> bool {
    let wanted = Wanted::Write(request.mark);
    admit(&taken.standing, wanted, &request.gate, request.now).is_ok()
}

fn mutation(submission: &Submission) -> Option<MutationId> {
    submission.item.as_ref().ok().map(|item| item.mutation)
}
