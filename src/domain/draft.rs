//! The state of a batch while it is decided: the snapshot, overlaid by what the items so far have done.

mod room;
mod version;

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{Answer, Conflicting, ServerCopy, Verdict};
use super::clock::Millis;
use super::conflict::{ConflictId, Settlement};
use super::decide::{Case, Outcome, Resolution, Rule, Written, decide};
use super::entity::{Content, Document, EntityKey, MutationId, Stored};
use super::inbox::{Encounter, Inbox};
use super::item::{Item, Submission};
use super::plan::{BatchContext, Cause, EntityWrite, Plan, Reason, Snapshot};
use super::policy::Policy;
use super::scope::DeviceId;
use super::version::Version;
pub(super) use version::{Edit, began_at};

pub(super) struct Draft<'a> {
    snapshot: &'a Snapshot,
    context: &'a BatchContext,
    current: HashMap<&'a EntityKey, Stored>,
    written: HashMap<(&'a EntityKey, MutationId), Written>,
    /// What this batch sent to entities whose current version is the merge of that.
    own_sides: HashMap<&'a EntityKey, Content>,
    writes: Vec<EntityWrite>,
    write_of: HashMap<&'a EntityKey, usize>,
    versions: usize,
    /// Entities that did not exist before.
    created: usize,
    /// New entities of this batch that may be met by their duplicates, and when they began.
    recorded: Vec<(&'a EntityKey, Millis)>,
    copy_bytes: usize,
    pub(super) inbox: Inbox<'a>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, context: &'a BatchContext) -> Self {
        Self {
            snapshot,
            context,
            current: HashMap::new(),
            written: HashMap::new(),
            own_sides: HashMap::new(),
            writes: Vec::new(),
            write_of: HashMap::new(),
            versions: 0,
            created: 0,
            recorded: Vec::new(),
            copy_bytes: 0,
            inbox: Inbox::new(snapshot, &context.device, context.now),
        }
    }

    /// The plan this has become.
    pub(super) fn finish(self, batch: &[Submission], mut answers: Vec<Answer>) -> Plan {
        self.add_proposals(batch, &mut answers);
        let last = self.snapshot.revision.after(self.versions);
        let (inbox, last_revision) = self.inbox.finish(last);
        Plan {
            answers,
            writes: self.writes,
            inbox,
            last_revision,
        }
    }

    /// Answers one item, or keeps the answer of one that was taken out.
    pub(super) fn answer(
        &mut self,
        submission: &'a Submission,
        taken_out: Option<&Answer>,
    ) -> Answer {
        let answer = match (taken_out, &submission.item) {
            (Some(answer), _) => answer.clone(),
            (None, Err(rejection)) => Answer::Rejected(rejection.clone()),
            (None, Ok(item)) => self.settle(item),
        };
        self.copy_bytes += answer.copy_bytes();
        answer
    }

    /// The answer to a conflict of a group that was taken out: its copy may be of what the group would
    /// have written, so it is decided again on what there is without the group. Nothing of it is kept.
    pub(super) fn anew(&mut self, item: &'a Item, first: &Answer) -> Answer {
        self.copy_bytes -= first.copy_bytes();
        let answer = match self.decide(item) {
            Outcome::KeptServerCopy(_) | Outcome::SettledBefore => {
                self.with_room(item, |draft| draft.conflict(item, Verdict::ServerWon, None))
            }
            Outcome::NeedsUser => self.with_room(item, |draft| {
                let kept = draft.inbox.kept(item).filter(|kept| kept.open);
                draft.conflict(item, Verdict::NeedsUser, kept.map(|kept| kept.conflict))
            }),
            Outcome::Rejected(rejection) => Answer::Rejected(rejection),
            // By itself it would do: it only met what its own group did before it.
            Outcome::Replayed(_)
            | Outcome::Write(..)
            | Outcome::Merge(..)
            | Outcome::AlreadyMerged
            | Outcome::Unchanged(_) => Answer::group_aborted(),
        };
        self.copy_bytes += answer.copy_bytes();
        answer
    }

    /// Decides an item. A merge that is larger than an item may be, or that the type's schema does not
    /// allow, is for the person: no device could push an edit of it.
    fn decide(&self, item: &Item) -> Outcome {
        match decide(&self.case(item)) {
            Outcome::Merge(_, document) if !self.allows(item, &document) => Outcome::NeedsUser,
            outcome => outcome,
        }
    }

    fn allows(&self, item: &Item, document: &Document) -> bool {
        let BatchContext {
            catalog,
            item_bytes_max,
            ..
        } = self.context;
        document.text().len() <= *item_bytes_max
            && catalog
                .violations(&item.key.entity_type, document)
                .is_empty()
    }

    fn settle(&mut self, item: &'a Item) -> Answer {
        let at = self.stored(&item.key).map(|stored| stored.updated_at);
        match self.decide(item) {
            Outcome::Replayed(written) if written.resolution == Resolution::Merged => {
                self.merged_before(item, written)
            }
            Outcome::Replayed(written) => Answer::Written {
                written,
                possible_duplicate_of: self.inbox.duplicate_of(&item.key),
            },
            Outcome::Write(..) if !self.has_room_for(&item.key) => self.no_room(),
            Outcome::Write(version, resolution, rule) => {
                self.applied(item, version, resolution, rule)
            }
            Outcome::Merge(version, document) => self.merged(item, version, document),
            Outcome::AlreadyMerged => self.with_room(item, |draft| {
                let met = draft.met(item, Rule::Policy);
                let id = draft.keep_merged(item, met, met.server_version);
                draft.conflict(item, Verdict::Merged, Some(id))
            }),
            Outcome::Unchanged(version) => {
                self.inbox.close_if_same(item, version);
                Answer::Unchanged { version, at }
            }
            Outcome::KeptServerCopy(rule) => self.with_room(item, |draft| {
                let met = draft.met(item, rule);
                let version = met.server_version;
                let id = draft.inbox.keep(item, met, Settlement::ServerWon, version);
                draft.conflict(item, Verdict::ServerWon, Some(id))
            }),
            Outcome::SettledBefore => self.with_room(item, |draft| {
                let kept = draft.inbox.kept(item).map(|kept| kept.conflict);
                draft.conflict(item, Verdict::ServerWon, kept)
            }),
            Outcome::NeedsUser => self.with_room(item, |draft| {
                let met = draft.met(item, Rule::Policy);
                let id = draft.inbox.ask(item, met);
                draft.conflict(item, Verdict::NeedsUser, Some(id))
            }),
            Outcome::Rejected(rejection) => Answer::Rejected(rejection),
        }
    }

    /// The answer a merged item got when it first came.
    fn merged_before(&mut self, item: &'a Item, written: Written) -> Answer {
        let kept = self.inbox.kept(item).map(|kept| kept.conflict);
        match written.merged {
            _ if written.withheld => self.put_off(),
            Some(merged) if !self.fits(merged.document.text().len()) => self.put_off(),
            Some(merged) => {
                let copy = ServerCopy {
                    version: written.version,
                    document: Some(merged.document),
                    device: self.context.device.clone(),
                    device_label: None,
                    edit_time: merged.edit_time,
                    updated_at: written.at,
                };
                Answer::Conflict(Box::new(Conflicting {
                    conflict: kept,
                    ..Conflicting::plain(Verdict::Merged, copy)
                }))
            }
            // Retention has removed the merge; what came of it is the next best.
            None => self.with_room(item, |draft| draft.conflict(item, Verdict::ServerWon, kept)),
        }
    }

    fn applied(
        &mut self,
        item: &'a Item,
        version: Version,
        resolution: Resolution,
        rule: Rule,
    ) -> Answer {
        let document = item.change.document().cloned();
        let deletes = document.is_none();
        let written = self.write(Edit {
            key: &item.key,
            version,
            document,
            edit_time: item.edit_time,
            clock_offset_ms: item.clock_offset_ms,
            base: Some(item.base),
            mutation: item.mutation,
            resolution,
            reason: self.reason(item, rule),
        });
        self.inbox.close_own(&item.key, Settlement::Pushed, version);
        if deletes {
            self.inbox.close_duplicates(&item.key, version);
        }
        let possible_duplicate_of = match rule {
            Rule::Absent => self.duplicate_of(item, version),
            Rule::Current
            | Rule::Own
            | Rule::Forced
            | Rule::EditOfDeleted
            | Rule::DeletionOfEdited
            | Rule::Policy => self.inbox.duplicate_of(&item.key),
        };
        Answer::Written {
            written,
            possible_duplicate_of,
        }
    }

    fn merged(&mut self, item: &'a Item, version: Version, document: Arc<Document>) -> Answer {
        if !self.fits(document.text().len()) {
            return self.put_off();
        }
        let met = self.met(item, Rule::Policy);
        let stored_edit_time = self.stored(&item.key).map(|stored| stored.edit_time);
        self.write(Edit {
            key: &item.key,
            version,
            document: Some(document),
            edit_time: item.edit_time.max(stored_edit_time.unwrap_or_default()),
            clock_offset_ms: item.clock_offset_ms,
            base: Some(item.base),
            mutation: item.mutation,
            resolution: Resolution::Merged,
            reason: self.reason(item, Rule::Policy),
        });
        let own = item.change.document().cloned();
        let own = own.map_or(Content::Tombstone, Content::Live);
        self.own_sides.insert(&item.key, own);
        let id = self.keep_merged(item, met, version);
        self.conflict(item, Verdict::Merged, Some(id))
    }

    /// Keeps the side of an item that was merged. What waited of its device is settled by it, unless
    /// that is newer.
    fn keep_merged(&mut self, item: &Item, met: Encounter, version: Version) -> ConflictId {
        let supersedes = self.inbox.supersedes(item);
        let id = self.inbox.keep(item, met, Settlement::Merged, version);
        if supersedes {
            self.inbox.close_own(&item.key, Settlement::Merged, version);
        }
        id
    }

    /// Whether this edit has written a version of the entity.
    pub(super) fn has_written(&self, key: &EntityKey, mutation: MutationId) -> bool {
        let edit = (key.clone(), mutation);
        self.snapshot.written.contains_key(&edit)
    }

    pub(super) fn device(&self) -> &DeviceId {
        &self.context.device
    }

    pub(super) fn now(&self) -> Millis {
        self.context.now
    }

    pub(super) fn stored(&self, key: &EntityKey) -> Option<&Stored> {
        self.current
            .get(key)
            .or_else(|| self.snapshot.entities.get(key))
    }

    fn case<'b>(&'b self, item: &'b Item) -> Case<'b> {
        let written = self.written.get(&(&item.key, item.mutation));
        let edit = (item.key.clone(), item.mutation);
        Case {
            item,
            device: &self.context.device,
            stored: self.stored(&item.key),
            written: written.or_else(|| self.snapshot.written.get(&edit)),
            kept: self.inbox.kept(item),
            base: self.base(item),
            own_side: self.own_side(item),
            policy: self.policy(item),
        }
    }

    /// What this device sent to the entity before, if the stored version is the merge of that.
    fn own_side(&self, item: &Item) -> Option<&Content> {
        let stored = self.stored(&item.key)?;
        if !stored.merged || !item.goes_on_from(stored, &self.context.device) {
            return None;
        }
        self.own_sides
            .get(&item.key)
            .or_else(|| self.snapshot.own_sides.get(&item.key))
    }

    fn base(&self, item: &Item) -> Option<&Content> {
        self.snapshot.bases.get(&(item.key.clone(), item.base))
    }

    fn policy(&self, item: &Item) -> &'a Policy {
        &self.context.catalog.rules(&item.key.entity_type).policy
    }

    fn reason(&self, item: &Item, rule: Rule) -> Reason {
        Reason {
            cause: Cause::Push,
            rule: Some(rule),
            policy: (rule == Rule::Policy).then(|| self.policy(item).name()),
        }
    }

    fn met(&self, item: &Item, rule: Rule) -> Encounter {
        let stored = self.stored(&item.key);
        Encounter {
            server_version: stored.map(|stored| stored.version).unwrap_or_default(),
            rule,
            policy: self.reason(item, rule).policy,
        }
    }
}
