//! How the model device takes answers.

use std::collections::{BTreeSet, VecDeque};

use ironflow_sync::grpc::proto::{
    Choice, Entity, ErrorCode, PullResponse, Resolution, ResolveConflictRequest,
    ResolveConflictResponse, SyncItem, SyncResponse, SyncResult, SyncStatus,
};

use super::{Around, Copy, Device, Key};
use crate::sim::call::{Answered, Failure, Reply};
use crate::sim::plants::Plant;

impl Device {
    /// Takes the answer to its last call.
    pub fn take(&mut self, answered: Answered, around: &mut Around<'_>) {
        match answered {
            Ok(Reply::Synced(response)) => self.pushed(response, around),
            Ok(Reply::Page(page)) => self.pulled(page, around.setup.plant),
            Ok(Reply::Resolved(response)) => self.resolved(*response),
            Ok(Reply::Listed(_) | Reply::Looked(_)) => (),
            Err(Failure::CursorReset) => {
                if around.setup.plant == Some(Plant::ResetDropsQueue) {
                    (self.queue, self.batch) = (VecDeque::new(), None);
                }
                if around.setup.plant == Some(Plant::ResetForgetsOwn) {
                    self.store.values_mut().for_each(|copy| copy.own = None);
                }
                self.start_again();
            }
            Err(Failure::DeviceIdReused) => {
                if around.setup.plant == Some(Plant::KeepsReusedId) {
                    self.count += 1;
                } else {
                    self.id = format!("device-{}", around.names.next());
                    self.count = 0;
                }
                self.become_another();
                self.start_again();
            }
            Err(Failure::Invalid(_)) => (self.decision, self.is_counted) = (None, false),
            Err(Failure::Unreachable) => (),
        }
    }

    /// What waits is sent under the new id.
    fn become_another(&mut self) {
        for item in self.batch.take().unwrap_or_default().into_iter().rev() {
            self.queue.push_front(item);
        }
        self.is_counted = false;
        if let Some(decision) = &mut self.decision {
            decision.device_id.clone_from(&self.id);
        }
    }

    /// Begins at the empty cursor. What the device holds of its own comes first, then the queue.
    fn start_again(&mut self) {
        let waiting: BTreeSet<String> = self.waiting().into_iter().collect();
        let own = self.store.values_mut().rev();
        for item in own.filter_map(|copy| copy.own.take()) {
            if !waiting.contains(&item.mutation_id) {
                self.queue.push_front(SyncItem {
                    group_id: String::new(),
                    ..item
                });
            }
        }
        self.cursor = String::new();
        self.catching_up = None;
    }

    fn pulled(&mut self, page: PullResponse, plant: Option<Plant>) {
        for entity in page.entities {
            if plant == Some(Plant::SkipsTombstones) && entity.deleted {
                continue;
            }
            self.see(entity);
        }
        self.cursor = page.cursor;
        if !page.has_more
            && let Some(seen) = self.catching_up.take()
            && plant != Some(Plant::KeepsWhatIsGone)
        {
            self.store.retain(|key, _| seen.contains(key));
        }
    }

    /// A page is newer than whatever the device has heard before.
    fn see(&mut self, entity: Entity) {
        let key = (entity.entity_type, entity.entity_id);
        if let Some(seen) = &mut self.catching_up {
            seen.insert(key.clone());
        }
        let known = self.store.remove(&key);
        // A restored server may have given the same number to another version.
        let known = known.filter(|known| {
            known.version == entity.version && known.data.is_none() == entity.deleted
        });
        let copy = Copy {
            version: entity.version,
            data: (!entity.deleted).then_some(entity.data),
            own: known.and_then(|known| known.own),
        };
        self.store.insert(key, copy);
    }

    /// Adopts what an answer says, unless something newer is known.
    fn adopt(&mut self, key: Key, copy: Copy, plant: Option<Plant>) {
        let mut known = self.store.get(&key).map(|known| known.version);
        if let Some(seen) = &mut self.catching_up
            && seen.insert(key.clone())
        {
            // What was held before may be from another life of the server.
            known = None;
        }
        if known <= Some(copy.version) || plant == Some(Plant::OldAnswerTakesBack) {
            self.store.insert(key, copy);
        }
    }

    fn pushed(&mut self, response: SyncResponse, around: &mut Around<'_>) {
        let mut again = Vec::new();
        let batch = self.batch.take().unwrap_or_default();
        for (item, result) in batch.into_iter().zip(response.results) {
            again.extend(self.answered(item, result, around));
        }
        for item in again.into_iter().rev() {
            self.queue.push_front(item);
        }
    }

    /// Takes the answer to one item; what has to be sent in its place.
    fn answered(
        &mut self,
        item: SyncItem,
        result: SyncResult,
        around: &mut Around<'_>,
    ) -> Option<SyncItem> {
        let key = (item.entity_type.clone(), item.entity_id.clone());
        let mut copy = Copy {
            version: result.server_version,
            data: None,
            own: Some(item.clone()),
        };
        let plant = around.setup.plant;
        match result.status() {
            SyncStatus::Success => {
                copy.data = (item.operation != "delete").then_some(item.data);
                self.adopt(key, copy, plant);
                None
            }
            SyncStatus::Conflict => {
                let held = (!result.server_deleted).then(|| result.server_data.clone());
                copy.data = held;
                if result.resolution() != Resolution::Merged {
                    copy.own = None;
                }
                self.adopt(key, copy, plant);
                match result.resolution() {
                    Resolution::NeedsUser => self.ask(item, result, around),
                    _ => None,
                }
            }
            SyncStatus::Error | SyncStatus::Unspecified => match result.error_code() {
                ErrorCode::GroupAborted => Some(SyncItem {
                    group_id: String::new(),
                    ..item
                }),
                ErrorCode::RetryLater => Some(item),
                _ => None,
            },
        }
    }

    /// The person is asked about a conflict.
    fn ask(
        &mut self,
        item: SyncItem,
        result: SyncResult,
        around: &mut Around<'_>,
    ) -> Option<SyncItem> {
        let detail = result.conflict.unwrap_or_default();
        let choice = match around.person % 6 {
            // Later, in the inbox.
            0 => return None,
            // Their own on top of what they see now.
            1 => {
                return Some(SyncItem {
                    version: result.server_version,
                    mutation_id: around.names.id(),
                    ..item
                });
            }
            // Their own, whatever there is.
            2 => {
                return Some(SyncItem {
                    force: true,
                    ..item
                });
            }
            3 => Choice::KeepServer,
            4 => Choice::KeepClient,
            _ => Choice::UseData,
        };
        self.settle(ResolveConflictRequest {
            conflict_id: detail.conflict_id,
            choice: choice.into(),
            data: match (choice, detail.proposed_data.as_slice()) {
                (Choice::UseData, []) => item.data,
                (Choice::UseData, proposed) => proposed.to_vec(),
                _ => Vec::new(),
            },
            expected_version: result.server_version,
            ..ResolveConflictRequest::default()
        });
        None
    }

    /// Notes a decision of the person, if none waits; otherwise they decide later, in the inbox.
    pub fn settle(&mut self, decision: ResolveConflictRequest) {
        let in_the_group_of_a_failed_item = decision.conflict_id.is_empty();
        if self.decision.is_none() && !in_the_group_of_a_failed_item {
            self.decision = Some(ResolveConflictRequest {
                device_id: self.id.clone(),
                ..decision
            });
        }
    }

    fn resolved(&mut self, response: ResolveConflictResponse) {
        (self.decision, self.is_counted) = (None, false);
        let conflict = response.conflict.unwrap_or_default();
        let about = |id: String| (conflict.entity_type.clone(), id);
        for (id, copy) in [
            (conflict.entity_id.clone(), response.server),
            (conflict.possible_duplicate_of.clone(), response.duplicate),
        ] {
            if let Some(server) = copy {
                let copy = Copy {
                    version: server.version,
                    data: (!server.deleted).then_some(server.data),
                    own: None,
                };
                self.adopt(about(id), copy, None);
            }
        }
    }
}
