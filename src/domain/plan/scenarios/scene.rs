//! One user's devices and their server, with short ways to say what they do.

use std::sync::Arc;

use uuid::Uuid;

use super::super::memory::Memory;
use super::super::tests::brief;
use crate::domain::answer::{Answer, Conflicting};
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::entity::{Content, Document, EntityKey, EntityType};
use crate::domain::item::{ItemRules, RawItem, Sender, Submission};
use crate::domain::scope::UserId;
use crate::domain::testing::{NOW, device, document};

pub(in crate::domain::plan) const MINUTE: i64 = 60_000;
pub(in crate::domain::plan) const HOUR: i64 = 60 * MINUTE;
pub(in crate::domain::plan) const DAY: i64 = 24 * HOUR;
pub(in crate::domain::plan) const YEAR: i64 = 365 * DAY;
/// How far clocks are off.
pub(in crate::domain::plan) const OFF: [i64; 7] = [0, HOUR, -HOUR, DAY, -DAY, YEAR, -YEAR];

/// One user's devices and their server.
pub(in crate::domain::plan) struct Scene {
    pub memory: Memory,
    pub now: Millis,
    /// How long a batch is on its way.
    pub latency_ms: i64,
    made: u128,
}

/// An edit of the entity a scene is about.
#[derive(Clone)]
pub(in crate::domain::plan) struct Made {
    pub entity_type: &'static str,
    /// `None` deletes.
    pub data: Option<String>,
    pub base: i32,
    /// When it was really made.
    pub at: i64,
    /// How far the clock of its device is off.
    pub clock: i64,
    /// Whether the device says what its clock shows (`client_time`).
    pub tells_time: bool,
    pub group: &'static str,
}

pub(in crate::domain::plan) fn put(entity_type: &'static str, base: i32, data: &str) -> Made {
    Made {
        entity_type,
        data: Some(data.to_owned()),
        base,
        at: NOW.0,
        clock: 0,
        tells_time: true,
        group: "",
    }
}

pub(in crate::domain::plan) fn delete(entity_type: &'static str, base: i32) -> Made {
    Made {
        data: None,
        ..put(entity_type, base, "")
    }
}

impl Made {
    pub fn at(self, at: i64) -> Self {
        Self { at, ..self }
    }

    pub fn by_a_clock_off_by(self, clock: i64) -> Self {
        Self { clock, ..self }
    }

    pub fn in_group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }
}

pub(in crate::domain::plan) fn key(entity_type: &str) -> EntityKey {
    EntityKey {
        entity_type: EntityType::new(entity_type).expect("a type"),
        entity_id: Uuid::from_u128(1),
    }
}

impl Scene {
    pub fn new() -> Self {
        Self {
            memory: Memory::new(Catalog::builtin()),
            now: Millis(NOW.0 + YEAR),
            latency_ms: 0,
            made: 0,
        }
    }

    /// As the wire would bring it.
    pub fn submission(&mut self, from: &str, made: &Made) -> Submission {
        self.made += 1;
        let raw = RawItem {
            entity_type: made.entity_type.into(),
            entity_id: Uuid::from_u128(1).to_string(),
            operation: made.data.as_ref().map_or("delete", |_| "update").into(),
            data: made.data.clone().unwrap_or_default().into_bytes(),
            version: made.base,
            timestamp: made.at + made.clock,
            mutation_id: Uuid::from_u128(self.made).to_string(),
            force: false,
            group_id: made.group.into(),
        };
        let sender = Sender {
            user: UserId::new("mia").expect("a user"),
            device: device(from),
            client_time: match made.tells_time {
                true => self.now.0 - self.latency_ms + made.clock,
                false => 0,
            },
            received: self.now,
        };
        let rules = ItemRules {
            catalog: &self.memory.catalog,
            item_bytes_max: usize::MAX,
            operator: false,
        };
        Submission::parse(raw, &sender, &rules)
    }

    /// Sends edits that nobody sent before, and gives the answers in a word each.
    pub fn push(&mut self, from: &str, edits: &[Made]) -> Vec<String> {
        let batch: Vec<_> = edits
            .iter()
            .map(|made| self.submission(from, made))
            .collect();
        self.send(from, &batch)
    }

    pub fn send(&mut self, from: &str, batch: &[Submission]) -> Vec<String> {
        let plan = self.memory.push(&device(from), self.now, batch);
        plan.answers.iter().map(brief).collect()
    }

    /// Sends one edit that is a conflict.
    pub fn conflict(&mut self, from: &str, made: &Made) -> (Submission, Conflicting) {
        let submission = self.submission(from, made);
        let batch = std::slice::from_ref(&submission);
        let plan = self.memory.push(&device(from), self.now, batch);
        match &plan.answers[0] {
            Answer::Conflict(conflicting) => (submission, conflicting.as_ref().clone()),
            other => panic!("{other:?}"),
        }
    }

    /// The same items again change nothing at all.
    pub fn is_silent(&self, from: &str, batch: &[Submission]) {
        let plan = self.memory.validate(&device(from), self.now, batch);
        assert!(plan.writes.is_empty() && plan.inbox.is_empty(), "{plan:?}");
    }

    /// What the entity holds; `None`: it is deleted.
    pub fn holds(&self, entity_type: &str) -> Option<String> {
        let stored = self.memory.current(&key(entity_type)).expect("an entity");
        match stored.content {
            Content::Live(document) => Some(document.text().to_owned()),
            Content::Tombstone | Content::NotLoaded | Content::Withheld => None,
        }
    }

    pub fn holds_as(&self, entity_type: &str, expected: &str) {
        let held = self.holds(entity_type).expect("live");
        assert!(document(&held).same_as(&document(expected)), "{held}");
    }

    /// What is kept of losing sides, as text; deletions as nothing.
    pub fn sides(&self) -> Vec<String> {
        let sides = self.memory.sides.values();
        let text = |document: &Arc<Document>| document.text().to_owned();
        sides
            .map(|side| side.document.as_ref().map(text).unwrap_or_default())
            .collect()
    }
}
