//! Bugs, planted to see the checks catch them: around the core (what it is given, what becomes of what it
//! decided), in the pages, and in the device. Nothing of this is in `src/`.

use ironflow_sync::grpc::proto;

use super::memory::Memory;
use super::server::Server;
use crate::domain::answer::{Answer, ServerCopy};
use crate::domain::clock::Millis;
use crate::domain::decide::Resolution;
use crate::domain::entity::{Document, Stored};
use crate::domain::item::{Change, Item, Submission};
use crate::domain::json::Json;
use crate::domain::plan::{NewVersion, Plan, Snapshot};
use crate::domain::scope::DeviceId;
use crate::domain::version::Version;
use std::sync::Arc;

macro_rules! plants {
    ($($(#[doc = $what:literal])+ $plant:ident,)+) => {
        /// A bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Plant {
            $($(#[doc = $what])+ $plant,)+
        }

        impl Plant {
            /// All of them, with what each is.
            pub const ALL: &[(Self, &str)] = &[$((Self::$plant, concat!($($what),+)),)+];
        }
    };
}

plants! {
    /// no lock: two batches decide on the same state, both write
    NoLock,
    /// copies read from before the lock
    CopiesFromBeforeTheLock,
    /// revision from a sequence: a change becomes visible behind a cursor that is past it
    RevisionFromASequence,
    /// cursor `>=`: the last change comes again
    CursorInclusive,
    /// page splitting: the last entity of a page is cut off, the cursor is past it
    PageSplit,
    /// `has_more` is forgotten where a page is cut
    MoreForgotten,
    /// tombstones are not shown
    TombstonesLost,
    /// what a device wrote itself is left out from the beginning as well
    OwnNeverShown,
    /// a restore begins no new epoch
    EpochStays,
    /// the epoch of a cursor is ignored
    EpochIgnored,
    /// a replay is not recognised after another device's write
    ReplayForgotten,
    /// version check missing on put
    PutUnchecked,
    /// version check missing on delete
    DeleteUnchecked,
    /// answers out of order
    AnswersSwapped,
    /// a merge drops a key
    MergeDropsKey,
    /// a clock from the future wins
    ClockFromTheFuture,
    /// no rule 5: a device conflicts with itself
    OwnEditsConflict,
    /// `force` is ignored
    ForceIgnored,
    /// a group is partly applied
    GroupPartlyApplied,
    /// losing sides are not kept
    SidesLost,
    /// superseded versions are not kept
    VersionsLost,
    /// a settled conflict opens again
    SettledReopens,
    /// a device's open conflict is forgotten: a second one opens
    OpenForgotten,
    /// after a restore a version is given out again
    VersionGivenOutAgain,
    /// a conflict shows the copy before the current one
    OldCopyShown,
    /// a conflict is resolved whatever the person has seen
    ResolvesUnseen,
    /// copies of a device are not noticed
    CopiesUnnoticed,
    /// a counted batch that comes again is decided afresh
    RepeatsDecidedAfresh,
    /// what a person decides is not counted
    DecisionsUncounted,
    /// device: a retry gets new mutation ids
    RetryUnderNewIds,
    /// device: after a reset it reads from the beginning before what waits is answered
    ReadsBeforePushing,
    /// device: CURSOR_RESET empties the queue
    ResetDropsQueue,
    /// device: it does not give back what a restored server has forgotten
    ResetForgetsOwn,
    /// device: it keeps its id when another copy has it
    KeepsReusedId,
    /// device: it passes over tombstones
    SkipsTombstones,
    /// device: it keeps what has not come when everything was read again
    KeepsWhatIsGone,
    /// device: an old answer takes an entity back
    OldAnswerTakesBack,
}

/// Old states that some plants bring back.
#[derive(Debug, Default)]
pub struct Stale {
    /// The tables before the last batch.
    before: Option<Box<Memory>>,
    /// A batch that is decided and not written yet, and how many calls come before it.
    held_back: Option<(Plan, DeviceId, u32)>,
    /// How many batches have written something.
    batches: u32,
    /// The batch's answer does not come before it is written.
    pub unanswered: bool,
}

impl Server {
    /// Plants in what came.
    pub(super) fn misread(&self, batch: &mut [Submission], request: &proto::SyncRequest) {
        let Some(plant) = self.plant else { return };
        let mut grouped = false;
        for (submission, raw) in batch.iter_mut().zip(&request.items) {
            if plant == Plant::GroupPartlyApplied && !grouped && submission.group.is_some() {
                grouped = true;
                submission.group = None;
            }
            let Ok(item) = &mut submission.item else {
                continue;
            };
            let stored = self.memory.version(&item.key);
            let deletes = matches!(item.change, Change::Delete);
            match plant {
                Plant::PutUnchecked if !deletes && !item.read_only => item.base = stored,
                Plant::DeleteUnchecked if deletes && stored > Version::NONE => item.base = stored,
                Plant::ForceIgnored => item.force = false,
                Plant::ClockFromTheFuture if raw.timestamp > 0 => {
                    item.edit_time = Millis(raw.timestamp);
                }
                _ => (),
            }
        }
    }

    /// Plants in what was read.
    pub(super) fn mislead(&self, snapshot: &mut Snapshot, items: &[&Item], device: &DeviceId) {
        let own = |stored: &Stored| stored.device == *device;
        match self.plant {
            Some(Plant::CopiesFromBeforeTheLock) => {
                if let Some(before) = &self.stale.before {
                    let revision = snapshot.revision;
                    *snapshot = before.read(items, device);
                    snapshot.revision = revision;
                }
            }
            Some(Plant::ReplayForgotten) => {
                let entities = &snapshot.entities;
                snapshot
                    .written
                    .retain(|(key, _), _| entities.get(key).is_none_or(own));
            }
            Some(Plant::OwnEditsConflict) => {
                for stored in snapshot.entities.values_mut().filter(|stored| own(stored)) {
                    stored.foreign_version = stored.version;
                    stored.base = None;
                }
            }
            Some(Plant::SettledReopens) => {
                for kept in snapshot.kept.values_mut().filter(|kept| !kept.open) {
                    kept.asked = false;
                }
            }
            Some(Plant::OpenForgotten) => snapshot.open.clear(),
            Some(_) | None => (),
        }
    }

    /// Plants in what was decided.
    pub(super) fn distort(&self, plan: &mut Plan, batch: &[Submission]) {
        match self.plant {
            Some(Plant::AnswersSwapped) if batch.len() > 1 => plan.answers.swap(0, 1),
            Some(Plant::SidesLost) => plan.inbox.sides.clear(),
            Some(Plant::MergeDropsKey) => {
                let versions = plan.writes.iter_mut().flat_map(|write| &mut write.versions);
                versions.for_each(drop_key);
            }
            Some(Plant::VersionGivenOutAgain) => self.close_gaps(plan),
            Some(Plant::OldCopyShown) => {
                for (answer, submission) in plan.answers.iter_mut().zip(batch) {
                    if let (Answer::Conflict(conflicting), Ok(item)) = (answer, &submission.item) {
                        let rows = self.memory.versions.get(&item.key);
                        let older = rows.and_then(|rows| rows.iter().rev().nth(1));
                        if let Some(older) = older {
                            conflicting.copy = ServerCopy {
                                version: older.new.version,
                                document: older.new.document.clone(),
                                ..conflicting.copy.clone()
                            };
                        }
                    }
                }
            }
            Some(_) | None => (),
        }
    }

    fn close_gaps(&self, plan: &mut Plan) {
        for write in &mut plan.writes {
            let stored = write.replaces.unwrap_or_default().number();
            for (new, number) in write.versions.iter_mut().zip(stored + 1..) {
                let version = Version::new(number).unwrap_or_default();
                for answer in &mut plan.answers {
                    if let Answer::Written { written, .. } = answer
                        && written.version == new.version
                    {
                        written.version = version;
                    }
                }
                new.version = version;
            }
        }
    }

    /// Plants in when it is written: the plan, if that is now.
    pub(super) fn late_commit(&mut self, plan: Plan, device: &DeviceId) -> Option<Plan> {
        if plan.writes.is_empty() {
            return Some(plan);
        }
        self.stale.batches += 1;
        match self.plant {
            Some(Plant::CopiesFromBeforeTheLock) => {
                self.stale.before = Some(Box::new(self.memory.clone()));
            }
            Some(Plant::RevisionFromASequence | Plant::NoLock)
                if self.stale.held_back.is_none() && self.stale.batches.is_multiple_of(3) =>
            {
                if self.plant == Some(Plant::RevisionFromASequence) {
                    self.memory.revision = plan.last_revision;
                }
                self.stale.unanswered = true;
                self.stale.held_back = Some((plan, device.clone(), 2));
                return None;
            }
            Some(_) | None => (),
        }
        Some(plan)
    }

    /// Writes what was held back, once its time has come, or somebody else wants the same rows.
    pub(super) fn catch_up(&mut self, next: Option<&proto::SyncRequest>) {
        let Some((plan, device, calls)) = self.stale.held_back.take() else {
            return;
        };
        let wanted = next.is_some_and(|request| {
            request.items.iter().any(|item| {
                let is_it = |id: &uuid::Uuid| id.to_string() == item.entity_id;
                plan.writes.iter().any(|write| is_it(&write.key.entity_id))
            })
        });
        let locked = self.plant == Some(Plant::RevisionFromASequence) && wanted;
        if calls == 0 || locked {
            self.memory.write_blindly(&plan, &device, self.now);
        } else {
            self.stale.held_back = Some((plan, device, calls - 1));
        }
    }

    /// Plants in what is there after a batch.
    pub(super) fn forget(&mut self) {
        if self.plant == Some(Plant::VersionsLost) {
            for rows in self.memory.versions.values_mut() {
                rows.drain(..rows.len() - 1);
            }
        }
    }
}

fn drop_key(new: &mut NewVersion) {
    let merged = new.document.as_ref().and_then(|document| document.json());
    if let (Resolution::Merged, Some(Json::Object(fields))) = (new.resolution, merged) {
        let mut fields = fields.clone();
        fields.pop_last();
        new.document = Some(Arc::new(Document::from_json(Json::Object(fields))));
    }
}
