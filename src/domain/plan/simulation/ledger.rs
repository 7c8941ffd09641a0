//! What was answered so far, and what must be true of every answer and of the store behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::memory::{Memory, Row};
use super::super::*;
use super::laws::{
    document_at, failed_leaves_no_trace, has_met_another, is_copy_of, is_replay, kind,
    revisions_are_dense, same_answers, sent, written_now,
};
use crate::domain::answer::{Answer, Conflicting, Verdict};
use crate::domain::conflict::{ConflictId, Settled, Settlement};
use crate::domain::decide::Merged;
use crate::domain::item::RejectionCode;

type EditId = (EntityKey, MutationId);

/// All that was ever promised.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Kinds of answers and decisions met so far.
    pub reached: BTreeSet<String>,
    /// The first answer to each edit that wrote a version.
    applied: BTreeMap<EditId, Written>,
    /// Where the content of each edit is to be found.
    held: Vec<(EditId, Place, Option<Arc<Document>>)>,
    /// The conflict each edit was for the person in.
    asked: BTreeMap<EditId, ConflictId>,
    /// Conflicts a person was asked about, and how they ended.
    settled: BTreeMap<ConflictId, Settled>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Version(Version),
    Side,
}

/// One batch, and the store around it.
pub(super) struct Pushed<'a> {
    pub before: &'a Memory,
    pub after: &'a Memory,
    pub sender: &'a DeviceId,
    pub now: Millis,
    pub batch: &'a [Submission],
    pub plan: &'a Plan,
}

impl<'a> Pushed<'a> {
    /// The groups that were not applied.
    fn failed_groups(&self) -> BTreeSet<&str> {
        let groups = Groups::of(self.batch);
        let failed = (0..self.batch.len())
            .filter(|i| self.plan.answers[*i].fails() && groups.of_item(*i).is_some());
        failed
            .filter_map(|i| self.batch[i].group.as_deref())
            .collect()
    }

    /// What this batch wrote for an edit.
    pub fn new_row(&self, item: &Item) -> Option<&'a Row> {
        let before = self.before.written_by(&item.key, item.mutation);
        let after = self.after.written_by(&item.key, item.mutation);
        after.filter(|_| before.is_none())
    }

    fn is_last_of_its_entity(&self, place: usize) -> bool {
        let key = |submission: &Submission| submission.item.as_ref().ok().map(|i| i.key.clone());
        let mut later = self.batch[place + 1..].iter();
        !later.any(|other| key(other) == key(&self.batch[place]))
    }
}

impl Ledger {
    pub fn reach(&mut self, kind: impl Into<String>) {
        self.reached.insert(kind.into());
    }

    /// Notes that an edit's content is to be found there from now on (promise 1).
    pub fn owe(&mut self, edit: EditId, place: Place, document: Option<Arc<Document>>) {
        self.held.push((edit, place, document));
    }

    /// Checks the answers to a batch, and notes them.
    pub fn check(&mut self, pushed: &Pushed<'_>) {
        revisions_are_dense(pushed.before, pushed.plan);
        let failed = pushed.failed_groups();
        let mut met: BTreeMap<&EntityKey, Version> = BTreeMap::new();
        for (place, submission) in pushed.batch.iter().enumerate() {
            let answer = &pushed.plan.answers[place];
            self.reach(kind(answer));
            let Ok(item) = &submission.item else {
                assert!(matches!(answer, Answer::Rejected(_)));
                continue;
            };
            let has_failed = submission
                .group
                .as_deref()
                .is_some_and(|g| failed.contains(g));
            let edit = (item.key.clone(), item.mutation);
            if let Some(first) = self.applied.get(&edit) {
                self.reached.insert(is_replay(first, answer, has_failed));
            } else if has_failed {
                failed_leaves_no_trace(pushed, &failed, item, answer);
            } else {
                let before = pushed.before.version(&item.key);
                let here = met.entry(&item.key).or_insert(before);
                let now = written_now(pushed, item, answer).map(|row| row.new.version);
                let found = std::mem::replace(here, now.unwrap_or(*here));
                self.check_answer(pushed, item, answer, found);
                self.settled_stays_settled(pushed, item, answer);
                if pushed.is_last_of_its_entity(place) {
                    self.check_again(pushed, item, answer);
                }
            }
        }
    }

    /// Promises 2 and 5: `found` is the version the item met.
    fn check_answer(&mut self, pushed: &Pushed<'_>, item: &Item, answer: &Answer, found: Version) {
        let edit = (item.key.clone(), item.mutation);
        let sent = sent(item);
        match answer {
            Answer::Written { written, .. } => {
                let row = pushed.new_row(item).expect("SUCCESS is written");
                assert_eq!(
                    (row.new.version, &row.device),
                    (written.version, pushed.sender)
                );
                assert_eq!((row.at, row.new.document.as_ref()), (pushed.now, sent));
                let before = item.base.max(found);
                assert_eq!(Some(written.version), before.next(), "by one (promise 6)");
                self.owe(edit.clone(), Place::Version(written.version), sent.cloned());
                self.applied.insert(edit, written.clone());
            }
            Answer::Unchanged { version, .. } if found == Version::NONE => {
                assert_eq!(
                    (*version, sent),
                    (item.base, None),
                    "nothing there to delete"
                );
            }
            Answer::Unchanged { version, .. } => {
                assert_eq!(*version, found);
                assert_eq!(document_at(pushed.after, &item.key, found).as_ref(), sent);
                self.owe(edit, Place::Version(found), sent.cloned());
            }
            Answer::Conflict(conflicting) => {
                self.check_conflict(pushed, item, answer, conflicting, found);
                self.owe(edit, Place::Side, sent.cloned());
            }
            Answer::Rejected(rejection) => {
                let unknown = item.read_only && found == Version::NONE;
                assert_eq!(rejection.code, RejectionCode::ReadOnly);
                assert!(unknown, "only a device can be wrong: {rejection:?}");
            }
        }
    }

    fn check_conflict(
        &mut self,
        pushed: &Pushed<'_>,
        item: &Item,
        answer: &Answer,
        conflicting: &Conflicting,
        found: Version,
    ) {
        let edit = (item.key.clone(), item.mutation);
        has_met_another(pushed, item, found);
        let row = written_now(pushed, item, answer);
        let id = conflicting.conflict.expect("a conflict has a record");
        let side = &pushed.after.sides[&edit];
        assert_eq!(side.document.as_ref(), sent(item));
        let conflict = &pushed.after.conflicts[&id];
        let current = row.map_or(found, |row| row.new.version);
        is_copy_of(pushed.after, &item.key, &conflicting.copy, current);
        match (conflicting.verdict, row) {
            (Verdict::Merged, Some(row)) => {
                assert_eq!(
                    (row.new.resolution, side.conflict),
                    (Resolution::Merged, id)
                );
                assert_eq!(Some(current), item.base.max(found).next());
                let copy = &conflicting.copy;
                let written = Written {
                    version: copy.version,
                    resolution: Resolution::Merged,
                    at: copy.updated_at,
                    withheld: false,
                    merged: copy.document.clone().map(|document| Merged {
                        document,
                        edit_time: copy.edit_time,
                    }),
                };
                self.applied.insert(edit, written);
            }
            (Verdict::Merged, None) => {
                assert_eq!(side.conflict, id);
                self.reach("merged without a write");
            }
            (Verdict::ServerWon, None) => {
                assert_eq!(side.conflict, id);
                let kept = pushed.before.sides.contains_key(&edit);
                if kept && conflict.asked && conflict.settled.is_some() {
                    self.reach("settled before");
                }
            }
            (Verdict::NeedsUser, None) => {
                assert!(conflict.asked);
                if side.conflict == id {
                    let known = *self.asked.entry(edit.clone()).or_insert(id);
                    assert_eq!(known, id, "an item is about one conflict for ever");
                } else {
                    // A rule settled it when it first came; now something newer waits already.
                    let first = &pushed.before.conflicts[&side.conflict];
                    assert!(!first.asked && conflict.mutation != item.mutation);
                    self.reach("older than what waits");
                }
                if pushed.before.sides.contains_key(&edit) {
                    self.reach("asked again");
                } else if pushed.before.conflicts.contains_key(&id) {
                    self.reach("attached");
                }
            }
            (Verdict::ServerWon | Verdict::NeedsUser, Some(row)) => panic!("{row:?}"),
        }
    }

    /// Section 5: the item of a conflict that was settled before this batch.
    fn settled_stays_settled(&self, pushed: &Pushed<'_>, item: &Item, answer: &Answer) {
        let Some(side) = pushed.before.sides.get(&(item.key.clone(), item.mutation)) else {
            return;
        };
        // From before a restore of the server: versions reach its base some day, and rule 3 fits.
        let ahead = side.base > side.server_version;
        if ahead || !self.settled.contains_key(&side.conflict) {
            return;
        }
        match answer {
            Answer::Unchanged { .. } => (),
            Answer::Conflict(conflicting) => {
                assert_eq!(conflicting.verdict, Verdict::ServerWon);
                assert_eq!(conflicting.conflict, Some(side.conflict));
            }
            Answer::Written { written, .. } => {
                assert_eq!(
                    (item.force, written.resolution),
                    (true, Resolution::ClientWon)
                );
            }
            Answer::Rejected(rejection) => panic!("{rejection:?}"),
        }
    }

    /// The same item at once again: nothing more is written, and a question stays the same.
    fn check_again(&mut self, pushed: &Pushed<'_>, item: &Item, answer: &Answer) {
        let alone = [Submission {
            group: None,
            item: Ok(item.clone()),
        }];
        let again = pushed.after.validate(pushed.sender, pushed.now, &alone);
        assert!(
            again.writes.is_empty() && again.inbox.is_empty(),
            "{again:?}"
        );
        let known = |answer: &Answer| match answer {
            Answer::Conflict(conflicting) => conflicting.conflict,
            Answer::Written { .. } | Answer::Unchanged { .. } | Answer::Rejected(_) => None,
        };
        let kept = known(answer).map(|id| &pushed.after.conflicts[&id]);
        let open = kept.is_some_and(|conflict| conflict.settled.is_none());
        let asked = kept.is_some_and(|conflict| conflict.asked);
        if open || !asked {
            same_answers(std::slice::from_ref(answer), &again.answers);
        }
        let mut own = pushed.after.open_conflicts().filter(|conflict| {
            conflict.older().is_none()
                && conflict.key == item.key
                && conflict.device == *pushed.sender
        });
        match (answer, own.next()) {
            (Answer::Conflict(conflicting), Some(own)) => {
                let edit = (item.key.clone(), item.mutation);
                let same = |other: &&Submission| {
                    let other = other.item.as_ref();
                    other.is_ok_and(|other| (&other.key, other.mutation) == (&edit.0, edit.1))
                };
                let new = !pushed.before.sides.contains_key(&edit)
                    && pushed.batch.iter().filter(same).count() == 1;
                let newest = own.mutation == item.mutation;
                match conflicting.verdict {
                    Verdict::Merged => assert!(!new, "a newer merge settles what waited: {own:?}"),
                    Verdict::NeedsUser => assert!(newest || !new, "the newest side counts"),
                    Verdict::ServerWon => assert!(!newest || !new, "what lost asks nobody"),
                }
            }
            (Answer::Written { .. }, Some(own)) => panic!("a newer edit settles {own:?}"),
            (Answer::Written { .. }, None) => {
                let mut closed = pushed.plan.inbox.conflicts.iter();
                let by_push = |settled: &Settled| settled.settlement == Settlement::Pushed;
                if closed.any(|(_, c)| c.settled.as_ref().is_some_and(by_push)) {
                    self.reach("closed by a push");
                }
            }
            (Answer::Unchanged { .. } | Answer::Rejected(_) | Answer::Conflict(_), _) => (),
        }
    }

    /// Checks all that was ever promised against what the store holds.
    pub fn check_all(&mut self, memory: &Memory) {
        for ((key, mutation), place, document) in &self.held {
            let found = match place {
                Place::Version(version) => document_at(memory, key, *version),
                Place::Side => {
                    let side = memory.sides.get(&(key.clone(), *mutation));
                    side.expect("a side is kept for ever").document.clone()
                }
            };
            assert_eq!(&found, document, "nothing is lost (promise 1)");
        }
        let open = memory.open_conflicts().count();
        assert_eq!(usize::try_from(memory.open), Ok(open), "the counter");
        for conflict in memory.conflicts.values() {
            let edit = (conflict.key.clone(), conflict.mutation);
            if let Some(older) = conflict.older() {
                let live = |key| {
                    memory
                        .current(key)
                        .is_some_and(|e| !e.content.is_tombstone())
                };
                let both = live(&conflict.key) && live(&older);
                assert!(conflict.settled.is_some() || both, "{conflict:?}");
                self.reached.insert("duplicate".into());
            } else {
                assert_eq!(memory.sides[&edit].conflict, conflict.id);
            }
            let first = self.settled.get(&conflict.id);
            assert!(
                first.is_none() || first == conflict.settled.as_ref(),
                "reopened"
            );
            if conflict.asked {
                let settled = conflict.settled.clone();
                let settled = settled.map(|settled| (conflict.id, settled));
                self.settled.extend(settled);
            }
        }
    }
}
