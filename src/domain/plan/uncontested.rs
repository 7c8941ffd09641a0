//! Batches that nothing stands in the way of, which most are: every item is based on the current version.
//!
//! They are planned before anything is read, as if the store held what their items were based on. Whether it
//! does is asked by what writes (`migrations/0012_batches.sql`), which writes all of it or
//! nothing; then the batch is read and planned as any other.

use std::collections::HashSet;

use uuid::Uuid;

use super::{BatchContext, EntityWrite, Newcomer, Snapshot, plan};
use crate::domain::answer::Answer;
use crate::domain::clock::Millis;
use crate::domain::decide::Resolution;
use crate::domain::entity::{Content, MutationId, Stored};
use crate::domain::item::{Item, Submission};
use crate::domain::version::Version;

/// What becomes of a batch if each of its entities is live, in the version its item is based on, or absent if
/// its item is based on none; if none of its edits has written a version before, no conflict is open, and
/// nothing began at about the same time as what is new.
#[derive(Debug)]
pub struct Uncontested<'a> {
    /// One per item, in the order sent.
    pub answers: Vec<Answer>,
    /// The new versions, one per entity. Their revisions are counted from the scope's; whose version they
    /// replace is not known, so `foreign_version` is not either.
    pub writes: Vec<EntityWrite>,
    /// The new entities that must have no neighbours.
    pub newcomers: Vec<Newcomer<'a>>,
}

/// Plans a batch as if nothing stood in its way; `None` if it would not just be applied all the same.
pub fn plan_uncontested<'a>(
    batch: &'a [Submission],
    context: &BatchContext,
) -> Option<Uncontested<'a>> {
    let items = batch.iter().filter_map(|one| one.item.as_ref().ok());
    let items: Vec<&Item> = items.collect();
    let mut named = HashSet::new();
    let mut snapshot = Snapshot::default();
    for item in &items {
        if item.read_only || !named.insert(&item.key) {
            return None;
        }
        if item.base > Version::NONE {
            let stored = as_seen(item, context);
            snapshot.entities.insert(item.key.clone(), stored);
        }
    }
    let planned = plan(&snapshot, batch, context);
    let applied = |(submission, answer): (&Submission, &Answer)| match (&submission.item, answer) {
        (Ok(_), Answer::Written { written, .. }) => written.resolution == Resolution::Applied,
        (Ok(_), _) => false,
        (Err(_), _) => true,
    };
    let all_applied = batch.iter().zip(&planned.answers).all(applied);
    let is_plain = all_applied && !planned.writes.is_empty() && planned.inbox.is_empty();
    is_plain.then(|| Uncontested {
        answers: planned.answers,
        writes: planned.writes,
        newcomers: snapshot
            .wanted(&items, &context.device, &context.catalog)
            .new,
    })
}

/// What an item is based on, as far as its device knows.
fn as_seen(item: &Item, context: &BatchContext) -> Stored {
    Stored {
        version: item.base,
        content: Content::NotLoaded,
        device: context.device.clone(),
        device_label: None,
        foreign_version: Version::NONE,
        base: None,
        mutation: MutationId(Uuid::nil()),
        merged: false,
        edit_time: Millis::default(),
        clock_offset_ms: 0,
        updated_at: Millis::default(),
    }
}
