//! A whole batch: items in the order sent, each seeing what the ones before it did.
//!
//! [`plan`] is pure: from what the store holds and what the device sent it makes the answers and
//! the versions to write. `plan.answers[i]` answers `batch[i]`, always.

mod uncontested;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::answer::Answer;
use super::catalog::Catalog;
use super::clock::Millis;
use super::conflict::{Conflict, InboxWrites, Kept};
use super::decide::{Resolution, Rule, Written};
use super::draft::{Draft, began_at};
use super::entity::{Content, Document, EntityKey, MutationId, Stored};
use super::item::{Change, Item, Submission};
use super::policy::Policy;
use super::scope::DeviceId;
use super::version::{Revision, Version};
pub use uncontested::{Uncontested, plan_uncontested};

/// What the store holds of all that a batch names, read under the lock of its scope.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The last revision given out in the scope.
    pub revision: Revision,
    /// The entities of the batch that exist.
    pub entities: HashMap<EntityKey, Stored>,
    /// What the mutations of the batch wrote before.
    pub written: HashMap<(EntityKey, MutationId), Written>,
    /// What entities held at the base versions of items that may conflict, as far as it is known.
    pub bases: HashMap<(EntityKey, Version), Content>,
    /// What the device itself has sent to entities whose current version is the merge of that.
    pub own_sides: HashMap<EntityKey, Content>,
    /// Items of the batch that are kept as losing sides.
    pub kept: HashMap<(EntityKey, MutationId), Kept>,
    /// Open conflicts about the entities of the batch: of the device's own edits, and duplicates.
    pub open: Vec<Conflict>,
    /// What began at about the same time as the new entities of the batch: ids, and when.
    pub neighbours: HashMap<EntityKey, Vec<(Uuid, Millis)>>,
    /// How many more entities the scope may hold; `None`: any number.
    pub room: Option<usize>,
}

/// What else there is to read, once the entities of a batch are known: nothing, for most batches.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// Items that may be conflicts.
    pub contested: Vec<&'a Item>,
    /// Contents of old versions, for merges.
    pub bases: Vec<(&'a EntityKey, Version)>,
    /// What the device itself has sent, where that was merged.
    pub own_sides: Vec<(&'a EntityKey, MutationId)>,
    /// New entities to find neighbours of.
    pub new: Vec<Newcomer<'a>>,
}

/// A new entity that may be an older one, recorded twice.
#[derive(Debug)]
pub struct Newcomer<'a> {
    /// The entity.
    pub key: &'a EntityKey,
    /// The older one began at this time or later..
    pub from: Millis,
    /// ..at best when the new one did..
    pub began_at: Millis,
    /// ..and not after this.
    pub until: Millis,
}

impl Snapshot {
    /// What else the items need.
    pub fn wanted<'a>(
        &self,
        items: &[&'a Item],
        device: &DeviceId,
        catalog: &Catalog,
    ) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        for item in items {
            let rules = catalog.rules(&item.key.entity_type);
            let Some(stored) = self.entities.get(&item.key) else {
                wanted
                    .new
                    .extend(rules.duplicates.as_ref().and_then(|rule| {
                        let Change::Put(document) = &item.change else {
                            return None;
                        };
                        let began_at = began_at(rule, document)?;
                        Some(Newcomer {
                            key: &item.key,
                            from: Millis(began_at.0.saturating_sub(rule.tolerance_ms)),
                            began_at,
                            until: Millis(began_at.0.saturating_add(rule.tolerance_ms)),
                        })
                    }));
                continue;
            };
            let edit = (item.key.clone(), item.mutation);
            let written = self.written.get(&edit).map(|written| written.resolution);
            let answered = written.is_some_and(|resolution| resolution != Resolution::Merged);
            if answered || (item.base == stored.version && !item.read_only) {
                continue;
            }
            wanted.contested.push(item);
            if stored.merged && item.goes_on_from(stored, device) {
                wanted.own_sides.push((&item.key, stored.mutation));
            }
            let merges = match rules.policy {
                Policy::Ask | Policy::MergeFields { .. } | Policy::LatestPerKey { .. } => true,
                Policy::LastWriteWins | Policy::MergeMax | Policy::ServerAuthoritative => false,
            };
            let has_base = item.base > Version::NONE && item.base < stored.version;
            // Also of what is deleted: an earlier item of the batch may bring it back.
            if merges && has_base && matches!(item.change, Change::Put(_)) {
                wanted.bases.push((&item.key, item.base));
            }
        }
        wanted.bases.sort();
        wanted.bases.dedup();
        wanted.own_sides.sort();
        wanted.own_sides.dedup();
        wanted
    }

    /// Whether the item was applied before this batch. Its first answer stands then, whatever
    /// becomes of its group this time (promise 4).
    fn has_of(&self, submission: &Submission) -> bool {
        let item = submission.item.as_ref();
        item.is_ok_and(|item| {
            self.written
                .contains_key(&(item.key.clone(), item.mutation))
        })
    }
}

/// What holds for the whole batch.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// The device that sends.
    pub device: DeviceId,
    /// The server's clock.
    pub now: Millis,
    /// The entity types.
    pub catalog: Arc<Catalog>,
    /// Bytes of one item's data at most. A merge beyond it is left to the person: no device could push
    /// an edit of it.
    pub item_bytes_max: usize,
    /// Room for server copies in the answers. Conflicts that do not fit are put off with
    /// RETRY_LATER, so that the device can receive its answer at all. One copy always fits.
    pub copy_bytes_max: usize,
}

/// The decision about a batch.
#[derive(Debug)]
pub struct Plan {
    /// One per item, in the order sent.
    pub answers: Vec<Answer>,
    /// What to write, entities in the order they are first written.
    pub writes: Vec<EntityWrite>,
    /// What to do to the conflict inbox.
    pub inbox: InboxWrites,
    /// The last revision of the scope once this is written.
    pub last_revision: Revision,
}

impl Plan {
    /// The plan for a counted batch that has come again: it writes nothing. Its device may have gone on since,
    /// or be two; of what was written now one of them would never hear, as its own writes are left out of its
    /// pages. What would have been written is put off, and comes again in a batch of the next number.
    pub fn repeated(self, snapshot: &Snapshot, batch: &[Submission]) -> Self {
        if self.writes.is_empty() && self.inbox.is_empty() {
            return self;
        }
        let answers = self.answers.into_iter().zip(batch);
        let answers = answers.map(|(answer, submission)| match submission.item {
            Ok(_) if !snapshot.has_of(submission) => Answer::repeat_put_off(),
            Ok(_) | Err(_) => answer,
        });
        Self {
            answers: answers.collect(),
            writes: Vec::new(),
            inbox: InboxWrites::default(),
            last_revision: snapshot.revision,
        }
    }
}

/// The new versions of one entity.
#[derive(Debug)]
pub struct EntityWrite {
    /// The entity.
    pub key: EntityKey,
    /// The stored version they replace; `None` for a new entity.
    pub replaces: Option<Version>,
    /// Oldest first, at least one. The last is the entity's current version.
    pub versions: Vec<NewVersion>,
}

/// One version to write.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its number.
    pub version: Version,
    /// Its place in the order of changes.
    pub revision: Revision,
    /// Its data; `None` for a tombstone.
    pub document: Option<Arc<Document>>,
    /// See [`Stored::foreign_version`].
    pub foreign_version: Version,
    /// When the edit was made.
    pub edit_time: Millis,
    /// What was added to the times of the device's clock to get the server's.
    pub clock_offset_ms: i64,
    /// When what the entity tells of began, if its type is watched for duplicates.
    pub began_at: Option<Millis>,
    /// The base of the edit; `None` for a person's decision.
    pub base: Option<Version>,
    /// Which edit it was.
    pub mutation: MutationId,
    /// How it was settled.
    pub resolution: Resolution,
    /// Why it was written.
    pub reason: Reason,
}

/// Why a version was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// What made it.
    pub cause: Cause,
    /// The rule that decided; `None`: from before this was kept.
    pub rule: Option<Rule>,
    /// The name of the policy, for rule 9.
    pub policy: Option<&'static str>,
}

/// What makes versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A device pushed an edit.
    Push,
    /// A person resolved a conflict.
    Resolve,
    /// A person brought back an old version.
    Restore,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Push, Self::Resolve, Self::Restore];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Resolve => "resolve",
            Self::Restore => "restore",
        }
    }
}

/// How often a batch is decided anew at most. Whatever groups fail in the last round are put off: their
/// items are ERROR RETRY_LATER. It bounds what a batch of nothing but failing groups costs.
const ROUNDS_MAX: usize = 16;

/// Decides a batch.
///
/// A group one of whose items fails is taken out and the rest decided anew, as if only the failed
/// items' own answers had ever existed: an aborted item never shows in what others see.
/// Each round takes out one group; those with a malformed item fail in any case and are out from the
/// beginning.
pub fn plan(snapshot: &Snapshot, batch: &[Submission], context: &BatchContext) -> Plan {
    let groups = Groups::of(batch);
    let mut taken_out = groups.of_malformed(snapshot);
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut draft = Draft::new(snapshot, context);
        let answers: Vec<Answer> = batch
            .iter()
            .zip(&taken_out)
            .map(|(submission, taken_out)| draft.answer(submission, taken_out.as_ref()))
            .collect();
        let mut failed = (0..batch.len()).filter(|&i| {
            taken_out[i].is_none() && answers[i].fails() && !snapshot.has_of(&batch[i])
        });
        let Some(group) = failed.find_map(|i| groups.of_item(i)) else {
            let answers: Vec<Answer> = answers
                .into_iter()
                .zip(batch.iter().zip(&taken_out))
                .map(|(answer, place)| match place {
                    // Applied before: its first answer stands.
                    (submission, _) if snapshot.has_of(submission) => answer,
                    (Submission { item: Ok(item), .. }, Some(Answer::Conflict(_))) => {
                        draft.anew(item, &answer)
                    }
                    _ => answer,
                })
                .collect();
            return draft.finish(batch, answers);
        };
        if rounds < ROUNDS_MAX {
            for &i in group {
                taken_out[i] = Some(if answers[i].fails() || snapshot.has_of(&batch[i]) {
                    answers[i].clone()
                } else {
                    Answer::group_aborted()
                });
            }
            continue;
        }
        let failed = failed.filter_map(|i| groups.of_item(i)).chain([group]);
        for &i in failed.flatten().collect::<BTreeSet<_>>() {
            if !snapshot.has_of(&batch[i]) {
                taken_out[i] = Some(Answer::group_put_off());
            }
        }
    }
}

/// The items of each group that has more than one; a group of one is like none.
struct Groups<'a> {
    members: HashMap<&'a str, Vec<usize>>,
    batch: &'a [Submission],
}

impl<'a> Groups<'a> {
    fn of(batch: &'a [Submission]) -> Self {
        let mut members: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, submission) in batch.iter().enumerate() {
            if let Some(group) = &submission.group {
                members.entry(group).or_default().push(i);
            }
        }
        members.retain(|_, items| items.len() > 1);
        Self { members, batch }
    }

    /// The answers to groups with a malformed item: they fail whatever the other items do.
    fn of_malformed(&self, snapshot: &Snapshot) -> Vec<Option<Answer>> {
        let mut answers = vec![None; self.batch.len()];
        for group in self.members.values() {
            if group.iter().all(|&i| self.batch[i].item.is_ok()) {
                continue;
            }
            for &i in group {
                answers[i] = match &self.batch[i].item {
                    Err(rejection) => Some(Answer::Rejected(rejection.clone())),
                    // Its first answer stands.
                    Ok(_) if snapshot.has_of(&self.batch[i]) => None,
                    Ok(_) => Some(Answer::group_aborted()),
                };
            }
        }
        answers
    }

    fn of_item(&self, i: usize) -> Option<&Vec<usize>> {
        self.members.get(self.batch[i].group.as_deref()?)
    }
}

#[cfg(test)]
mod chains;
#[cfg(test)]
mod clock_simulation;
#[cfg(test)]
#[path = "../../tests/sim/memory.rs"]
mod memory;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
