//! Batches at work: those nothing stands in the way of in one go, the others one by one.

use std::mem;
use std::time::Instant;

use tracing::{Instrument, Span};

use super::line::{Line, Waiting};
use super::{Push, PushRequest, PushResponse, report};
use crate::domain::answer::Answer;
use crate::domain::entity::MutationId;
use crate::domain::item::{Item, Submission};
use crate::domain::plan::{Uncontested, plan, plan_uncontested};
use crate::domain::scope::Scope;
use crate::domain::standing::{Standing, Wanted, admit};
use crate::domain::version::Revision;
use crate::error::{CallError, Fault};
use crate::places::{Work, WritingPlace};
use crate::store::batch::Offer;
use crate::turns::Turn;

/// What became of a batch that was to be written at once; `None`: nothing yet.
type AtOnce = Option<Result<Vec<Answer>, CallError>>;

impl Push {
    /// Settles those who are first in the lines that have been ready for longest, and then those who have come to the
    /// same lines meanwhile, until nobody has, or others are ready or wait for a turn or a place.
    pub(super) async fn settle_next(&self, place: WritingPlace) {
        let mut lines = self.lines.take();
        let mut settled = Vec::new();
        while !lines.is_empty() {
            let begun = Instant::now();
            for waiting in lines.iter().flat_map(|line| &line.waiting) {
                waiting.span.in_scope(report::attempt);
            }
            // Those of the round before have their answers while Postgres writes these.
            let before = mem::take(&mut settled);
            let answering = async { self.answer_all(before) };
            let (at_once, ()) = tokio::join!(self.settle_at_once(&lines), answering);
            let mut at_once = at_once.into_iter();
            let mut turns = Vec::new();
            for Line {
                scope,
                turn,
                waiting,
            } in lines
            {
                let mut alone = Vec::new();
                for (waiting, answers) in waiting.into_iter().zip(&mut at_once) {
                    match answers {
                        Some(answers) => settled.push((waiting, answers, begun)),
                        None => alone.push(waiting),
                    }
                }
                if alone.is_empty() {
                    turns.push((scope, turn));
                } else {
                    let push = self.clone();
                    self.tasks
                        .spawn(async move { push.settle_alone(&scope, turn, alone, begun).await });
                }
            }
            // Those behind them need not wait until all have their answers.
            lines = match self.places.are_wanted() {
                true => Vec::new(),
                false => self.lines.go_on(turns),
            };
        }
        drop(place);
        self.answer_all(settled);
    }

    /// Settles batches of one scope, one after the other. Its turn ends when they are.
    async fn settle_alone(&self, scope: &Scope, turn: Turn, batches: Vec<Waiting>, begun: Instant) {
        let place = self.places.take_soon(scope, Work::Other).await;
        for waiting in batches {
            let span = waiting.span.clone();
            let work = async {
                let settled = match &place {
                    Ok(_) => self.settle_contested(&waiting.request).await,
                    Err(refusal) => Err(refusal.clone().into()),
                };
                self.answer(waiting, settled, begun);
            };
            work.instrument(span).await;
        }
        drop(turn);
    }

    fn answer_all(&self, settled: Vec<(Waiting, Result<Vec<Answer>, CallError>, Instant)>) {
        for (waiting, answers, begun) in settled {
            let span = waiting.span.clone();
            span.in_scope(|| self.answer(waiting, answers, begun));
        }
    }

    /// Tells what became of a batch: its caller, the log and the metrics.
    fn answer(&self, waiting: Waiting, settled: Result<Vec<Answer>, CallError>, begun: Instant) {
        let took = begun.elapsed();
        let request = &waiting.request;
        let settled = settled.map(|answers| {
            if !request.validate_only {
                self.metrics
                    .batch_settled(&request.batch, &answers, request.now, took);
            }
            report::success(&request.batch, &answers, took);
            let mutations = request.batch.iter().map(mutation).collect();
            PushResponse { answers, mutations }
        });
        let settled = settled.inspect_err(|error| {
            Span::current().record("duration_ms", took.as_millis() as u64);
            report::failure(error);
        });
        // Whoever has hung up does not hear of it.
        drop(waiting.answer.send(settled));
    }

    /// Writes in one transaction all batches that nothing stands in the way of, and wakes those who watch: what
    /// became of each batch. After an error none of them is written, or all are and will be recognised.
    async fn settle_at_once(&self, lines: &[Line]) -> Vec<AtOnce> {
        let batches = || lines.iter().flat_map(|line| &line.waiting);
        let planned: Vec<Option<Uncontested<'_>>> = batches()
            .map(|waiting| self.uncontested(&waiting.request))
            .collect();
        let offers = batches().zip(&planned);
        let offers: Vec<Offer<'_>> = offers
            .filter_map(|(waiting, planned)| Some(self.offer(&waiting.request, planned.as_ref()?)))
            .collect();
        let mut written = match self.store.write_uncontested(&offers).await {
            Ok(written) => written.into_iter(),
            // All have waited for the same, and it is out of reach for all.
            Err(Fault::Unavailable(cause)) => {
                let fault = || Fault::Unavailable(cause.to_string().into());
                let unavailable = |planned: Option<_>| planned.map(|_| Err(fault().into()));
                return planned.into_iter().map(unavailable).collect();
            }
            // One of them is the cause, and shows it alone.
            Err(Fault::Defect(..)) => return planned.iter().map(|_| None).collect(),
        };
        let at_once = batches().zip(planned).map(|(waiting, planned)| {
            let planned = planned?;
            let last_revision: Revision = written.next()??;
            self.feed.publish(&waiting.request.scope, last_revision);
            Some(Ok(planned.answers))
        });
        at_once.collect()
    }

    /// Settles a batch whose items may meet something: reads what they name, decides, and writes.
    async fn settle_contested(&self, request: &PushRequest) -> Result<Vec<Answer>, CallError> {
        let batch = self.store.begin(&request.scope).await?;
        let context = self.context(&request.device, request.now);
        let items: Vec<&Item> = request
            .batch
            .iter()
            .filter_map(|submission| submission.item.as_ref().ok())
            .collect();
        // Under the lock, so that of two copies of a device only one is the first.
        let stands = batch.read_standing(&request.device);
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
        let wanted = Wanted::Write(request.mark);
        let is_refused = admit(&Standing::CLEAR, wanted, &request.gate, request.now).is_err();
        if request.validate_only || is_refused {
            return None;
        }
        let context = self.context(&request.device, request.now);
        plan_uncontested(&request.batch, &context)
    }

    fn offer<'a>(&self, request: &'a PushRequest, planned: &'a Uncontested<'a>) -> Offer<'a> {
        let entities_max = self.rules.account_entities_max;
        Offer {
            scope: &request.scope,
            gate: &request.gate,
            author: self.author(&request.device, &request.info, request.mark, request.now),
            planned,
            entities_max: entities_max.try_into().unwrap_or(i64::MAX),
        }
    }
}

fn mutation(submission: &Submission) -> Option<MutationId> {
    submission.item.as_ref().ok().map(|item| item.mutation)
}
