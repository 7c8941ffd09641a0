//! People: what they edit on their devices, and what they decide about conflicts.

use ironflow_sync::grpc::proto::{
    Choice, ConflictKind, GetConflictRequest, ResolveConflictRequest, ServerCopy, SyncItem,
};

use super::call::{Call, Reply};
use super::catalog::{ENTITIES, entity};
use super::device::Key;
use super::history::Touch;
use super::server::BEGINNING;
use super::world::{CALLS_MAX, Peer, Place, World};

impl<P: Peer> World<P> {
    /// A person edits an entity.
    pub fn edit(&mut self, place: usize, touch: Touch, group_id: String) {
        let key = entity(touch.entity % ENTITIES.len());
        let number = self.names.next();
        let Place { device, setup, .. } = &mut self.places[place];
        let clock_ms = self.peer.now_ms() + setup.clock_ms;
        let (shown, base) = device.shown(&key);
        let data = match (touch.field, shown) {
            (None, None) if base == 0 => return,
            (None, _) => None,
            (Some(field), shown) => Some(edited(&key, shown, field, number, clock_ms)),
        };
        let item = SyncItem {
            mutation_id: self.names.id(),
            timestamp: clock_ms - touch.ago_ms,
            force: touch.force,
            group_id,
            ..SyncItem::default()
        };
        self.oracle.made(place, &item.mutation_id);
        device.edit(&key, data, item);
    }

    /// The person looks at a conflict, and decides. False: none waits.
    pub fn open_inbox(&mut self, place: usize, person: u32) -> bool {
        let Ok(Reply::Listed(listed)) = self.serve(&Call::List) else {
            return false;
        };
        let conflicts = listed.conflicts;
        let picked = (person / 4) as usize % conflicts.len().max(1);
        let Some(conflict) = conflicts.get(picked) else {
            return false;
        };
        let conflict_id = conflict.conflict_id.clone();
        let look = Call::Look(GetConflictRequest { conflict_id });
        let Ok(Reply::Looked(looked)) = self.serve(&look) else {
            return false;
        };
        let twice = conflict.kind() == ConflictKind::Duplicate;
        let choice = match (person % 4, twice, looked.proposed_data.is_empty()) {
            (0, _, _) => Choice::KeepServer,
            (1, _, _) | (3, false, _) | (2, _, true) => Choice::KeepClient,
            (3, true, _) => Choice::KeepBoth,
            (_, _, _) => Choice::UseData,
        };
        let version = |copy: Option<&ServerCopy>| copy.map_or(0, |copy| copy.version);
        self.places[place].device.settle(ResolveConflictRequest {
            conflict_id: conflict.conflict_id.clone(),
            choice: choice.into(),
            expected_version: version(looked.server.as_ref()),
            expected_duplicate_version: version(looked.duplicate.as_ref()),
            data: match choice {
                Choice::UseData => looked.proposed_data,
                _ => Vec::new(),
            },
            ..ResolveConflictRequest::default()
        });
        true
    }

    /// The person settles whatever waits, from this device.
    pub fn empty_inbox(&mut self, place: usize) {
        for person in 0..CALLS_MAX as u32 {
            if !self.open_inbox(place, person * 5 + place as u32) {
                return;
            }
            self.sync(place, person);
        }
        let open = "an inbox is never empty".to_owned();
        self.oracle.violations.push(open);
    }
}

/// What an edit leaves of an entity. Every edit leaves something that no other does.
fn edited(key: &Key, shown: Option<&[u8]>, field: u32, number: u64, clock_ms: i64) -> Vec<u8> {
    let shown = shown.and_then(|data| serde_json::from_slice(data).ok());
    let mut document: serde_json::Map<String, serde_json::Value> = shown.unwrap_or_default();
    let name = format!("f{field}");
    match key.0.as_str() {
        "days" => {
            let days = document.entry("days").or_insert(serde_json::json!({}));
            days[name] = serde_json::json!({"n": number, "updatedAt": clock_ms});
        }
        "workout" => {
            let began_at = (BEGINNING / 1_000) * 1_000 + i64::from(field) * 700;
            document.entry("date").or_insert(began_at.into());
            document.insert(name, number.into());
        }
        _ => {
            document.insert(name, number.into());
        }
    }
    serde_json::Value::Object(document).to_string().into_bytes()
}
