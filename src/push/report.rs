//! What the log tells of a batch: `sync_attempt`, `sync_conflict`, `sync_success`.

use std::time::Duration;

use tracing::Span;

use crate::domain::answer::{Answer, Verdict};
use crate::domain::item::Submission;
use crate::error::CallError;

/// Conflicts of a batch that are told one by one; all are counted.
const CONFLICTS_TOLD_MAX: usize = 20;

/// It is a batch's turn.
pub(super) fn attempt() {
    tracing::debug!("sync_attempt");
}

/// It was refused, or something failed: also told if nobody waits for it any more.
pub(super) fn failure(error: &CallError) {
    match error {
        CallError::Refused(refusal) => tracing::info!(why = %refusal, "refused"),
        CallError::Failed(fault) => fault.report(),
    }
}

/// A batch was settled in this time: each conflict, and then that it is done, with its counts in the call's span.
pub(super) fn success(batch: &[Submission], answers: &[Answer], took: Duration) {
    let count = |kind: fn(&Answer) -> bool| answers.iter().filter(|answer| kind(answer)).count();
    // Recorded one by one they would be written to the log's text of the span as often.
    tracing::record_all!(
        Span::current(),
        applied = count(|a| matches!(a, Answer::Written { .. })),
        unchanged = count(|a| matches!(a, Answer::Unchanged { .. })),
        conflicts = count(|a| matches!(a, Answer::Conflict(_))),
        errors = count(|a| matches!(a, Answer::Rejected(_))),
        duration_ms = took.as_millis() as u64
    );
    let conflicts = batch
        .iter()
        .zip(answers)
        .filter_map(|(submission, answer)| {
            let Answer::Conflict(conflicting) = answer else {
                return None;
            };
            Some((submission.item.as_ref().ok()?, conflicting))
        });
    for (item, conflicting) in conflicts.take(CONFLICTS_TOLD_MAX) {
        let resolution = match conflicting.verdict {
            Verdict::Merged => "merged",
            Verdict::ServerWon => "server_won",
            Verdict::NeedsUser => "needs_user",
        };
        tracing::info!(
            entity_type = %item.key.entity_type,
            entity = %item.key.log_name(),
            client_version = item.base.number(),
            server_version = conflicting.copy.version.number(),
            resolution,
            "sync_conflict"
        );
    }
    tracing::info!("sync_success");
}
