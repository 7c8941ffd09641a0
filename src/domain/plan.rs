//! A whole batch: items in the order sent, each seeing what the ones before it did.
//!
//! [`plan`] is pure: from what the store holds and what the device sent it makes the answers and
//! the versions to write. `plan.answers[i]` answers `batch[i]`, always.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::Millis;
use super::decide::{Outcome, Resolution, Written, decide};
use super::entity::{Content, Document, EntityKey, MutationId, Stored};
use super::item::{Change, Item, Rejection, RejectionCode, Submission};
use super::scope::DeviceId;
use super::version::{Revision, Version};

/// What the store holds of all that a batch names, read under the lock of its scope.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The last revision given out in the scope.
    pub revision: Revision,
    /// The entities of the batch that exist.
    pub entities: HashMap<EntityKey, Stored>,
    /// What the mutations of the batch wrote before.
    pub written: HashMap<(EntityKey, MutationId), Written>,
}

impl Snapshot {
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
}

/// The answer to one item.
#[derive(Debug, Clone)]
pub enum Answer {
    /// SUCCESS: the item became a version, now or when it came first.
    Written(Written),
    /// SUCCESS: nothing to do.
    Unchanged {
        /// What the server holds; the base version where it holds nothing.
        version: Version,
        /// When that was written; `None` where the server holds nothing.
        at: Option<Millis>,
    },
    /// CONFLICT: the server holds something else.
    Conflict(Conflict, ServerCopy),
    /// ERROR: nothing was changed by this item.
    Rejected(Rejection),
}

/// What a device does about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Settled: adopt the server copy.
    ServerWon,
    /// Open: ask the person.
    NeedsUser,
}

/// The server's side of a conflict.
#[derive(Debug, Clone)]
pub struct ServerCopy {
    /// Its version.
    pub version: Version,
    /// Its data; `None` for a tombstone.
    pub document: Option<Arc<Document>>,
    /// Who wrote it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// When the edit behind it was made.
    pub edit_time: Millis,
    /// When the server wrote it.
    pub updated_at: Millis,
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
    /// Which edit it was.
    pub mutation: MutationId,
    /// How it was settled.
    pub resolution: Resolution,
}

/// Decides a batch.
///
/// A group one of whose items fails is taken out and the rest decided anew, as if only the failed
/// items' own answers had ever existed: an aborted item never shows in what others see.
/// Each round takes out one group, so there are at most as many rounds as groups, and one.
pub fn plan(snapshot: &Snapshot, batch: &[Submission], context: &BatchContext) -> Plan {
    let groups = Groups::of(batch);
    let mut taken_out: Vec<Option<Answer>> = vec![None; batch.len()];
    loop {
        let mut draft = Draft::new(snapshot, context);
        let answers: Vec<Answer> = batch
            .iter()
            .zip(&taken_out)
            .map(|(submission, taken_out)| draft.answer(submission, taken_out.as_ref()))
            .collect();
        let failed = (0..batch.len())
            .find(|&i| taken_out[i].is_none() && groups.of_item(i).is_some() && answers[i].fails());
        let Some(group) = failed.and_then(|i| groups.of_item(i)) else {
            let answers = answers
                .into_iter()
                .zip(batch.iter().zip(&taken_out))
                .map(|(answer, place)| match place {
                    (Submission { item: Ok(item), .. }, Some(Answer::Conflict(..))) => {
                        draft.anew(item, &answer)
                    }
                    _ => answer,
                })
                .collect();
            return Plan {
                answers,
                writes: draft.writes,
            };
        };
        for &i in group {
            taken_out[i] = Some(if answers[i].fails() || snapshot.has_of(&batch[i]) {
                answers[i].clone()
            } else {
                Answer::group_aborted()
            });
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

    fn of_item(&self, i: usize) -> Option<&Vec<usize>> {
        self.members.get(self.batch[i].group.as_deref()?)
    }
}

impl Answer {
    fn group_aborted() -> Self {
        Self::Rejected(Rejection::new(
            RejectionCode::GroupAborted,
            "group_id: expected every item of the group to be applied, another was not",
        ))
    }

    /// Whether this answer aborts its item's group.
    fn fails(&self) -> bool {
        match self {
            Self::Written(_) | Self::Unchanged { .. } => false,
            Self::Conflict(Conflict::ServerWon | Conflict::NeedsUser, _) | Self::Rejected(_) => {
                true
            }
        }
    }

    fn copy_bytes(&self) -> usize {
        match self {
            Self::Conflict(_, copy) => copy.bytes(),
            Self::Written(_) | Self::Unchanged { .. } | Self::Rejected(_) => 0,
        }
    }
}

impl ServerCopy {
    fn of(stored: &Stored) -> Self {
        Self {
            version: stored.version,
            document: match &stored.content {
                Content::Live(document) => Some(document.clone()),
                Content::NotLoaded | Content::Withheld | Content::Tombstone => None,
            },
            device: stored.device.clone(),
            device_label: stored.device_label.clone(),
            edit_time: stored.edit_time,
            updated_at: stored.updated_at,
        }
    }

    fn bytes(&self) -> usize {
        self.document.as_ref().map_or(0, |d| d.text().len())
    }
}

/// The state of one round: the snapshot, overlaid by what the items so far have done.
struct Draft<'a> {
    snapshot: &'a Snapshot,
    context: &'a BatchContext,
    current: HashMap<&'a EntityKey, Stored>,
    written: HashMap<(&'a EntityKey, MutationId), Written>,
    writes: Vec<EntityWrite>,
    write_of: HashMap<&'a EntityKey, usize>,
    revisions: usize,
    copy_bytes: usize,
}

impl<'a> Draft<'a> {
    fn new(snapshot: &'a Snapshot, context: &'a BatchContext) -> Self {
        Self {
            snapshot,
            context,
            current: HashMap::new(),
            written: HashMap::new(),
            writes: Vec::new(),
            write_of: HashMap::new(),
            revisions: 0,
            copy_bytes: 0,
        }
    }

    /// Answers one item, or keeps the answer of one that was taken out.
    fn answer(&mut self, submission: &'a Submission, taken_out: Option<&Answer>) -> Answer {
        let answer = match (taken_out, &submission.item) {
            (Some(answer), _) => answer.clone(),
            (None, Err(rejection)) => Answer::Rejected(rejection.clone()),
            (None, Ok(item)) => self.settle(item),
        };
        self.copy_bytes += answer.copy_bytes();
        answer
    }

    fn settle(&mut self, item: &'a Item) -> Answer {
        let stored = self.stored(&item.key);
        let at = stored.map(|stored| stored.updated_at);
        match decide(stored, self.written(item), item, &self.context.device) {
            Outcome::Replayed(written) => Answer::Written(written),
            Outcome::Write(version, resolution) => {
                Answer::Written(self.write(item, version, resolution))
            }
            Outcome::Unchanged(version) => Answer::Unchanged { version, at },
            Outcome::KeptServerCopy => self.conflict(Conflict::ServerWon, stored),
            Outcome::NeedsUser => self.conflict(Conflict::NeedsUser, stored),
            Outcome::Rejected(rejection) => Answer::Rejected(rejection),
        }
    }

    /// The answer to a conflict of a group that was taken out: its copy may be of what the group would
    /// have written, so it is decided again on what there is without the group.
    fn anew(&mut self, item: &Item, first: &Answer) -> Answer {
        self.copy_bytes -= first.copy_bytes();
        let stored = self.stored(&item.key);
        let answer = match decide(stored, self.written(item), item, &self.context.device) {
            Outcome::KeptServerCopy => self.conflict(Conflict::ServerWon, stored),
            Outcome::NeedsUser => self.conflict(Conflict::NeedsUser, stored),
            Outcome::Rejected(rejection) => Answer::Rejected(rejection),
            // By itself it would do: it only met what its own group did before it.
            Outcome::Replayed(_) | Outcome::Write(..) | Outcome::Unchanged(_) => {
                Answer::group_aborted()
            }
        };
        self.copy_bytes += answer.copy_bytes();
        answer
    }

    fn stored(&self, key: &EntityKey) -> Option<&Stored> {
        self.current
            .get(key)
            .or_else(|| self.snapshot.entities.get(key))
    }

    fn written(&self, item: &Item) -> Option<Written> {
        self.written
            .get(&(&item.key, item.mutation))
            .or_else(|| {
                self.snapshot
                    .written
                    .get(&(item.key.clone(), item.mutation))
            })
            .copied()
    }

    fn conflict(&self, conflict: Conflict, stored: Option<&Stored>) -> Answer {
        let copy = stored.map(ServerCopy::of).filter(|copy| {
            self.copy_bytes == 0 || self.copy_bytes + copy.bytes() <= self.context.copy_bytes_max
        });
        match copy {
            Some(copy) => Answer::Conflict(conflict, copy),
            None => Answer::Rejected(Rejection::new(
                RejectionCode::RetryLater,
                format!(
                    "items: expected conflicts whose server copies fit into {} bytes together, \
                     send this item again in a smaller batch",
                    self.context.copy_bytes_max
                ),
            )),
        }
    }

    fn write(&mut self, item: &'a Item, version: Version, resolution: Resolution) -> Written {
        let device = &self.context.device;
        let before = self.stored(&item.key);
        let foreign_version = match before {
            None => Version::NONE,
            Some(before) if before.device == *device => before.foreign_version,
            Some(before) => before.version,
        };
        let replaces = before.map(|before| before.version);
        let document = match &item.change {
            Change::Put(document) => Some(document.clone()),
            Change::Delete => None,
        };
        self.revisions += 1;
        let new = NewVersion {
            version,
            revision: self.snapshot.revision.after(self.revisions),
            document: document.clone(),
            foreign_version,
            edit_time: item.edit_time,
            mutation: item.mutation,
            resolution,
        };
        let write = *self.write_of.entry(&item.key).or_insert_with(|| {
            self.writes.push(EntityWrite {
                key: item.key.clone(),
                replaces,
                versions: Vec::new(),
            });
            self.writes.len() - 1
        });
        self.writes[write].versions.push(new);
        let now = Stored {
            version,
            content: document.map_or(Content::Tombstone, Content::Live),
            device: device.clone(),
            device_label: None,
            foreign_version,
            edit_time: item.edit_time,
            updated_at: self.context.now,
        };
        self.current.insert(&item.key, now);
        let written = Written {
            version,
            resolution,
            at: self.context.now,
        };
        self.written.insert((&item.key, item.mutation), written);
        written
    }
}

#[cfg(test)]
mod tests;
