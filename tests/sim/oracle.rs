//! What must be true, checked from outside: of the answers that were given, whether anybody heard them or
//! not, and of what the server holds when its life ends (by a restore, or with the history).
//!
//! A server that is restored from a backup has forgotten what came after it, and is not to blame. What is
//! promised then: a device that holds its own edit as current gives it back, so what such a device held when
//! it heard of the restore is there in the end, unless its data has gone since.

use std::collections::{BTreeMap, BTreeSet};

use ironflow_sync::grpc::proto::{
    Choice, ErrorCode, Resolution, ResolveConflictRequest, ResolveConflictResponse, ResolveStatus,
    SyncItem, SyncRequest, SyncResponse, SyncResult, SyncStatus,
};

use super::call::{Answered, Call, Failure, Reply};
use super::catalog::entity_key;
use super::device::{Device, Key};
use super::laws::{self, Tables};
use super::memory::Memory;
use crate::domain::version::Revision;

/// What the server has said, in one of its lives: goes back with a backup of it.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Every answer to every item, in the order they were given.
    pub answers: Vec<(SyncItem, SyncResult)>,
    /// Conflicts that a person has settled.
    settled: BTreeSet<String>,
}

/// Watches a history.
#[derive(Debug, Default)]
pub struct Oracle {
    notes: Notes,
    /// Edits that a device held as its own when it heard of a restore, by the device's place.
    given_back: BTreeMap<usize, Vec<SyncItem>>,
    /// Mutation ids of edits that are not answered, by the place of their device.
    waiting: BTreeMap<usize, BTreeSet<String>>,
    /// Mutation ids of the batch that a device has sent and heard nothing of.
    sent: BTreeMap<usize, Vec<String>>,
    /// Mutation ids of edits, and ids of conflicts a person decided about, that may have been answered by a server
    /// whose answers are not all known.
    unknown: BTreeSet<String>,
    /// Revisions of versions that are known, of each entity.
    visible: BTreeMap<String, usize>,
    restored: bool,
    /// Device ids that two copies had when the server forgot what they had counted: nobody can tell them
    /// apart by that, and what one writes the other takes for its own.
    confused: BTreeSet<String>,
    /// What was promised and is not so.
    pub violations: Vec<String>,
    /// What has happened, so that histories are known to reach something.
    pub reached: BTreeSet<String>,
}

impl Oracle {
    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn reach(&mut self, what: impl Into<String>) {
        self.reached.insert(what.into());
    }

    /// What a backup of the server knows of.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// The server is about to go back to a backup, and forgets what it said since.
    pub fn restoring(&mut self, memory: &Memory, notes: Notes) {
        self.end_of_life(memory);
        self.notes = notes;
        // They will hear of it, and give it back once more.
        self.given_back.clear();
        self.restored = true;
        self.reach("server restored");
    }

    /// The server has gone back to a backup.
    pub fn restored<'a>(&mut self, memory: &Memory, devices: impl Iterator<Item = &'a Device>) {
        let mut ids = BTreeSet::new();
        for device in devices {
            if !ids.insert(&device.id) {
                self.confused.insert(device.id.clone());
            }
        }
        let entities = memory.versions.iter();
        let known = entities.map(|(key, rows)| (key.entity_id.to_string(), rows.len()));
        self.visible = known.collect();
    }

    /// Whether copies of a device shared an id when the server was restored.
    pub fn is_confused(&self) -> bool {
        !self.confused.is_empty()
    }

    /// A call was answered, whether or not anybody will hear of it.
    pub fn answered(&mut self, call: &Call, answered: &Answered) {
        match (call, answered) {
            (Call::Sync(request), Ok(Reply::Synced(response))) => {
                self.synced(request, response);
            }
            (Call::Resolve(request), Ok(Reply::Resolved(response))) => {
                self.resolved(request, response);
            }
            (_, Err(Failure::CursorReset)) => self.reach("CURSOR_RESET"),
            (_, Err(Failure::DeviceIdReused)) => self.reach("DEVICE_ID_REUSED"),
            // A restored server may have forgotten what the person decides about.
            (Call::Resolve(_), Err(Failure::Invalid(_))) if self.restored => (),
            (_, Err(Failure::Invalid(field))) => {
                self.violated(format!("an honest call is INVALID_ARGUMENT: {field}"));
            }
            (_, Ok(_) | Err(Failure::Unreachable)) => (),
        }
    }

    /// Whether a call was answered is not known.
    pub fn unknown(&mut self, call: &Call) {
        match call {
            Call::Sync(request) => {
                let items = request.items.iter();
                self.unknown
                    .extend(items.map(|item| item.mutation_id.clone()));
            }
            Call::Resolve(request) => {
                self.unknown.insert(request.conflict_id.clone());
            }
            Call::Pull(_) | Call::List | Call::Look(_) => (),
        }
    }

    /// What the server holds after a call, and how far it has led a cursor by then (promise 7).
    pub fn holds(&mut self, memory: &Memory, served: Revision) {
        for (key, rows) in &memory.versions {
            let id = key.entity_id.to_string();
            let known = self.visible.insert(id, rows.len()).unwrap_or_default();
            for row in rows.iter().skip(known) {
                if row.new.revision <= served {
                    let at = row.new.revision.number();
                    self.violated(format!("revision {at} appeared behind a cursor"));
                }
            }
        }
    }

    fn synced(&mut self, request: &SyncRequest, response: &SyncResponse) {
        if request.items.len() != response.results.len() {
            self.violated("not one answer per item".to_owned());
        }
        let mut failing: BTreeMap<&str, bool> = BTreeMap::new();
        let mut members: BTreeMap<&str, usize> = BTreeMap::new();
        for (item, result) in request.items.iter().zip(&response.results) {
            if !item.group_id.is_empty() {
                *failing.entry(&item.group_id).or_default() |= fails(result);
                *members.entry(&item.group_id).or_default() += 1;
            }
        }
        for (item, result) in request.items.iter().zip(&response.results) {
            self.reach(result.resolution().as_str_name());
            self.reach(result.error_code().as_str_name());
            let aborted = failing.get(item.group_id.as_str()) == Some(&true)
                && members.get(item.group_id.as_str()) > Some(&1);
            let is_new = !self.was_written(item) && !self.unknown.contains(&item.mutation_id);
            if aborted && is_new && !fails(result) {
                self.violated(format!("a group is partly applied: {item:?} {result:?}"));
            }
            self.one(item, result, is_new);
            self.notes.answers.push((item.clone(), result.clone()));
        }
    }

    fn was_written(&self, item: &SyncItem) -> bool {
        let mut before = self.notes.answers.iter();
        before.any(|(known, result)| known.mutation_id == item.mutation_id && writes(result))
    }

    fn one(&mut self, item: &SyncItem, result: &SyncResult, is_new: bool) {
        if (&item.mutation_id, &item.entity_id) != (&result.mutation_id, &result.entity_id) {
            self.violated(format!("the answer to another item: {item:?} {result:?}"));
        }
        let asks = result.resolution() == Resolution::NeedsUser;
        let lost = asks || result.resolution() == Resolution::ServerWon;
        if item.force && lost && item.entity_type != "library" {
            self.violated(format!("force is ignored: {item:?} {result:?}"));
        }
        let conflict = result.conflict.as_ref().filter(|_| asks);
        if conflict.is_some_and(|known| self.notes.settled.contains(&known.conflict_id)) {
            self.violated(format!("a settled conflict opens again: {item:?}"));
        }
        if !is_new && writes(result) {
            self.reach("asked again");
        }
    }

    /// Nobody overwrites what they have not seen.
    fn resolved(&mut self, request: &ResolveConflictRequest, response: &ResolveConflictResponse) {
        let status = response.status();
        self.reach(format!(
            "{} {}",
            status.as_str_name(),
            request.choice().as_str_name()
        ));
        let new = self.notes.settled.insert(request.conflict_id.clone());
        if status != ResolveStatus::Resolved {
            if status == ResolveStatus::Moved {
                self.notes.settled.remove(&request.conflict_id);
            }
            return;
        }
        let now = response.server.as_ref().map_or(0, |server| server.version);
        let base = response.conflict.as_ref().map_or(0, |c| c.base_version);
        let floor = request.expected_version.max(base);
        let fits = now == request.expected_version || now == floor + 1;
        if new && !fits && !self.unknown.contains(&request.conflict_id) {
            self.violated(format!(
                "a decision about version {} became {now}: {:?}",
                request.expected_version,
                Choice::try_from(request.choice)
            ));
        }
    }

    /// A device was told to begin again, after a restore or because it is a copy: what it holds of its own
    /// is there in the end.
    pub fn began_again(&mut self, place: usize, held: Vec<SyncItem>) {
        self.given_back.entry(place).or_default().extend(held);
    }

    /// The data of a device has gone, and other data is there.
    pub fn replaced(&mut self, place: usize, device: &Device) {
        self.given_back.remove(&place);
        self.sent.remove(&place);
        let waiting = device.waiting();
        self.waiting.insert(place, waiting.into_iter().collect());
    }

    /// A person made an edit.
    pub fn made(&mut self, place: usize, mutation: &str) {
        let waiting = self.waiting.entry(place).or_default();
        waiting.insert(mutation.to_owned());
    }

    /// A device makes a call: a batch is the same until it is answered.
    pub fn sent(&mut self, place: usize, call: &Call) {
        let Call::Sync(request) = call else {
            return;
        };
        let items = request.items.iter();
        let batch: Vec<String> = items.map(|item| item.mutation_id.clone()).collect();
        let before = self.sent.insert(place, batch.clone());
        if before.is_some_and(|before| before != batch) {
            self.violated(format!(
                "{place} sends another batch than the unanswered one"
            ));
        }
    }

    /// A device hears of a call.
    pub fn heard(&mut self, place: usize, answered: &Answered) {
        match answered {
            Ok(Reply::Synced(response)) => {
                self.sent.remove(&place);
                let waiting = self.waiting.entry(place).or_default();
                for result in &response.results {
                    match result.error_code() {
                        ErrorCode::GroupAborted | ErrorCode::RetryLater => (),
                        _ => {
                            waiting.remove(&result.mutation_id);
                        }
                    }
                }
            }
            Err(Failure::DeviceIdReused) => {
                self.sent.remove(&place);
            }
            Ok(_) | Err(_) => (),
        }
    }

    fn end_of_life(&mut self, memory: &Memory) {
        let tables = Tables {
            memory,
            restored: self.restored,
        };
        let mut found = laws::of_versions(&tables);
        found.extend(laws::of_conflicts(&tables));
        found.extend(laws::of_answers(&tables, &self.notes.answers));
        self.violations.extend(found);
    }

    /// Everybody has synced twice, and once more to see that there is nothing more to say.
    pub fn finish(&mut self, devices: &[Device], memory: &Memory) {
        self.end_of_life(memory);
        let tables = Tables {
            memory,
            restored: self.restored,
        };
        let mut found = Vec::new();
        for item in self.given_back.values().flatten() {
            if !tables.holds_somewhere(item) {
                found.push(format!("a device gave it back, and it is lost: {item:?}"));
            }
        }
        for (place, mutations) in &self.waiting {
            if !mutations.is_empty() {
                found.push(format!("{place} has dropped edits: {mutations:?}"));
            }
        }
        for device in devices {
            if !device.is_idle() {
                found.push(format!("{} is stuck: {:?}", device.id, device.queue));
            }
            let held: BTreeMap<&Key, (i32, &[u8])> = device
                .store
                .iter()
                .filter_map(|(key, copy)| Some((key, (copy.version, copy.data.as_deref()?))))
                .collect();
            if !self.confused.contains(&device.id) {
                found.extend(diverged(device, &held, memory));
            }
        }
        self.violations.extend(found);
    }
}

/// How a device differs from the server.
fn diverged(
    device: &Device,
    held: &BTreeMap<&Key, (i32, &[u8])>,
    memory: &Memory,
) -> Option<String> {
    let mut keys: BTreeSet<Key> = held.keys().map(|key| (*key).clone()).collect();
    let entities = memory.versions.keys().chain(memory.library.keys());
    keys.extend(entities.map(|key| {
        let id = key.entity_id.to_string();
        (key.entity_type.as_str().to_owned(), id)
    }));
    keys.iter().find_map(|key| {
        let there = memory.current(&entity_key(key));
        let there = there.and_then(|stored| {
            let version = stored.version.number();
            laws::document(&stored).map(|document| (version, document))
        });
        let same = match (held.get(key), &there) {
            (None, None) => true,
            (Some((version, data)), Some((there, document))) => {
                version == there && laws::means_the_same(data, document)
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        let held = held.get(key).map(|(version, data)| (version, text(data)));
        let there = there.map(|(version, document)| (version, document.text().to_owned()));
        let id = &device.id;
        (!same).then(|| format!("{id} diverged: {key:?} is {held:?}, on the server {there:?}"))
    })
}

/// Whether this answer aborts its item's group.
fn fails(result: &SyncResult) -> bool {
    match result.status() {
        SyncStatus::Success => false,
        SyncStatus::Conflict => result.resolution() != Resolution::Merged,
        SyncStatus::Error | SyncStatus::Unspecified => true,
    }
}

/// Whether this answer says that the item has become a version.
pub fn writes(result: &SyncResult) -> bool {
    match result.resolution() {
        Resolution::Applied
        | Resolution::ClientWon
        | Resolution::Resurrected
        | Resolution::Merged => true,
        Resolution::Unchanged
        | Resolution::ServerWon
        | Resolution::NeedsUser
        | Resolution::Unspecified => false,
    }
}
