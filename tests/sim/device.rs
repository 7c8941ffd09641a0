//! The model device: a small, honest client. It makes calls and takes answers, nothing else: it has no
//! clock, no randomness and no connection of its own, and whatever it has to remember is in here, so that a
//! clone of the value is what a backup holds.
//!
//! What an app must do, and easily gets wrong:
//!
//! - A batch is sent unchanged until it is answered. Only then the next one is made, with the next number.
//! - An edit is based on the version its person saw: behind an edit that still waits, on that one's base.
//! - An answer may be old (the reply that was lost): it never takes an entity back to an older version.
//! - Whatever waits is pushed first, and only then everything is read from the beginning. The other way round, the late answer to an edit that was applied long ago would bring
//!   back what others have deleted since: the beginning shows no tombstones.
//! - What has not come when everything has been read from the beginning is gone.
//! - After CURSOR_RESET the server has forgotten something. The device sends again which edits of its own it
//!   holds as current, with their mutation ids: those that are known are answered as they were.

mod taking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ironflow_sync::grpc::proto::{PullRequest, ResolveConflictRequest, SyncItem, SyncRequest};

use super::call::Call;
use super::plants::Plant;

/// Names an entity: its type and id.
pub type Key = (String, String);

/// What an app is set up to do. Not part of its data: a restored backup runs on the phone it is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// How far its clock is off.
    pub clock_ms: i64,
    /// Whether it tells its clock (`client_time`).
    pub tells_time: bool,
    /// Whether it asks for its own writes as well.
    pub include_own: bool,
    /// Items per batch.
    pub batch_items: usize,
    /// Entities per page.
    pub page_size: i32,
    /// A bug of the app, if the checks are checked.
    pub plant: Option<Plant>,
}

/// An entity as a device holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    pub version: i32,
    /// Its data; `None`: it is deleted.
    pub data: Option<Vec<u8>>,
    /// The device's own edit that has become this version.
    pub own: Option<SyncItem>,
}

/// What makes names that nobody else has.
#[derive(Debug, Clone, Default)]
pub struct Names(pub u64);

impl Names {
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    /// A UUID that is nobody else's.
    pub fn id(&mut self) -> String {
        uuid::Uuid::from_u128(0xedu128 << 120 | u128::from(self.next())).to_string()
    }
}

/// What is not the device's own when it takes an answer: its person, and chance.
pub struct Around<'a> {
    pub names: &'a mut Names,
    /// What the person will choose, if asked.
    pub person: u32,
    /// The device's clock.
    pub clock_ms: i64,
    pub setup: Setup,
}

/// An installation of an app.
#[derive(Debug, Clone)]
pub struct Device {
    pub id: String,
    pub store: BTreeMap<Key, Copy>,
    /// Edits that are not in a batch yet, in the order they were made.
    pub queue: VecDeque<SyncItem>,
    /// The last batch, until it is answered.
    pub batch: Option<Vec<SyncItem>>,
    /// A decision of the person, until it is answered.
    pub decision: Option<ResolveConflictRequest>,
    /// That decision has its number.
    is_counted: bool,
    /// The number of the last batch or decision that was made.
    count: i64,
    cursor: String,
    /// What has come since the device began to read from the beginning.
    catching_up: Option<BTreeSet<Key>>,
}

impl Device {
    pub fn new(id: String) -> Self {
        Self {
            id,
            store: BTreeMap::new(),
            queue: VecDeque::new(),
            batch: None,
            decision: None,
            is_counted: false,
            count: 0,
            cursor: String::new(),
            catching_up: None,
        }
    }

    /// Whether nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.batch.is_none() && self.decision.is_none()
    }

    /// The mutation ids of what waits to be answered, in order.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.batch.iter().flatten().chain(&self.queue);
        waiting.map(|item| item.mutation_id.clone()).collect()
    }

    /// What the person sees of an entity, and what an edit of it is based on.
    pub fn shown(&self, key: &Key) -> (Option<&[u8]>, i32) {
        let waiting = self.queue.iter().rev();
        let sent = self.batch.iter().flatten().rev();
        if let Some(last) = waiting.chain(sent).find(|item| is_about(item, key)) {
            let data = (last.operation != "delete").then_some(last.data.as_slice());
            return (data, last.version);
        }
        match self.store.get(key) {
            Some(copy) => (copy.data.as_deref(), copy.version),
            None => (None, 0),
        }
    }

    /// Queues an edit. `data`: `None` deletes.
    pub fn edit(&mut self, key: &Key, data: Option<Vec<u8>>, item: SyncItem) {
        let (_, base) = self.shown(key);
        let operation = match &data {
            Some(_) => "update",
            None => "delete",
        };
        self.queue.push_back(SyncItem {
            entity_type: key.0.clone(),
            entity_id: key.1.clone(),
            operation: operation.to_owned(),
            data: data.unwrap_or_default(),
            version: base,
            ..item
        });
    }

    /// The call that sends what waits; `None`: nothing does.
    pub fn push(&mut self, around: &mut Around<'_>) -> Option<Call> {
        if self.batch.is_none() {
            // One thing at a time: the next number is for what is made next.
            if self.is_counted {
                return None;
            }
            let items = self.next_batch(around.setup.batch_items);
            if items.is_empty() {
                return None;
            }
            self.count += 1;
            self.batch = Some(items);
        } else if around.setup.plant == Some(Plant::RetryUnderNewIds) {
            for item in self.batch.iter_mut().flatten() {
                item.mutation_id = around.names.id();
            }
            self.count += 1;
        }
        let request = SyncRequest {
            device_id: self.id.clone(),
            items: self.batch.clone().unwrap_or_default(),
            client_time: match around.setup.tells_time {
                true => around.clock_ms,
                false => 0,
            },
            pending_count: self.queue.len() as i32,
            batch_number: self.count,
            ..SyncRequest::default()
        };
        Some(Call::Sync(request))
    }

    /// The oldest edits of the queue. A group is not torn apart.
    fn next_batch(&mut self, items_max: usize) -> Vec<SyncItem> {
        let mut batch: Vec<SyncItem> = Vec::new();
        while let Some(next) = self.queue.front() {
            let last = batch.last().map(|last| last.group_id.as_str());
            let goes_on = !next.group_id.is_empty() && last == Some(next.group_id.as_str());
            if batch.len() >= items_max && !goes_on {
                break;
            }
            batch.extend(self.queue.pop_front());
        }
        batch
    }

    /// The call that tells what the person decided; `None`: nothing.
    pub fn decide(&mut self) -> Option<Call> {
        if self.batch.is_some() {
            return None;
        }
        let decision = self.decision.clone()?;
        if !self.is_counted {
            self.is_counted = true;
            self.count += 1;
        }
        Some(Call::Resolve(ResolveConflictRequest {
            batch_number: self.count,
            ..decision
        }))
    }

    /// The call for the next page; `None`: something has to be pushed first.
    pub fn pull(&mut self, setup: Setup) -> Option<Call> {
        if self.cursor.is_empty() {
            let waits = self.batch.is_some() || !self.queue.is_empty();
            if waits && setup.plant != Some(Plant::ReadsBeforePushing) {
                return None;
            }
            self.catching_up = Some(BTreeSet::new());
        }
        let request = PullRequest {
            device_id: self.id.clone(),
            cursor: self.cursor.clone(),
            page_size: setup.page_size,
            // What was written under its id before it has made a batch is not its own.
            include_own: setup.include_own || self.count == 0,
            batch_number: self.count,
            ..PullRequest::default()
        };
        Some(Call::Pull(request))
    }
}

fn is_about(item: &SyncItem, key: &Key) -> bool {
    (&item.entity_type, &item.entity_id) == (&key.0, &key.1)
}
