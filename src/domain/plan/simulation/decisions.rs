//! What a person decides in a simulation: conflicts are resolved, old versions brought back.

use proptest::prelude::*;

use super::super::memory::{Memory, Wish};
use super::super::*;
use super::World;
use super::history::{DEVICES, Fields};
use super::laws::revisions_are_dense;
use super::ledger::Place;
use crate::domain::answer::Verdict;
use crate::domain::resolve::{Choice, ResolveStatus, Resolved, RestoreStatus, decision_mutation};
use crate::domain::testing::{device, version};

/// What somebody picks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picked {
    /// Which of what there is.
    number: usize,
    /// They have not seen the current version.
    stale: bool,
}

pub(super) fn any_picked() -> impl Strategy<Value = Picked> {
    (0usize..1000, prop::bool::weighted(0.25)).prop_map(|(number, stale)| Picked { number, stale })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Choosing {
    Server,
    Client,
    Both,
    NewData,
    /// What the server holds, as data.
    SameData,
}

pub(super) fn any_choosing() -> impl Strategy<Value = Choosing> {
    prop_oneof![
        2 => Just(Choosing::Server),
        3 => Just(Choosing::Client),
        1 => Just(Choosing::Both),
        2 => Just(Choosing::NewData),
        1 => Just(Choosing::SameData),
    ]
}

impl World {
    pub(super) fn resolve(
        &mut self,
        by: usize,
        picked: Picked,
        choosing: Choosing,
        fields: &Fields,
    ) {
        let open: Vec<_> = self.memory.open_conflicts().cloned().collect();
        let all: Vec<_> = self.memory.conflicts.values().cloned().collect();
        // Mostly one that waits, now and then one that was settled.
        let among = match open.is_empty() || picked.number.is_multiple_of(5) {
            true => &all,
            false => &open,
        };
        let Some(conflict) = among.get(picked.number % among.len().max(1)) else {
            return;
        };
        let current = self.memory.current(&conflict.key);
        let held = current.and_then(|stored| match stored.content {
            Content::Live(document) => Some(document),
            Content::Tombstone | Content::NotLoaded | Content::Withheld => None,
        });
        let seen = |key: &EntityKey| match (self.memory.version(key), picked.stale) {
            (now, false) => now,
            (now, true) => version((now.number() - 1).max(0)),
        };
        let wish = Wish {
            conflict: conflict.id,
            choice: match (choosing, held) {
                (Choosing::Server, _) => Choice::KeepServer,
                (Choosing::Client, _) => Choice::KeepClient,
                (Choosing::Both, _) => Choice::KeepBoth,
                (Choosing::SameData, Some(held)) => Choice::UseData(held),
                (Choosing::NewData, _) | (Choosing::SameData, None) => {
                    Choice::UseData(fields.document())
                }
            },
            expected: seen(&conflict.key),
            expected_other: conflict.older().as_ref().map(seen).unwrap_or_default(),
        };
        self.decide(by, conflict, &wish);
    }

    fn decide(&mut self, by: usize, conflict: &Conflict, wish: &Wish) {
        let by = device(DEVICES[by]);
        let before = self.memory.clone();
        let resolved = self.memory.resolve(&by, self.now, wish);
        let name = match &wish.choice {
            Choice::KeepServer => "KeepServer",
            Choice::KeepClient => "KeepClient",
            Choice::UseData(_) => "UseData",
            Choice::KeepBoth => "KeepBoth",
        };
        self.ledger.reach(format!("{:?} {name}", resolved.status));
        revisions_are_dense(&before, &resolved.plan);
        shows_what_is_held(&self.memory, conflict, &resolved);
        match resolved.status {
            ResolveStatus::Resolved if conflict.settled.is_none() => {
                self.is_as_chosen(&before, conflict, wish);
                self.nothing_is_left_to_sync(conflict);
            }
            // Asked again.
            ResolveStatus::Resolved => is_untouched(&before, &self.memory),
            ResolveStatus::NoSuchChoice => {
                is_untouched(&before, &self.memory);
                assert!(conflict.older().is_none() && wish.choice == Choice::KeepBoth);
            }
            ResolveStatus::OutOfVersions => panic!("a history is never that long"),
            ResolveStatus::Moved | ResolveStatus::SettledBefore => {
                let settled = conflict.settled.is_some();
                assert_eq!(settled, resolved.status == ResolveStatus::SettledBefore);
                assert!(resolved.plan.writes.is_empty());
                assert!(resolved.plan.inbox.conflicts.is_empty());
                if let Choice::UseData(document) = &wish.choice {
                    let edit = (conflict.key.clone(), wish.decision(&by).mutation);
                    self.ledger.owe(edit, Place::Side, Some(document.clone()));
                } else {
                    is_untouched(&before, &self.memory);
                }
            }
        }
        let mut again = self.memory.clone();
        let second = again.resolve(&by, self.now, wish);
        assert_eq!(second.status, resolved.status, "the same decision again");
        shows_what_is_held(&self.memory, conflict, &second);
        is_untouched(&self.memory, &again);
    }

    /// The conflict is settled, and the entities are what the person wanted.
    fn is_as_chosen(&mut self, before: &Memory, conflict: &Conflict, wish: &Wish) {
        let seen = [
            Some(wish.expected),
            conflict.older().map(|_| wish.expected_other),
        ];
        let keys = [Some(conflict.key.clone()), conflict.older()];
        for (key, seen) in keys.iter().flatten().zip(seen) {
            assert_eq!(Some(before.version(key)), seen, "nobody has seen it");
        }
        let settled = self.memory.conflicts[&conflict.id].settled.clone();
        let settled = settled.expect("settled");
        assert_eq!(settled.version, self.memory.version(&conflict.key));
        let before = |key| holds(before, key);
        let side = before_side(&self.memory, conflict);
        let expected = match (&wish.choice, conflict.older()) {
            (Choice::KeepServer, None) => (before(&conflict.key), None),
            (Choice::KeepClient, None) => (side, None),
            (Choice::UseData(data), None) => (Some(data.clone()), None),
            (Choice::KeepServer, Some(older)) => (None, before(&older)),
            (Choice::KeepClient, Some(_)) => (before(&conflict.key), None),
            (Choice::UseData(data), Some(_)) => (None, Some(data.clone())),
            (Choice::KeepBoth, Some(older)) => (before(&conflict.key), before(&older)),
            (Choice::KeepBoth, None) => panic!("there are no two"),
        };
        let held = |key| holds(&self.memory, key);
        let other = conflict.older();
        let other = other.as_ref().and_then(held);
        assert_eq!((held(&conflict.key), other), expected);
    }

    /// After a resolution every side that was part of it comes again, and nothing happens.
    fn nothing_is_left_to_sync(&self, conflict: &Conflict) {
        let sides = self.memory.sides.values();
        for side in sides.filter(|side| side.conflict == conflict.id) {
            let sent = self.devices.iter().flat_map(|device| &device.sent);
            let mut items = sent.filter_map(|submission| submission.item.as_ref().ok());
            let item = items.find(|i| i.mutation == side.mutation && i.key == side.key);
            // A decision that came too late is no item; what is ahead may fit rule 3 one day.
            let Some(item) = item.filter(|item| !item.force && side.base <= side.server_version)
            else {
                continue;
            };
            let batch = [Submission {
                group: None,
                item: Ok(item.clone()),
            }];
            let plan = self.memory.validate(&side.device, self.now, &batch);
            assert!(plan.writes.is_empty() && plan.inbox.is_empty(), "{plan:?}");
            let quiet = match &plan.answers[0] {
                Answer::Unchanged { .. } => true,
                Answer::Conflict(conflicting) => conflicting.verdict == Verdict::ServerWon,
                Answer::Written { .. } | Answer::Rejected(_) => false,
            };
            assert!(quiet, "{:?}", plan.answers);
        }
    }

    pub(super) fn restore(&mut self, by: usize, picked: Picked) {
        let by = device(DEVICES[by]);
        let versions = self.memory.versions.iter().flat_map(|(key, rows)| {
            rows.iter()
                .map(move |row| (key.clone(), row.new.document.clone()))
        });
        let sides = self.memory.sides.values();
        let sides = sides.filter(|side| !self.memory.library.contains_key(&side.key));
        let sides = sides.map(|side| (side.key.clone(), side.document.clone()));
        let all: Vec<_> = versions.chain(sides).collect();
        let Some((key, document)) = all.get(picked.number % all.len().max(1)) else {
            return;
        };
        let now = self.memory.version(key);
        let expected = match picked.stale {
            true => version((now.number() - 1).max(0)),
            false => now,
        };
        let name = document.as_ref().map(|document| document.text().as_bytes());
        let mutation = decision_mutation(&[
            by.as_str().as_bytes(),
            key.entity_id.as_bytes(),
            name.unwrap_or_default(),
            &expected.number().to_be_bytes(),
        ]);
        let before = self.memory.clone();
        let known = before.written_by(key, mutation).is_some();
        let document = document.as_ref();
        let restored = self
            .memory
            .restore(&by, self.now, key, document, expected, mutation);
        revisions_are_dense(&before, &restored.plan);
        let done = restored.status == RestoreStatus::Restored;
        assert_eq!(done, known || expected == now);
        if done && !known {
            self.ledger.reach("restored");
            assert_eq!(holds(&self.memory, key).as_ref(), document);
        } else {
            self.ledger.reach("not restored");
            is_untouched(&before, &self.memory);
        }
        let mut again = self.memory.clone();
        let second = again.restore(&by, self.now, key, document, expected, mutation);
        let same = holds(&before, key).as_ref() == document;
        let again_alike = second.status == restored.status || same;
        assert!(again_alike, "the same wish again");
        is_untouched(&self.memory, &again);
    }
}

fn holds(memory: &Memory, key: &EntityKey) -> Option<Arc<Document>> {
    match memory.current(key)?.content {
        Content::Live(document) => Some(document),
        Content::Tombstone | Content::NotLoaded | Content::Withheld => None,
    }
}

fn before_side(memory: &Memory, conflict: &Conflict) -> Option<Arc<Document>> {
    let side = memory.sides.get(&(conflict.key.clone(), conflict.mutation));
    side.and_then(|side| side.document.clone())
}

/// The answer to a decision has what the server holds.
fn shows_what_is_held(memory: &Memory, conflict: &Conflict, resolved: &Resolved) {
    let other = conflict.older();
    for (key, copy) in [
        (Some(&conflict.key), &resolved.copy),
        (other.as_ref(), &resolved.other),
    ] {
        let held = key.and_then(|key| memory.current(key));
        let version = held.as_ref().map(|stored| stored.version);
        assert_eq!(copy.as_ref().map(|copy| copy.version), version);
        let document = key.and_then(|key| holds(memory, key));
        assert_eq!(
            copy.as_ref().and_then(|copy| copy.document.clone()),
            document
        );
    }
}

/// Nothing at all was written.
fn is_untouched(before: &Memory, after: &Memory) {
    assert_eq!(before.revision, after.revision);
    assert_eq!(before.open, after.open);
    assert_eq!(before.conflicts, after.conflicts);
    assert!(before.sides.keys().eq(after.sides.keys()));
    let count = |memory: &Memory| memory.versions.values().map(Vec::len).sum::<usize>();
    assert_eq!(count(before), count(after));
}
