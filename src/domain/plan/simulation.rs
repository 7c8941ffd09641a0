//! Random histories of several devices and their users against a store in memory ([`memory`]). After every
//! step the promises of docs/protocol.md, section 1, are checked: of batches in [`ledger`], of what a
//! person decides in [`decisions`].

mod decisions;
mod history;
mod laws;
mod ledger;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::memory::Memory;
use super::*;
use crate::domain::item::{Rejection, RejectionCode};
use crate::domain::testing::{NOW, device, document, version};
use history::{DEVICES, ENTITIES, LOADED, Made, Step, any_history, catalog, entity};
use ledger::{Ledger, Pushed};

/// What one device knows.
#[derive(Debug, Default)]
struct Installation {
    /// The version it knows of each entity.
    known: BTreeMap<EntityKey, Version>,
    queue: Vec<Submission>,
    /// All it ever sent and that somebody may send again.
    sent: Vec<Submission>,
}

struct World {
    memory: Memory,
    ledger: Ledger,
    devices: Vec<Installation>,
    focus: Vec<usize>,
    now: Millis,
    steps: i64,
    edits: u128,
}

impl World {
    fn new(focus: Vec<usize>) -> Self {
        let mut memory = Memory::new(catalog());
        let stored = Stored {
            content: Content::Live(document("{\"title\":\"0\"}")),
            device: device("operator"),
            ..crate::domain::testing::stored(crate::domain::testing::Edit::Put(""), 2)
        };
        memory.library.insert(entity(LOADED), stored);
        Self {
            memory,
            ledger: Ledger::default(),
            devices: DEVICES.map(|_| Installation::default()).into(),
            focus,
            now: NOW,
            steps: 0,
            edits: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        // Every other step falls into the same millisecond as the one before it.
        self.steps += 1;
        self.now = Millis(NOW.0 + self.steps / 2);
        match step {
            Step::Edit(device, made) => {
                let key = self.key(made);
                let known = self.devices[*device].known.get(&key).copied();
                let submission = self.submission(made, known.unwrap_or_default());
                self.devices[*device].queue.push(submission);
            }
            Step::Push {
                device,
                items,
                heard,
            } => self.push_queue(*device, *items, *heard),
            Step::Pull(device) => {
                for key in (0..ENTITIES.len()).map(entity) {
                    let version = self.memory.version(&key);
                    self.devices[*device].known.insert(key, version);
                }
            }
            Step::Late {
                device,
                items,
                group,
                force,
            } => {
                let sent = &self.devices[*device].sent;
                let again = items.iter().filter_map(|pick| {
                    let mut submission = sent.get(pick % sent.len().max(1))?.clone();
                    submission.group = group.map(str::to_owned);
                    if let Ok(item) = &mut submission.item {
                        item.force |= force;
                    }
                    Some(submission)
                });
                let batch: Vec<Submission> = again.collect();
                self.push(*device, &batch);
            }
            Step::Odd(device, items) => {
                let mut batch: Vec<Submission> = items
                    .iter()
                    .map(|(made, base)| self.submission(made, version(*base)))
                    .collect();
                let bad = Rejection::new(RejectionCode::InvalidItem, "operation: expected ..");
                batch.push(Submission {
                    group: None,
                    item: Err(bad),
                });
                self.push(*device, &batch);
            }
            Step::Resolve(device, picked, choosing, fields) => {
                self.resolve(*device, *picked, *choosing, fields);
            }
            Step::Restore(device, picked) => self.restore(*device, *picked),
        }
    }

    fn key(&self, made: &Made) -> EntityKey {
        entity(self.focus[made.entity % self.focus.len()])
    }

    fn submission(&mut self, made: &Made, base: Version) -> Submission {
        self.edits += 1;
        let key = self.key(made);
        let read_only = self.memory.catalog.rules(&key.entity_type).shared;
        let item = Item {
            key,
            change: match &made.fields {
                Some(fields) => Change::Put(fields.document()),
                None => Change::Delete,
            },
            base,
            edit_time: Millis(self.now.0 - made.ago),
            mutation: MutationId(Uuid::from_u128(self.edits)),
            force: made.force,
            clock_offset_ms: 0,
            read_only,
        };
        Submission {
            group: made.group.map(str::to_owned),
            item: Ok(item),
        }
    }

    fn push_queue(&mut self, device: usize, items: usize, heard: bool) {
        let queue = &self.devices[device].queue;
        let batch = queue[..items.min(queue.len())].to_vec();
        let plan = self.push(device, &batch);
        if !heard {
            return;
        }
        let installation = &mut self.devices[device];
        installation.queue.drain(..batch.len());
        for (submission, answer) in batch.iter().zip(&plan.answers) {
            let version = match answer {
                Answer::Written { written, .. } => written.version,
                Answer::Unchanged { version, .. } => *version,
                Answer::Conflict(conflicting) => conflicting.copy.version,
                Answer::Rejected(_) => continue,
            };
            let item = submission.item.as_ref().expect("devices send valid items");
            installation.known.insert(item.key.clone(), version);
        }
    }

    /// Sends a batch, and checks what came of it.
    fn push(&mut self, device_number: usize, batch: &[Submission]) -> Plan {
        let sender = device(DEVICES[device_number]);
        let before = self.memory.clone();
        let dry = before.validate(&sender, self.now, batch);
        let plan = self.memory.push(&sender, self.now, batch);
        laws::same_answers(&dry.answers, &plan.answers);
        self.devices[device_number]
            .sent
            .extend(batch.iter().cloned());
        self.ledger.check(&Pushed {
            before: &before,
            after: &self.memory,
            sender: &sender,
            now: self.now,
            batch,
            plan: &plan,
        });
        plan
    }
}

fn run((focus, steps): &(Vec<usize>, Vec<Step>)) -> World {
    let mut world = World::new(focus.clone());
    for step in steps {
        world.run(step);
        world.ledger.check_all(&world.memory);
    }
    world
}

proptest! {
    #[test]
    fn the_promises_hold_after_every_step_of_any_history(history in any_history()) {
        run(&history);
    }

    /// Promise 5: also with lost answers, deletions, groups, and edits that come in any order again.
    #[test]
    fn a_device_alone_never_meets_a_conflict(history in any_history()) {
        let (focus, steps) = history;
        // Nobody is alone with the library.
        let own = focus.into_iter().map(|number| match ENTITIES[number] {
            "library" => 0,
            _ => number,
        });
        let mut world = World::new(own.collect());
        for mut step in steps {
            match &mut step {
                Step::Edit(device, _)
                | Step::Push { device, .. }
                | Step::Pull(device)
                | Step::Late { device, .. }
                | Step::Restore(device, _) => *device = 0,
                Step::Odd(..) | Step::Resolve(..) => continue,
            }
            world.run(&step);
            let memory = &world.memory;
            let mut edits = memory.conflicts.values().filter(|conflict| conflict.older().is_none());
            prop_assert!(edits.next().is_none(), "{:?}", memory.conflicts);
            prop_assert!(memory.sides.is_empty());
        }
    }
}

/// So that the checks above are known to have something to check.
#[test]
fn histories_reach_every_kind_of_answer_and_decision() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..500 {
        let history = any_history().new_tree(&mut runner).expect("a history");
        reached.append(&mut run(&history.current()).ledger.reached);
    }
    for kind in [
        "Applied",
        "ClientWon",
        "Resurrected",
        "Unchanged",
        "Merged",
        "ServerWon",
        "NeedsUser",
        "GroupAborted",
        "ReadOnly",
        "InvalidItem",
        "merged without a write",
        "replayed",
        "replayed merge",
        "replayed merge in a failed group",
        "settled before",
        "asked again",
        "attached",
        "duplicate",
        "closed by a push",
        "Resolved KeepServer",
        "Resolved KeepClient",
        "Resolved UseData",
        "Resolved KeepBoth",
        "Moved UseData",
        "SettledBefore UseData",
        "restored",
        "not restored",
    ] {
        assert!(
            reached.contains(kind),
            "{kind} is never reached: {reached:?}"
        );
    }
}
