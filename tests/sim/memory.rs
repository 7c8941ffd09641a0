//! A store in memory: it keeps what plans write, and reads for the next plan what the real store would
//! read: no more, and no less. What the tables of the real one refuse, it refuses as well.
//!
//! The unit tests of the core include this file as well: it names the core as `crate::domain`.

#![allow(dead_code)] // either side uses a part of it

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId, ContentId, Kept, Kind};
use crate::domain::conflict::{LosingSide, side_beside};
use crate::domain::decide::{Merged, Resolution, Written};
use crate::domain::entity::{Content, Document, EntityKey, MutationId, Stored};
use crate::domain::item::{Item, Submission};
use crate::domain::plan::{BatchContext, NewVersion, Newcomer, Plan, Snapshot, plan};
use crate::domain::resolve::{Choice, Decision, Held, Resolved, Restored, decision_mutation};
use crate::domain::resolve::{resolve, restore};
use crate::domain::scope::DeviceId;
use crate::domain::version::{Revision, Version};

/// Neighbours read on each side of a new entity at most.
const NEIGHBOURS_MAX: usize = 2;

/// A version as it is kept.
#[derive(Debug, Clone)]
pub struct Row {
    pub new: NewVersion,
    pub device: DeviceId,
    pub at: Millis,
}

/// One user's scope, and the library.
#[derive(Debug, Clone)]
pub struct Memory {
    pub catalog: Arc<Catalog>,
    pub revision: Revision,
    /// All versions of each entity, the oldest first.
    pub versions: BTreeMap<EntityKey, Vec<Row>>,
    pub sides: BTreeMap<(EntityKey, MutationId), LosingSide>,
    pub conflicts: BTreeMap<ConflictId, Conflict>,
    /// The counter of open conflicts.
    pub open: i32,
    /// What the operator has loaded.
    pub library: BTreeMap<EntityKey, Stored>,
}

/// A person's decision, before it has a name.
#[derive(Debug, Clone)]
pub struct Wish {
    pub conflict: ConflictId,
    pub choice: Choice,
    pub expected: Version,
    pub expected_other: Version,
}

impl Memory {
    pub fn new(catalog: Catalog) -> Self {
        Self {
            catalog: Arc::new(catalog),
            revision: Revision::default(),
            versions: BTreeMap::new(),
            sides: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            open: 0,
            library: BTreeMap::new(),
        }
    }

    /// The entity as it is now, with its data.
    pub fn current(&self, key: &EntityKey) -> Option<Stored> {
        if self.catalog.rules(&key.entity_type).shared {
            return self.library.get(key).cloned();
        }
        let row = self.versions.get(key)?.last()?;
        Some(Stored {
            version: row.new.version,
            content: content(row),
            device: row.device.clone(),
            device_label: None,
            foreign_version: row.new.foreign_version,
            base: row.new.base,
            mutation: row.new.mutation,
            merged: row.new.resolution == Resolution::Merged,
            edit_time: row.new.edit_time,
            clock_offset_ms: row.new.clock_offset_ms,
            updated_at: row.at,
        })
    }

    /// The number of its current version.
    pub fn version(&self, key: &EntityKey) -> Version {
        self.current(key).map(|now| now.version).unwrap_or_default()
    }

    /// The version this edit wrote.
    pub fn written_by(&self, key: &EntityKey, mutation: MutationId) -> Option<&Row> {
        let mut rows = self.versions.get(key)?.iter();
        rows.find(|row| row.new.mutation == mutation)
    }

    pub fn open_conflicts(&self) -> impl Iterator<Item = &Conflict> {
        self.conflicts
            .values()
            .filter(|conflict| conflict.settled.is_none())
    }

    /// Decides a batch, and writes nothing.
    pub fn validate(&self, device: &DeviceId, now: Millis, batch: &[Submission]) -> Plan {
        let items: Vec<&Item> = batch
            .iter()
            .filter_map(|submission| submission.item.as_ref().ok())
            .collect();
        let snapshot = self.read(&items, device);
        plan(&snapshot, batch, &self.context(device, now))
    }

    pub fn push(&mut self, device: &DeviceId, now: Millis, batch: &[Submission]) -> Plan {
        let plan = self.validate(device, now, batch);
        self.write(&plan, device, now);
        plan
    }

    pub fn resolve(&mut self, device: &DeviceId, now: Millis, wish: &Wish) -> Resolved {
        let resolved = self.consider(device, now, wish);
        self.write(&resolved.plan, device, now);
        resolved
    }

    /// Decides about a conflict as a person wishes, and writes nothing.
    pub fn consider(&self, device: &DeviceId, now: Millis, wish: &Wish) -> Resolved {
        let conflict = self.conflicts[&wish.conflict].clone();
        let decision = wish.decision(device);
        let side = self
            .sides
            .get(&(conflict.key.clone(), conflict.mutation))
            .and_then(|side| side.document.clone());
        let older = conflict.older();
        let keys: Vec<&EntityKey> = [&conflict.key].into_iter().chain(&older).collect();
        let mut snapshot = self.read_whole(&keys, decision.mutation, device);
        if conflict.settled.is_none() && !snapshot.open.contains(&conflict) {
            snapshot.open.push(conflict.clone());
        }
        let context = self.context(device, now);
        resolve(&snapshot, &conflict, side.as_ref(), &decision, &context)
    }

    pub fn restore(
        &mut self,
        device: &DeviceId,
        now: Millis,
        key: &EntityKey,
        document: Option<&Arc<Document>>,
        expected: Version,
        mutation: MutationId,
    ) -> Restored {
        let snapshot = self.read_whole(&[key], mutation, device);
        let context = self.context(device, now);
        let held = Held::Content(document.cloned());
        let restored = restore(&snapshot, key, Some(&held), expected, mutation, &context);
        self.write(&restored.plan, device, now);
        restored
    }

    /// What a batch of a device is decided on beside the snapshot.
    pub fn context(&self, device: &DeviceId, now: Millis) -> BatchContext {
        BatchContext {
            device: device.clone(),
            now,
            catalog: self.catalog.clone(),
            item_bytes_max: usize::MAX,
            copy_bytes_max: usize::MAX,
        }
    }

    /// What the real store would read for these items.
    pub fn read(&self, items: &[&Item], device: &DeviceId) -> Snapshot {
        let (shared, own): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.read_only);
        let mut snapshot = Snapshot {
            revision: self.revision,
            written: self.read_written(own.iter().map(|item| (&item.key, item.mutation))),
            ..Snapshot::default()
        };
        for item in &own {
            let Some(mut stored) = self.current(&item.key) else {
                continue;
            };
            let mut same = own.iter().filter(|other| other.key == item.key);
            let looked_at = same.any(|other| other.base != stored.version);
            if !looked_at && !stored.content.is_tombstone() {
                stored.content = Content::NotLoaded;
            }
            snapshot.entities.insert(item.key.clone(), stored);
        }
        for item in &shared {
            let stored = self.library.get(&item.key).cloned();
            let found = stored.map(|stored| (item.key.clone(), stored));
            snapshot.entities.extend(found);
        }
        let wanted = snapshot.wanted(items, device, &self.catalog);
        let bases = wanted.bases.iter().filter_map(|(key, version)| {
            let mut rows = self.versions.get(*key)?.iter();
            let row = rows.find(|row| row.new.version == *version)?;
            Some((((*key).clone(), *version), content(row)))
        });
        let bases = bases.collect();
        let own_sides = wanted.own_sides.iter().filter_map(|(key, mutation)| {
            let side = self.sides.get(&((*key).clone(), *mutation))?;
            let content = side
                .document
                .clone()
                .map_or(Content::Tombstone, Content::Live);
            Some(((*key).clone(), content))
        });
        let own_sides = own_sides.collect();
        let beside = wanted.contested.iter().map(|item| {
            let content = ContentId::of(item.change.document());
            (&item.key, side_beside(item.mutation, content))
        });
        let names = wanted
            .contested
            .iter()
            .map(|item| (&item.key, item.mutation));
        let kept = self.read_kept(names.chain(beside), device);
        let new = wanted.new.iter();
        let neighbours = new.map(|new| (new.key.clone(), self.neighbours(new)));
        let neighbours = neighbours.collect();
        let named: Vec<&EntityKey> = own.iter().map(|item| &item.key).collect();
        Snapshot {
            bases,
            own_sides,
            kept,
            neighbours,
            open: self.read_open(&named, device),
            ..snapshot
        }
    }

    /// What it would read for a person's decision.
    pub fn read_whole(
        &self,
        keys: &[&EntityKey],
        mutation: MutationId,
        device: &DeviceId,
    ) -> Snapshot {
        let edits = || keys.iter().map(|key| (*key, mutation));
        let stored = |key: &&EntityKey| Some(((*key).clone(), self.current(key)?));
        Snapshot {
            revision: self.revision,
            entities: keys.iter().filter_map(stored).collect(),
            written: self.read_written(edits()),
            kept: self.read_kept(edits(), device),
            open: self.read_open(keys, device),
            ..Snapshot::default()
        }
    }

    fn read_written<'a>(
        &self,
        edits: impl Iterator<Item = (&'a EntityKey, MutationId)>,
    ) -> HashMap<(EntityKey, MutationId), Written> {
        let written = edits.filter_map(|(key, mutation)| {
            let row = self.written_by(key, mutation)?;
            let merged = row.new.document.clone().map(|document| Merged {
                document,
                edit_time: row.new.edit_time,
            });
            let written = Written {
                version: row.new.version,
                resolution: row.new.resolution,
                at: row.at,
                merged: merged.filter(|_| row.new.resolution == Resolution::Merged),
                withheld: false,
            };
            Some(((key.clone(), mutation), written))
        });
        written.collect()
    }

    fn read_kept<'a>(
        &self,
        edits: impl Iterator<Item = (&'a EntityKey, MutationId)>,
        device: &DeviceId,
    ) -> HashMap<(EntityKey, MutationId), Kept> {
        let kept = edits.filter_map(|(key, mutation)| {
            let edit = (key.clone(), mutation);
            let side = self.sides.get(&edit)?;
            let own = ConflictId::opened_by(&Kind::Edit, key, mutation, device);
            let conflict = self.conflicts.get(&own);
            let conflict = conflict.unwrap_or_else(|| &self.conflicts[&side.conflict]);
            let kept = Kept {
                content: side.content,
                server_version: side.server_version,
                conflict: conflict.id,
                open: conflict.settled.is_none(),
                asked: conflict.asked,
            };
            Some((edit, kept))
        });
        kept.collect()
    }

    fn read_open(&self, named: &[&EntityKey], device: &DeviceId) -> Vec<Conflict> {
        let about = |conflict: &&Conflict| {
            let own = conflict.device == *device;
            match conflict.kind {
                Kind::Edit => own && named.contains(&&conflict.key),
                Kind::Duplicate { .. } => {
                    let other = conflict.older();
                    named.iter().any(|key| {
                        **key == conflict.key || other.as_ref().is_some_and(|other| other == *key)
                    })
                }
            }
        };
        self.open_conflicts().filter(about).cloned().collect()
    }

    fn neighbours(&self, new: &Newcomer<'_>) -> Vec<(Uuid, Millis)> {
        let rows = self.versions.iter().filter(|(key, _)| {
            key.entity_type == new.key.entity_type && key.entity_id != new.key.entity_id
        });
        let mut near: Vec<(Uuid, Millis)> = rows
            .filter_map(|(key, rows)| Some((key.entity_id, rows.last()?.new.began_at?)))
            .filter(|(_, at)| (new.from..=new.until).contains(at))
            .collect();
        near.sort_by_key(|(_, at)| *at);
        let (before, after): (Vec<_>, Vec<_>) =
            near.into_iter().partition(|(_, at)| *at < new.began_at);
        let before = before.into_iter().rev().take(NEIGHBOURS_MAX);
        before
            .chain(after.into_iter().take(NEIGHBOURS_MAX))
            .collect()
    }

    /// Writes a plan.
    ///
    /// # Panics
    ///
    /// Where the tables of the real store would refuse.
    pub fn write(&mut self, plan: &Plan, device: &DeviceId, now: Millis) {
        for write in &plan.writes {
            let held = self.current(&write.key).map(|stored| stored.version);
            assert_eq!(write.replaces, held, "based on what is stored");
            let rows = self.versions.entry(write.key.clone()).or_default();
            for new in &write.versions {
                let before = rows.last().map(|row| row.new.version);
                assert!(Some(new.version) > before, "versions rise (promise 6)");
                assert!(new.foreign_version < new.version);
                let known = rows.iter().any(|row| row.new.mutation == new.mutation);
                assert!(!known, "an edit is applied at most once (promise 4)");
                rows.push(row(new, device, now));
            }
        }
        self.write_inbox(plan, device);
        self.revision = plan.last_revision;
    }

    /// Writes a plan as tables without any constraint would.
    pub fn write_blindly(&mut self, plan: &Plan, device: &DeviceId, now: Millis) {
        for write in &plan.writes {
            let rows = self.versions.entry(write.key.clone()).or_default();
            rows.extend(write.versions.iter().map(|new| row(new, device, now)));
        }
        for (_, conflict) in &plan.inbox.conflicts {
            self.conflicts.insert(conflict.id, conflict.clone());
        }
        for side in &plan.inbox.sides {
            let edit = (side.key.clone(), side.mutation);
            self.sides.entry(edit).or_insert_with(|| side.clone());
        }
        self.revision = self.revision.max(plan.last_revision);
        self.open += plan.inbox.opened;
    }

    fn write_inbox(&mut self, plan: &Plan, device: &DeviceId) {
        for (_, conflict) in &plan.inbox.conflicts {
            self.write_conflict(conflict);
        }
        for side in &plan.inbox.sides {
            let conflict = self.conflicts.get(&side.conflict);
            let conflict = conflict.expect("a side belongs to a conflict");
            assert_eq!((&side.device, &conflict.key), (device, &side.key));
            let edit = (side.key.clone(), side.mutation);
            let double = self.sides.insert(edit, side.clone());
            assert!(double.is_none(), "a losing side is kept once");
        }
        self.open += plan.inbox.opened;
    }

    /// What a conflict is about, whose it is and when it was first seen never change.
    fn write_conflict(&mut self, new: &Conflict) {
        let new = match self.conflicts.get(&new.id) {
            None => new.clone(),
            Some(known) => Conflict {
                kind: known.kind,
                key: known.key.clone(),
                device: known.device.clone(),
                opened_at: known.opened_at,
                ..new.clone()
            },
        };
        assert!(new.asked || new.settled.is_some());
        let of_device = |open: &&Conflict| {
            open.kind == Kind::Edit && open.key == new.key && open.device == new.device
        };
        let others = self.open_conflicts().filter(of_device);
        let other = others.filter(|open| open.id != new.id).count();
        let opens = new.settled.is_none() && new.kind == Kind::Edit;
        assert!(
            !opens || other == 0,
            "one open conflict of an entity and device"
        );
        self.conflicts.insert(new.id, new);
    }
}

impl Wish {
    /// The decision, named by all that makes it the same.
    pub fn decision(&self, device: &DeviceId) -> Decision {
        let (choice, data): (&[u8], &[u8]) = match &self.choice {
            Choice::KeepServer => (b"keep_server", b""),
            Choice::KeepClient => (b"keep_client", b""),
            Choice::UseData(document) => (b"use_data", document.text().as_bytes()),
            Choice::KeepBoth => (b"keep_both", b""),
        };
        let mutation = decision_mutation(&[
            self.conflict.0.as_bytes(),
            device.as_str().as_bytes(),
            choice,
            data,
            &self.expected.number().to_be_bytes(),
            &self.expected_other.number().to_be_bytes(),
        ]);
        Decision {
            choice: self.choice.clone(),
            expected: self.expected,
            expected_other: self.expected_other,
            mutation,
        }
    }
}

fn row(new: &NewVersion, device: &DeviceId, at: Millis) -> Row {
    Row {
        new: new.clone(),
        device: device.clone(),
        at,
    }
}

fn content(row: &Row) -> Content {
    let document = row.new.document.clone();
    document.map_or(Content::Tombstone, Content::Live)
}
