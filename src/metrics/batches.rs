//! Batches and what became of their items.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{Counters, Metrics, Register};
use crate::domain::answer::{Answer, Verdict};
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::decide::Resolution;
use crate::domain::entity::EntityType;
use crate::domain::item::{RejectionCode, Submission};

/// What types that the catalog does not list are called together.
const UNLISTED: &str = "unlisted";

/// What the type of an item is called that is none: who sends it can write anything there.
const UNKNOWN: &str = "unknown";

/// How often an item was sent before, at most: whatever is beyond the schedule of retries is stuck.
const RETRIES: [f64; 8] = [0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabels {
    entity_type: String,
    status: &'static str,
    resolution: &'static str,
}

/// What an item was answered: the status, and the resolution or the error code, by their names in the
/// contract.
type Settled = (&'static str, &'static str);

const OUTCOMES: [Settled; 16] = [
    ("success", "applied"),
    ("success", "client_won"),
    ("success", "resurrected"),
    ("success", "merged"),
    ("success", "unchanged"),
    ("conflict", "merged"),
    ("conflict", "server_won"),
    ("conflict", "needs_user"),
    ("error", "invalid_item"),
    ("error", "unknown_entity_type"),
    ("error", "invalid_data"),
    ("error", "too_large"),
    ("error", "read_only"),
    ("error", "quota_exceeded"),
    ("error", "group_aborted"),
    ("error", "retry_later"),
];

/// The counters of one type, made when they are first needed and reached without a lock from then on.
struct TypeCounters {
    name: String,
    outcomes: [OnceLock<Counter>; OUTCOMES.len()],
}

impl TypeCounters {
    fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcomes: Default::default(),
        }
    }
}

pub(super) struct Batches {
    items: Counters<ItemLabels>,
    types: HashMap<EntityType, TypeCounters>,
    unlisted: TypeCounters,
    unknown: TypeCounters,
    size: Histogram,
    seconds: Histogram,
    replays: Counter,
    pending: Histogram,
    retries: Histogram,
}

impl Batches {
    pub(super) fn new(register: &mut Register, catalog: &Catalog) -> Self {
        let types = catalog.types();
        Self {
            items: register.add(
                "ironflow_items",
                "Items that were answered, by entity type, status, and resolution or error code",
            ),
            types: types
                .map(|(name, _)| (name.clone(), TypeCounters::of(name.as_str())))
                .collect(),
            unlisted: TypeCounters::of(UNLISTED),
            unknown: TypeCounters::of(UNKNOWN),
            size: register.counts("ironflow_batch_items", "Items in a batch"),
            seconds: register.seconds(
                "ironflow_push_seconds",
                "How long a batch took from its turn on: lock, read, decide, write, commit",
            ),
            replays: register.add(
                "ironflow_replays",
                "Items that had become a version before and got their first answer again",
            ),
            pending: register.counts(
                "ironflow_device_pending_items",
                "Items still queued on a device behind a batch, as it says itself",
            ),
            retries: register.keep(
                "ironflow_device_retries",
                "How often a device sent the most retried item of a batch before, as it says itself",
                Histogram::new(RETRIES),
            ),
        }
    }

    fn counters(&self, submission: &Submission) -> &TypeCounters {
        match &submission.item {
            Ok(item) => {
                let listed = self.types.get(&item.key.entity_type);
                listed.unwrap_or(&self.unlisted)
            }
            Err(_) => &self.unknown,
        }
    }

    fn count(&self, counters: &TypeCounters, settled: Settled) {
        let place = OUTCOMES.iter().position(|outcome| *outcome == settled);
        let Some(counter) = place.and_then(|place| counters.outcomes.get(place)) else {
            return;
        };
        let made = || {
            self.items.get_or_create_owned(&ItemLabels {
                entity_type: counters.name.clone(),
                status: settled.0,
                resolution: settled.1,
            })
        };
        counter.get_or_init(made).inc();
    }
}

impl Metrics {
    /// A device says how many items it still has queued, and how often it has sent each of these before.
    pub fn queue_reported(&self, pending: i32, retries: impl Iterator<Item = i32>) {
        let batches = &self.0.batches;
        batches.pending.observe(f64::from(pending.max(0)));
        let most = retries.max().unwrap_or_default();
        batches.retries.observe(f64::from(most.max(0)));
    }

    /// A batch that arrived at `now` was settled, which took so long.
    pub fn batch_settled(
        &self,
        batch: &[Submission],
        answers: &[Answer],
        now: Millis,
        took: Duration,
    ) {
        let batches = &self.0.batches;
        batches.size.observe(batch.len() as f64);
        batches.seconds.observe(took.as_secs_f64());
        let mut replays = 0;
        for (submission, answer) in batch.iter().zip(answers) {
            batches.count(batches.counters(submission), settled(answer));
            replays += u64::from(is_replay(answer, now));
        }
        batches.replays.inc_by(replays);
    }
}

/// Whether an item was written by an earlier batch: what this one wrote, it wrote now.
fn is_replay(answer: &Answer, now: Millis) -> bool {
    match answer {
        Answer::Written { written, .. } => written.at != now,
        Answer::Unchanged { .. } | Answer::Conflict(_) | Answer::Rejected(_) => false,
    }
}

fn settled(answer: &Answer) -> Settled {
    match answer {
        Answer::Written { written, .. } => match written.resolution {
            Resolution::Applied => ("success", "applied"),
            Resolution::ClientWon => ("success", "client_won"),
            Resolution::Resurrected => ("success", "resurrected"),
            Resolution::Merged => ("success", "merged"),
        },
        Answer::Unchanged { .. } => ("success", "unchanged"),
        Answer::Conflict(conflicting) => match conflicting.verdict {
            Verdict::Merged => ("conflict", "merged"),
            Verdict::ServerWon => ("conflict", "server_won"),
            Verdict::NeedsUser => ("conflict", "needs_user"),
        },
        Answer::Rejected(rejection) => match rejection.code {
            RejectionCode::InvalidItem => ("error", "invalid_item"),
            RejectionCode::UnknownEntityType => ("error", "unknown_entity_type"),
            RejectionCode::InvalidData => ("error", "invalid_data"),
            RejectionCode::TooLarge => ("error", "too_large"),
            RejectionCode::ReadOnly => ("error", "read_only"),
            RejectionCode::QuotaExceeded => ("error", "quota_exceeded"),
            RejectionCode::GroupAborted => ("error", "group_aborted"),
            RejectionCode::RetryLater => ("error", "retry_later"),
        },
    }
}
