//! The conflict inbox while a batch is decided: what is open, what opens, what closes.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::conflict::{
    Conflict, ConflictId, InboxWrites, Kept, Kind, LosingSide, Settled, Settlement,
};
use super::decide::Rule;
use super::entity::{Document, EntityKey, MutationId};
use super::item::{Change, Item};
use super::plan::Snapshot;
use super::scope::DeviceId;
use super::version::{Revision, Version};

/// The inbox as the snapshot has it, overlaid by what the items so far have done.
pub(super) struct Inbox<'a> {
    snapshot: &'a Snapshot,
    device: &'a DeviceId,
    now: Millis,
    /// Conflicts that are open, or were when the batch began.
    conflicts: HashMap<ConflictId, Conflict>,
    /// The open conflict of each entity with this device's edit.
    own: HashMap<EntityKey, ConflictId>,
    /// Conflicts to write, in the order they were first touched.
    touched: Vec<ConflictId>,
    kept: HashMap<(EntityKey, MutationId), ConflictId>,
    sides: Vec<LosingSide>,
    opened: i32,
}

/// What a losing side met, and what found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encounter {
    pub server_version: Version,
    pub rule: Rule,
    pub policy: Option<&'static str>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, device: &'a DeviceId, now: Millis) -> Self {
        let own = snapshot
            .open
            .iter()
            .filter(|open| open.kind == Kind::Edit && open.device == *device)
            .map(|open| (open.key.clone(), open.id))
            .collect();
        let conflicts = snapshot.open.iter().map(|open| (open.id, open.clone()));
        Self {
            snapshot,
            device,
            now,
            conflicts: conflicts.collect(),
            own,
            touched: Vec::new(),
            kept: HashMap::new(),
            sides: Vec::new(),
            opened: 0,
        }
    }

    /// What is known of an item as a losing side.
    pub(super) fn kept(&self, item: &Item) -> Option<Kept> {
        let edit = (item.key.clone(), item.mutation);
        let before = self.snapshot.kept.get(&edit).copied();
        let conflict = match (self.kept.get(&edit), before) {
            (Some(now), _) => *now,
            (None, Some(before)) => before.conflict,
            (None, None) => return None,
        };
        // The batch may have closed or opened it since.
        let state = self.conflicts.get(&conflict).map(|known| Kept {
            conflict,
            open: known.settled.is_none(),
            asked: known.asked,
        });
        state.or(before)
    }

    /// Keeps the side of an item that lost at once, or was merged: with the open conflict of this
    /// entity and device if there is one, so that the person decides about the newest side.
    pub(super) fn keep(
        &mut self,
        item: &Item,
        met: Encounter,
        settlement: Settlement,
        version: Version,
    ) -> ConflictId {
        if let Some(kept) = self.kept(item) {
            return kept.conflict;
        }
        if let Some(id) = self.attach(item, met) {
            return id;
        }
        let settled = self.settled(settlement, Some(version));
        let conflict = self.conflict(item, met, Some(settled));
        self.add(item, met, conflict)
    }

    /// Keeps the side of an item for the person to decide about.
    pub(super) fn ask(&mut self, item: &Item, met: Encounter) -> ConflictId {
        let kept = self.kept(item);
        if let Some(kept) = kept.filter(|kept| kept.open) {
            return kept.conflict;
        }
        if kept.is_none()
            && let Some(id) = self.attach(item, met)
        {
            return id;
        }
        // An older edit that a policy settled when it first came.
        if let Some(id) = self.own.get(&item.key) {
            return *id;
        }
        let conflict = self.conflict(item, met, None);
        self.own.insert(item.key.clone(), conflict.id);
        self.opened += 1;
        match kept {
            Some(_) => self.touch(conflict),
            None => self.add(item, met, conflict),
        }
    }

    /// Notes that a new entity may be an older one, recorded twice.
    pub(super) fn ask_about_duplicate(&mut self, item: &Item, of: Uuid, version: Version) {
        let kind = Kind::Duplicate { of };
        self.opened += 1;
        self.touch(Conflict {
            id: ConflictId::opened_by(&kind, &item.key, item.mutation),
            kind,
            key: item.key.clone(),
            device: self.device.clone(),
            mutation: item.mutation,
            base: item.base,
            server_version: version,
            rule: None,
            policy: None,
            asked: true,
            opened_at: self.now,
            settled: None,
        });
    }

    /// The older entity that this one may be, as far as the person has not decided.
    pub(super) fn duplicate_of(&self, key: &EntityKey) -> Option<Uuid> {
        self.conflicts
            .values()
            .find_map(|conflict| match conflict.kind {
                Kind::Duplicate { of } if conflict.key == *key && conflict.settled.is_none() => {
                    Some(of)
                }
                Kind::Duplicate { .. } | Kind::Edit => None,
            })
    }

    /// This device's newer edit has settled what waited of it.
    pub(super) fn close_own(&mut self, key: &EntityKey, settlement: Settlement, version: Version) {
        if let Some(id) = self.own.remove(key) {
            self.close(id, settlement, Some(version));
        }
    }

    /// What the server holds now is what waited: there is nothing to decide.
    pub(super) fn close_if_same(&mut self, item: &Item, version: Version) {
        let id = self.own.get(&item.key);
        let current = id.and_then(|id| self.conflicts.get(id));
        if current.is_some_and(|current| current.mutation == item.mutation) {
            self.close_own(&item.key, Settlement::Pushed, version);
        }
    }

    /// A deleted entity is nothing's duplicate.
    pub(super) fn close_duplicates(&mut self, key: &EntityKey, version: Version) {
        let about = |conflict: &Conflict| match conflict.kind {
            Kind::Edit => false,
            Kind::Duplicate { of } => {
                conflict.key.entity_type == key.entity_type
                    && (conflict.key.entity_id == key.entity_id || of == key.entity_id)
            }
        };
        let mut ids: Vec<ConflictId> = self
            .conflicts
            .values()
            .filter(|conflict| about(conflict) && conflict.settled.is_none())
            .map(|conflict| conflict.id)
            .collect();
        ids.sort();
        for id in ids {
            self.close(id, Settlement::Pushed, Some(version));
        }
    }

    /// Settles a conflict, if it is known and open.
    pub(super) fn close(
        &mut self,
        id: ConflictId,
        settlement: Settlement,
        version: Option<Version>,
    ) {
        let settled = self.settled(settlement, version);
        let open = self
            .conflicts
            .get(&id)
            .filter(|known| known.settled.is_none());
        if let Some(open) = open {
            let closed = Conflict {
                settled: Some(settled),
                ..open.clone()
            };
            self.opened -= 1;
            self.touch(closed);
        }
    }

    /// Keeps what a person gave to resolve a conflict and came too late with.
    pub(super) fn keep_aside(
        &mut self,
        conflict: &Conflict,
        mutation: MutationId,
        base: Version,
        server_version: Version,
        document: &Arc<Document>,
    ) {
        let edit = (conflict.key.clone(), mutation);
        if self.snapshot.kept.contains_key(&edit) {
            return;
        }
        self.sides.push(LosingSide {
            key: conflict.key.clone(),
            mutation,
            conflict: conflict.id,
            device: self.device.clone(),
            base,
            server_version,
            document: Some(document.clone()),
            edit_time: self.now,
            received_at: self.now,
        });
    }

    /// What to write, from the revision behind `last` on, and the last revision then.
    pub(super) fn finish(mut self, last: Revision) -> (InboxWrites, Revision) {
        let conflicts: Vec<(Revision, Conflict)> = self
            .touched
            .iter()
            .filter_map(|id| self.conflicts.remove(id))
            .enumerate()
            .map(|(i, conflict)| (last.after(i + 1), conflict))
            .collect();
        let last = last.after(conflicts.len());
        let writes = InboxWrites {
            conflicts,
            sides: self.sides,
            opened: self.opened,
        };
        (writes, last)
    }

    /// Makes an item's side the current one of the open conflict of its entity and device.
    fn attach(&mut self, item: &Item, met: Encounter) -> Option<ConflictId> {
        let open = self.conflicts.get(self.own.get(&item.key)?)?;
        let conflict = Conflict {
            mutation: item.mutation,
            base: item.base,
            server_version: met.server_version,
            rule: Some(met.rule),
            policy: met.policy.map(str::to_owned),
            ..open.clone()
        };
        Some(self.add(item, met, conflict))
    }

    fn conflict(&self, item: &Item, met: Encounter, settled: Option<Settled>) -> Conflict {
        Conflict {
            id: ConflictId::opened_by(&Kind::Edit, &item.key, item.mutation),
            kind: Kind::Edit,
            key: item.key.clone(),
            device: self.device.clone(),
            mutation: item.mutation,
            base: item.base,
            server_version: met.server_version,
            rule: Some(met.rule),
            policy: met.policy.map(str::to_owned),
            asked: settled.is_none(),
            opened_at: self.now,
            settled,
        }
    }

    /// Adds an item's side to a conflict.
    fn add(&mut self, item: &Item, met: Encounter, conflict: Conflict) -> ConflictId {
        let document = match &item.change {
            Change::Put(document) => Some(document.clone()),
            Change::Delete => None,
        };
        self.kept
            .insert((item.key.clone(), item.mutation), conflict.id);
        self.sides.push(LosingSide {
            key: item.key.clone(),
            mutation: item.mutation,
            conflict: conflict.id,
            device: self.device.clone(),
            base: item.base,
            server_version: met.server_version,
            document,
            edit_time: item.edit_time,
            received_at: self.now,
        });
        self.touch(conflict)
    }

    fn touch(&mut self, conflict: Conflict) -> ConflictId {
        let id = conflict.id;
        if !self.touched.contains(&id) {
            self.touched.push(id);
        }
        self.conflicts.insert(id, conflict);
        id
    }

    fn settled(&self, settlement: Settlement, version: Option<Version>) -> Settled {
        Settled {
            settlement,
            by: self.device.clone(),
            at: self.now,
            version,
        }
    }
}
