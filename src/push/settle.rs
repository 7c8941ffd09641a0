//! Batches at work: those nothing stands in the way of in one go, the others one by one.

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
use crate::store::batch::{Offer, Writer, Written};
use crate::turns::Turn;

/// What became of a batch, and the scope's revision with it.
type Outcome = Result<(Vec<Answer>, Revision), CallError>;

/// A batch that was settled, and since when.
type Entry = (Waiting, Outcome, Instant);

/// Batches that were settled together. They are answered once what was written is committed.
struct Round<'w> {
    /// Until it is known whether it counts.
    written: Option<Written<'w>>,
    /// Whether more can be written.
    is_sound: bool,
    settled: Vec<Entry>,
    /// Those that end with it.
    turns: Vec<(Scope, Turn)>,
}

impl Round<'_> {
    /// Waits until what was written counts.
    async fn committed(&mut self) {
        let Some(written) = self.written.take() else {
            return;
        };
        if let Err(fault) = written.committed().await {
            self.is_sound = false;
            for (_, outcome, _) in &mut self.settled {
                if outcome.is_ok() {
                    *outcome = Err(same(&fault).into());
                }
            }
        }
    }
}

impl Push {
    /// Settles those who are first in the lines that have been ready for longest, and then those who have come to the
    /// same lines meanwhile, until nobody has, or others are ready or wait for a turn or a place.
    pub(super) async fn settle_next(&self, place: WritingPlace) {
        // Who waits for the connection may still leave.
        let writer = self.store.writer().await;
        let mut lines = self.lines.take();
        let mut last: Option<Round<'_>> = None;
        while !lines.is_empty() {
            let begun = Instant::now();
            for waiting in lines.iter().flat_map(|line| &line.waiting) {
                waiting.span.in_scope(report::attempt);
            }
            // Those of the round before have their answers while Postgres writes these.
            let answering = self.finish(last.take());
            let at_once = self.settle_at_once(writer.as_ref(), &lines);
            let ((written, at_once), ()) = tokio::join!(at_once, answering);
            let mut at_once = at_once.into_iter();
            let (mut settled, mut turns) = (Vec::new(), Vec::new());
            for Line {
                scope,
                turn,
                waiting,
            } in lines
            {
                let mut alone = Vec::new();
                for (waiting, outcome) in waiting.into_iter().zip(&mut at_once) {
                    match outcome {
                        Some(outcome) => settled.push((waiting, outcome, begun)),
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
            let batches = settled.len();
            let mut round = Round {
                is_sound: written.is_some(),
                written,
                settled,
                turns,
            };
            // Postgres has the next while it commits these, unless they are so few that more are worth the wait.
            lines = self.next_after(&mut round, batches.div_ceil(2));
            if lines.is_empty() {
                round.committed().await;
                lines = self.next_after(&mut round, 1);
            }
            last = Some(round);
        }
        // It is committed.
        let last = last.map(|last| (last.is_sound, last.settled, last.turns));
        let Some((is_sound, settled, turns)) = last else {
            return;
        };
        // Whoever has the place next finds the connection.
        match writer {
            Ok(writer) if is_sound => writer.close(),
            writer => drop(writer),
        }
        drop(place);
        self.answer_all(settled, turns);
    }

    /// Those who have come to the lines of a round meanwhile, if they are so many and nobody else waits.
    fn next_after(&self, round: &mut Round<'_>, batches_min: usize) -> Vec<Line> {
        let somebody_waits = self.places.are_wanted() || self.store.usage().waiting > 0;
        if !round.is_sound || somebody_waits {
            return Vec::new();
        }
        self.lines.go_on(&mut round.turns, batches_min)
    }

    /// Answers those who were settled together, once what was written counts.
    async fn finish(&self, round: Option<Round<'_>>) {
        if let Some(mut round) = round {
            round.committed().await;
            self.answer_all(round.settled, round.turns);
        }
    }

    /// Ends turns, wakes those who watch, and answers.
    fn answer_all(&self, settled: Vec<Entry>, turns: Vec<(Scope, Turn)>) {
        drop(turns);
        for (waiting, outcome, begun) in settled {
            let settled = outcome.map(|(answers, last_revision)| {
                self.feed.publish(&waiting.request.scope, last_revision);
                answers
            });
            let span = waiting.span.clone();
            span.in_scope(|| self.answer(waiting, settled, begun));
        }
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

    /// Writes in one transaction all batches that nothing stands in the way of: what became of each, once that is
    /// committed; `None`: nothing yet. After an error none of them is written, or all are and will be recognised.
    async fn settle_at_once<'w>(
        &self,
        writer: Result<&'w Writer, &Fault>,
        lines: &[Line],
    ) -> (Option<Written<'w>>, Vec<Option<Outcome>>) {
        let batches = || lines.iter().flat_map(|line| &line.waiting);
        let planned: Vec<Option<Uncontested<'_>>> = batches()
            .map(|waiting| self.uncontested(&waiting.request))
            .collect();
        let offers = batches().zip(&planned);
        let offers: Vec<Offer<'_>> = offers
            .filter_map(|(waiting, planned)| Some(self.offer(&waiting.request, planned.as_ref()?)))
            .collect();
        let written = match writer {
            Ok(writer) => writer.write(&offers).await,
            Err(fault) => Err(same(fault)),
        };
        match written {
            Ok(written) => {
                let mut revisions = written.revisions.iter();
                let outcome = |planned: Option<Uncontested<'_>>| {
                    let planned = planned?;
                    let last_revision = (*revisions.next()?)?;
                    Some(Ok((planned.answers, last_revision)))
                };
                let outcomes = planned.into_iter().map(outcome).collect();
                (Some(written), outcomes)
            }
            // All have waited for the same, and it is out of reach for all.
            Err(fault @ Fault::Unavailable(_)) => {
                let unavailable = |planned: Option<_>| planned.map(|_| Err(same(&fault).into()));
                (None, planned.into_iter().map(unavailable).collect())
            }
            // One of them is the cause, and shows it alone.
            Err(Fault::Defect(..)) => (None, planned.iter().map(|_| None).collect()),
        }
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

/// A fault of several batches, for one of them.
fn same(fault: &Fault) -> Fault {
    match fault {
        Fault::Unavailable(cause) => Fault::Unavailable(cause.to_string().into()),
        Fault::Defect(text, cause) => {
            let cause = cause.as_ref().map(|cause| cause.to_string().into());
            Fault::Defect(text.clone(), cause)
        }
    }
}

fn mutation(submission: &Submission) -> Option<MutationId> {
    submission.item.as_ref().ok().map(|item| item.mutation)
}
