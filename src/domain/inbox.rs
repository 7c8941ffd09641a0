//! The conflict inbox while a batch is decided: what is open, what opens, what closes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::conflict::{
    Conflict, ConflictId, ContentId, InboxWrites, Kept, Kind, LosingSide, Settled, Settlement,
    side_beside,
};
use super::decide::Rule;
use super::entity::{Document, EntityKey, MutationId};
use super::item::Item;
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
    is_touched: HashSet<ConflictId>,
    /// The open possible duplicates: the older entity by the newer.
    duplicates: HashMap<EntityKey, Uuid>,
    kept: HashMap<(EntityKey, MutationId), Kept>,
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
        let duplicates = snapshot.open.iter().filter_map(|open| match open.kind {
            Kind::Duplicate { of } => Some((open.key.clone(), of)),
            Kind::Edit => None,
        });
        let conflicts = snapshot.open.iter().map(|open| (open.id, open.clone()));
        Self {
            snapshot,
            device,
            now,
            conflicts: conflicts.collect(),
            own,
            touched: Vec::new(),
            is_touched: HashSet::new(),
            duplicates: duplicates.collect(),
            kept: HashMap::new(),
            sides: Vec::new(),
            opened: 0,
        }
    }

    /// What is known of an item as a losing side.
    pub(super) fn kept(&self, item: &Item) -> Option<Kept> {
        self.side_of(item).1
    }

    /// The name an item has, or would have, as a losing side; and what is known of it.
    fn side_of(&self, item: &Item) -> (MutationId, Option<Kept>) {
        let Some(kept) = self.kept_as(&item.key, item.mutation) else {
            return (item.mutation, None);
        };
        let content = ContentId::of(item.change.document());
        if kept.content == content {
            return (item.mutation, Some(kept));
        }
        let beside = side_beside(item.mutation, content);
        (beside, self.kept_as(&item.key, beside))
    }

    fn kept_as(&self, key: &EntityKey, side: MutationId) -> Option<Kept> {
        let edit = (key.clone(), side);
        let kept = self
            .kept
            .get(&edit)
            .or_else(|| self.snapshot.kept.get(&edit))?;
        // The batch may have closed or opened its conflict since.
        Some(match self.conflicts.get(&kept.conflict) {
            Some(known) => Kept {
                open: known.settled.is_none(),
                asked: known.asked,
                ..*kept
            },
            None => *kept,
        })
    }

    /// Keeps the side of an item that lost at once, or was merged: with the open conflict of this
    /// entity and device if there is one, as one of its other sides.
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
        if let Some(open) = self.own.get(&item.key).copied() {
            self.add_side(item, met, open);
            return open;
        }
        let settled = self.settled(settlement, version);
        let conflict = self.conflict(item, met, Some(settled));
        self.add_side(item, met, conflict.id);
        self.touch(conflict)
    }

    /// Keeps the side of an item for the person to decide about: as the one that counts of the open
    /// conflict of this entity and device, or with a new one.
    pub(super) fn ask(&mut self, item: &Item, met: Encounter) -> ConflictId {
        let kept = self.kept(item);
        if let Some(kept) = kept.filter(|kept| kept.open) {
            return kept.conflict;
        }
        let own = self.own.get(&item.key).copied();
        match (own, kept) {
            // An older edit that a policy settled when it first came.
            (Some(open), Some(_)) => open,
            (Some(open), None) => {
                let mutation = self.add_side(item, met, open);
                let known = self.conflicts.get(&open).cloned();
                if let Some(known) = known {
                    self.touch(Conflict {
                        mutation,
                        base: item.base,
                        server_version: met.server_version,
                        rule: Some(met.rule),
                        policy: met.policy.map(str::to_owned),
                        ..known
                    });
                }
                open
            }
            (None, _) => {
                let conflict = self.conflict(item, met, None);
                self.own.insert(item.key.clone(), conflict.id);
                self.opened += 1;
                if kept.is_none() {
                    self.add_side(item, met, conflict.id);
                }
                self.touch(conflict)
            }
        }
    }

    /// Notes that a new entity may be an older one, recorded twice.
    pub(super) fn ask_about_duplicate(&mut self, item: &Item, of: Uuid, version: Version) {
        let kind = Kind::Duplicate { of };
        self.opened += 1;
        self.duplicates.insert(item.key.clone(), of);
        self.touch(Conflict {
            id: ConflictId::opened_by(&kind, &item.key, item.mutation, self.device),
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
        self.duplicates.get(key).copied()
    }

    /// Whether the item is newer than what waits of this entity and device, or is what waits.
    pub(super) fn supersedes(&self, item: &Item) -> bool {
        let (side, kept) = self.side_of(item);
        let waits = self.own.get(&item.key);
        let waits = waits.and_then(|id| self.conflicts.get(id));
        kept.is_none() || waits.is_some_and(|waits| waits.mutation == side)
    }

    /// This device's newer edit has settled what waited of it.
    pub(super) fn close_own(&mut self, key: &EntityKey, settlement: Settlement, version: Version) {
        if let Some(id) = self.own.remove(key) {
            self.close(id, settlement, version);
        }
    }

    /// What the server holds now is what waited: there is nothing to decide.
    pub(super) fn close_if_same(&mut self, item: &Item, version: Version) {
        if self.kept(item).is_some() && self.supersedes(item) {
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
            self.close(id, Settlement::Pushed, version);
        }
    }

    /// Settles a conflict, if it is known and open.
    pub(super) fn close(&mut self, id: ConflictId, settlement: Settlement, version: Version) {
        let open = self.conflicts.get(&id);
        let Some(open) = open.filter(|known| known.settled.is_none()).cloned() else {
            return;
        };
        if matches!(open.kind, Kind::Duplicate { .. }) {
            self.duplicates.remove(&open.key);
        }
        self.opened -= 1;
        self.touch(Conflict {
            settled: Some(self.settled(settlement, version)),
            ..open
        });
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
            content: ContentId::of(Some(document)),
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

    fn conflict(&self, item: &Item, met: Encounter, settled: Option<Settled>) -> Conflict {
        let (mutation, _) = self.side_of(item);
        Conflict {
            id: ConflictId::opened_by(&Kind::Edit, &item.key, mutation, self.device),
            kind: Kind::Edit,
            key: item.key.clone(),
            device: self.device.clone(),
            mutation,
            base: item.base,
            server_version: met.server_version,
            rule: Some(met.rule),
            policy: met.policy.map(str::to_owned),
            asked: settled.is_none(),
            opened_at: self.now,
            settled,
        }
    }

    /// Keeps an item's side with a conflict, and says by which name.
    fn add_side(&mut self, item: &Item, met: Encounter, conflict: ConflictId) -> MutationId {
        let (mutation, _) = self.side_of(item);
        let content = ContentId::of(item.change.document());
        let kept = Kept {
            content,
            server_version: met.server_version,
            conflict,
            open: false,
            asked: false,
        };
        self.kept.insert((item.key.clone(), mutation), kept);
        self.sides.push(LosingSide {
            key: item.key.clone(),
            mutation,
            content,
            conflict,
            device: self.device.clone(),
            base: item.base,
            server_version: met.server_version,
            document: item.change.document().cloned(),
            edit_time: item.edit_time,
            received_at: self.now,
        });
        mutation
    }

    fn touch(&mut self, conflict: Conflict) -> ConflictId {
        let id = conflict.id;
        if self.is_touched.insert(id) {
            self.touched.push(id);
        }
        self.conflicts.insert(id, conflict);
        id
    }

    fn settled(&self, settlement: Settlement, version: Version) -> Settled {
        Settled {
            settlement,
            by: self.device.clone(),
            at: self.now,
            version,
        }
    }
}
