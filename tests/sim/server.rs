//! The model server: what the service does between the wire and the core, over a store in memory. It
//! decides nothing itself: that is for `plan`, `resolve` and `page_end`.
//!
//! It is told which bug to have ([`Plant`]); what a bug does to what the core is given, and to what comes
//! of it, stands in [`super::plants`].

use std::collections::BTreeMap;

use ironflow_sync::grpc::proto;
use uuid::Uuid;

use super::answers;
use super::call::{Answered, Call, Failure, Reply};
use super::catalog::{catalog, loaded};
use super::history::Fate;
use super::memory::{Memory, Wish};
use super::oracle::Oracle;
use super::plants::{Plant, Stale};
use super::world::Peer;
use crate::domain::clock::Millis;
use crate::domain::conflict::ConflictId;
use crate::domain::item::{Item, ItemRules, RawItem, Sender, Submission};
use crate::domain::json::Json;
use crate::domain::plan::{Plan, plan};
use crate::domain::resolve::{Choice, ResolveStatus};
use crate::domain::scope::{DeviceId, UserId};
use crate::domain::version::{Revision, Version};

/// Noon, some day: where the server's clock begins.
pub const BEGINNING: i64 = 1_700_000_000_000;

/// What is in a backup of the server.
#[derive(Debug, Clone)]
pub struct Backup {
    memory: Memory,
    marks: BTreeMap<String, Mark>,
    epoch: Uuid,
}

/// The last batch that a device has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    number: i64,
    digest: String,
}

/// The service and its database.
#[derive(Debug)]
pub struct Server {
    pub memory: Memory,
    marks: BTreeMap<String, Mark>,
    pub(super) epoch: Uuid,
    /// How often it was restored.
    lives: u128,
    pub now: Millis,
    /// How far into the user's changes a cursor has led.
    pub served: Revision,
    pub(super) plant: Option<Plant>,
    /// What the plants need that look at old states.
    pub(super) stale: Stale,
}

impl Server {
    pub fn new(plant: Option<Plant>) -> Self {
        let mut memory = Memory::new(catalog());
        memory.library.extend(loaded());
        Self {
            memory,
            marks: BTreeMap::new(),
            epoch: Uuid::from_u128(1),
            lives: 1,
            now: Millis(BEGINNING),
            served: Revision::default(),
            plant,
            stale: Stale::default(),
        }
    }

    pub(super) fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// Answers a call.
    fn call(&mut self, call: &Call) -> Answered {
        let next = match call {
            Call::Sync(request) => Some(request),
            Call::Pull(_) | Call::Resolve(_) | Call::List | Call::Look(_) => None,
        };
        self.catch_up(next);
        let answered = self.answer(call);
        match std::mem::take(&mut self.stale.unanswered) {
            true => Err(Failure::Unreachable),
            false => answered,
        }
    }

    fn answer(&mut self, call: &Call) -> Answered {
        match call {
            Call::Sync(request) => {
                let digest: Vec<&str> = request
                    .items
                    .iter()
                    .map(|item| item.mutation_id.as_str())
                    .collect();
                let again =
                    self.count(&request.device_id, request.batch_number, digest.join(" "))?;
                Ok(Reply::Synced(self.sync(request, again)))
            }
            Call::Pull(request) => {
                self.is_newest(&request.device_id, request.batch_number)?;
                self.page(request).map(Reply::Page)
            }
            Call::Resolve(request) => {
                if !self.has(Plant::DecisionsUncounted) {
                    let digest = format!("{request:?}");
                    self.count(&request.device_id, request.batch_number, digest)?;
                }
                let resolved = self.resolve(request)?;
                Ok(Reply::Resolved(Box::new(resolved)))
            }
            Call::List => Ok(Reply::Listed(answers::listed(&self.memory))),
            Call::Look(request) => answers::looked(&self.memory, &request.conflict_id)
                .map(|looked| Reply::Looked(Box::new(looked)))
                .ok_or_else(|| Failure::Invalid("conflict_id".to_owned())),
        }
    }

    /// Refuses a copy of a device that is behind it.
    fn is_newest(&self, device: &str, number: i64) -> Result<(), Failure> {
        // 0 is a device that does not count, or has not yet.
        let behind = self
            .marks
            .get(device)
            .is_some_and(|m| number < m.number && number > 0);
        match behind && !self.has(Plant::CopiesUnnoticed) {
            true => Err(Failure::DeviceIdReused),
            false => Ok(()),
        }
    }

    /// Notes what a device has counted, or refuses a copy of it. Whether it has come before.
    fn count(&mut self, device: &str, number: i64, digest: String) -> Result<bool, Failure> {
        self.is_newest(device, number)?;
        let mark = Mark { number, digest };
        let known = self.marks.get(device);
        let again = known == Some(&mark);
        let other = known.is_some_and(|known| known.number == number && *known != mark);
        if other && !self.has(Plant::CopiesUnnoticed) {
            return Err(Failure::DeviceIdReused);
        }
        self.marks.insert(device.to_owned(), mark);
        Ok(again)
    }

    fn sync(&mut self, request: &proto::SyncRequest, again: bool) -> proto::SyncResponse {
        let device = device(&request.device_id);
        let sender = Sender {
            user: UserId::new("mia").expect("a user"),
            device: device.clone(),
            client_time: request.client_time,
            received: self.now,
        };
        let rules = ItemRules {
            catalog: &self.memory.catalog,
            item_bytes_max: usize::MAX,
            operator: false,
        };
        let items = request.items.iter();
        let mut batch: Vec<Submission> = items
            .map(|item| Submission::parse(raw_item(item), &sender, &rules))
            .collect();
        self.misread(&mut batch, request);
        let items: Vec<&Item> = batch.iter().filter_map(|s| s.item.as_ref().ok()).collect();
        let mut snapshot = self.memory.read(&items, &device);
        self.mislead(&mut snapshot, &items, &device);
        let context = self.memory.context(&device, self.now);
        let mut plan = plan(&snapshot, &batch, &context);
        self.distort(&mut plan, &batch);
        if again && !self.has(Plant::RepeatsDecidedAfresh) {
            plan = plan.repeated(&snapshot, &batch);
        }
        let answers = plan.answers.clone();
        self.commit(plan, &device);
        let results = request
            .items
            .iter()
            .zip(answers)
            .map(|(item, answer)| proto::SyncResult {
                entity_type: item.entity_type.clone(),
                entity_id: item.entity_id.clone(),
                mutation_id: item.mutation_id.clone(),
                ..answers::result(answer)
            })
            .collect();
        proto::SyncResponse {
            results,
            server_time: self.now.0,
        }
    }

    fn commit(&mut self, plan: Plan, device: &DeviceId) {
        match self.late_commit(plan, device) {
            Some(plan) if self.plant.is_some() => {
                self.memory.write_blindly(&plan, device, self.now);
            }
            Some(plan) => self.memory.write(&plan, device, self.now),
            None => (),
        }
        self.forget();
    }

    fn resolve(
        &mut self,
        request: &proto::ResolveConflictRequest,
    ) -> Result<proto::ResolveConflictResponse, Failure> {
        let invalid = |field: &str| Failure::Invalid(field.to_owned());
        let id = Uuid::parse_str(&request.conflict_id).map_err(|_| invalid("conflict_id"))?;
        let known = self.memory.conflicts.get(&ConflictId(id));
        let conflict = known.cloned().ok_or_else(|| invalid("conflict_id"))?;
        let choice = match request.choice() {
            proto::Choice::KeepServer => Choice::KeepServer,
            proto::Choice::KeepClient => Choice::KeepClient,
            proto::Choice::UseData => {
                let json = Json::from_device(&request.data).map_err(|_| invalid("data"))?;
                let text = String::from_utf8_lossy(&request.data).into_owned();
                Choice::UseData(crate::domain::entity::Document::from_device(text, json).into())
            }
            proto::Choice::KeepBoth => Choice::KeepBoth,
            proto::Choice::Unspecified => return Err(invalid("choice")),
        };
        let seen = |number| Version::new(number).ok_or_else(|| invalid("expected_version"));
        let mut wish = Wish {
            conflict: conflict.id,
            choice,
            expected: seen(request.expected_version)?,
            expected_other: seen(request.expected_duplicate_version)?,
        };
        if self.has(Plant::ResolvesUnseen) {
            wish.expected = self.memory.version(&conflict.key);
        }
        let device = device(&request.device_id);
        let resolved = self.memory.consider(&device, self.now, &wish);
        match resolved.status {
            ResolveStatus::Resolved | ResolveStatus::Moved | ResolveStatus::SettledBefore => (),
            ResolveStatus::NoSuchChoice | ResolveStatus::OutOfVersions => {
                return Err(invalid("choice"));
            }
        }
        self.commit(resolved.plan, &device);
        let conflict = &self.memory.conflicts[&conflict.id];
        Ok(proto::ResolveConflictResponse {
            status: answers::resolve_status(resolved.status).into(),
            conflict: Some(answers::conflict(conflict)),
            server: resolved.copy.map(answers::copy),
            duplicate: resolved.other.map(answers::copy),
        })
    }
}

impl Peer for Server {
    type Backup = Backup;

    const TELLS_ALL: bool = true;

    fn now_ms(&self) -> i64 {
        self.now.0
    }

    fn pass(&mut self, ms: i64) {
        self.now.0 += ms;
    }

    fn deliver(&mut self, call: &Call, fate: Fate) -> Vec<Answered> {
        let times = match fate {
            Fate::RequestLost | Fate::Held => 0,
            Fate::Fine | Fate::ReplyLost => 1,
            Fate::Twice | Fate::Echoed => 2,
        };
        (0..times).map(|_| self.call(call)).collect()
    }

    fn backup(&mut self) -> Backup {
        Backup {
            memory: self.memory.clone(),
            marks: self.marks.clone(),
            epoch: self.epoch,
        }
    }

    /// And begins a new epoch, as the operator's manual says.
    fn restore(&mut self, backup: &Backup) {
        self.memory = backup.memory.clone();
        self.marks = backup.marks.clone();
        self.stale = Stale::default();
        self.served = Revision::default();
        self.lives += 1;
        self.epoch = match self.has(Plant::EpochStays) {
            true => backup.epoch,
            false => Uuid::from_u128(self.lives),
        };
    }

    fn memory(&mut self) -> Memory {
        self.memory.clone()
    }

    fn show(&mut self, oracle: &mut Oracle) {
        oracle.holds(&self.memory, self.served);
    }

    fn heal(&mut self) {}

    fn watchers_are_current(&mut self, _: &Memory) -> Result<(), String> {
        Ok(())
    }
}

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).expect("a device id")
}

fn raw_item(item: &proto::SyncItem) -> RawItem {
    RawItem {
        entity_type: item.entity_type.clone(),
        entity_id: item.entity_id.clone(),
        operation: item.operation.clone(),
        data: item.data.clone(),
        version: item.version,
        timestamp: item.timestamp,
        mutation_id: item.mutation_id.clone(),
        force: item.force,
        group_id: item.group_id.clone(),
    }
}
