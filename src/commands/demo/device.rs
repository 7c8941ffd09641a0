//! A device as a small, honest app: what it holds, what it has queued, and how it syncs both.

use std::collections::BTreeMap;

use serde_json::Value;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

use super::super::now;
use super::DemoError;
use super::log::Workout;
use crate::grpc::proto::sync_service_client::SyncServiceClient;
use crate::grpc::proto::{
    Choice, ConflictDetail, DeviceInfo, PullRequest, ResolveConflictRequest, ResolveStatus,
    ServerCopy, SyncItem, SyncRequest, SyncResult, SyncStatus,
};

/// What the workouts of the demo are.
pub(super) const ENTITY_TYPE: &str = "workout_session";

/// Edits in a batch and entities on a page: few, so that there is something to see.
const PAGE: usize = 8;

/// One installation of an app.
pub(super) struct Device {
    /// Its id, and what its owner calls it.
    pub(super) name: &'static str,
    endpoint: Endpoint,
    authorization: MetadataValue<Ascii>,
    /// `None`: it is offline.
    service: Option<SyncServiceClient<Channel>>,
    held: BTreeMap<Uuid, Held>,
    queue: Vec<SyncItem>,
    cursor: String,
    /// How many batches it has made, see `SyncRequest.batch_number`.
    batches: i64,
}

/// An entity on the device.
#[derive(Clone, PartialEq)]
pub(super) struct Held {
    /// The version the server told; what the next edit is based on. 0: it was never synced.
    pub(super) version: i32,
    pub(super) data: Value,
}

/// What came of one edit, for the person.
pub(super) enum Told {
    /// The server holds it, as this version.
    Stored(i32),
    /// Somebody else was first, and the person has to choose.
    Asked(Box<Conflict>),
}

/// Two sides, to choose from.
pub(super) struct Conflict {
    pub(super) id: String,
    pub(super) server_version: i32,
    pub(super) server_label: String,
    pub(super) server: Value,
    pub(super) proposed: Value,
}

/// What a pull brought.
#[derive(Default)]
pub(super) struct Pulled {
    pub(super) changes: usize,
    pub(super) open_conflicts: i32,
}

impl Device {
    /// A new one without data, offline.
    pub(super) fn new(name: &'static str, service: &str, token: &str) -> Result<Self, DemoError> {
        let unusable = |_| DemoError::Unexpected("an address and a token that can be used");
        let authorization = format!("Bearer {token}").parse();
        Ok(Self {
            name,
            endpoint: Endpoint::from_shared(service.to_owned()).map_err(|_| unusable(()))?,
            authorization: authorization.map_err(|_| unusable(()))?,
            service: None,
            held: BTreeMap::new(),
            queue: Vec::new(),
            cursor: String::new(),
            batches: 0,
        })
    }

    pub(super) async fn go_online(&mut self) -> Result<(), DemoError> {
        let channel = self.endpoint.connect().await;
        let channel = channel.map_err(|_| DemoError::Unexpected("the service to listen"))?;
        self.service = Some(SyncServiceClient::new(channel));
        Ok(())
    }

    /// Drops the connection; what is edited from here on waits in the queue.
    pub(super) fn go_offline(&mut self) {
        self.service = None;
    }

    /// Everything it holds.
    pub(super) fn held(&self) -> &BTreeMap<Uuid, Held> {
        &self.held
    }

    /// How many edits wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// An edit of the person: it counts on the device at once, and waits in the queue for the service.
    pub(super) fn edit(&mut self, workout: Workout, minutes_ago: i64) {
        let known = self.held.get(&workout.id);
        let base = known.map_or(0, |known| known.version);
        self.queue.push(SyncItem {
            entity_type: ENTITY_TYPE.to_owned(),
            entity_id: workout.id.to_string(),
            operation: if base == 0 { "create" } else { "update" }.to_owned(),
            data: workout.data.to_string().into_bytes(),
            version: base,
            timestamp: now().0 - minutes_ago * 60_000,
            // Made with the edit and kept with it: sent again, it is recognised and applied once.
            mutation_id: Uuid::new_v4().to_string(),
            ..SyncItem::default()
        });
        let data = workout.data;
        let version = base;
        self.held.insert(workout.id, Held { version, data });
    }

    /// Sends the queue, one batch after the other. An edit leaves the queue when it is answered.
    /// `progress` hears how many were.
    pub(super) async fn push(&mut self, progress: impl Fn(usize)) -> Result<Vec<Told>, DemoError> {
        let mut told = Vec::new();
        while !self.queue.is_empty() {
            let items: Vec<SyncItem> = self.queue.iter().take(PAGE).cloned().collect();
            self.batches += 1;
            let batch = SyncRequest {
                device_id: self.name.to_owned(),
                pending_count: (self.queue.len() - items.len()) as i32,
                items,
                client_time: now().0,
                device: Some(DeviceInfo {
                    label: self.name.to_owned(),
                    ..DeviceInfo::default()
                }),
                batch_number: self.batches,
                ..SyncRequest::default()
            };
            let batch = self.request(batch);
            let answer = self.service()?.sync(batch).await;
            let results = answer.map_err(|status| self.failed("Sync", &status))?;
            for result in results.into_inner().results {
                let item = self.queue.remove(0);
                told.push(self.take(&item, result)?);
            }
            progress(told.len());
        }
        Ok(told)
    }

    /// Takes in the answer to an edit.
    fn take(&mut self, item: &SyncItem, result: SyncResult) -> Result<Told, DemoError> {
        let (Ok(id), SyncStatus::Success) = (item.entity_id.parse(), result.status()) else {
            return Ok(Told::Asked(Box::new(conflict(result)?)));
        };
        if let Some(held) = self.held.get_mut(&id) {
            held.version = result.server_version;
        }
        Ok(Told::Stored(result.server_version))
    }

    /// Asks for what others changed, page by page, and takes it in. `progress` hears how many came, and of
    /// how many.
    pub(super) async fn pull(
        &mut self,
        progress: impl Fn(usize, usize),
    ) -> Result<Pulled, DemoError> {
        let mut pulled = Pulled::default();
        loop {
            let request = self.request(PullRequest {
                device_id: self.name.to_owned(),
                cursor: self.cursor.clone(),
                page_size: PAGE as i32,
                batch_number: self.batches,
                ..PullRequest::default()
            });
            let page = self.service()?.pull(request).await;
            let page = page.map_err(|status| self.failed("Pull", &status))?;
            let page = page.into_inner();
            for entity in page.entities {
                pulled.changes += 1;
                // An edit that waits is shown until the service has answered it.
                let waits = |item: &SyncItem| item.entity_id == entity.entity_id;
                if !self.queue.iter().any(waits) {
                    self.adopt(&entity.entity_id, entity.version, &entity.data)?;
                }
            }
            self.cursor = page.cursor;
            pulled.open_conflicts = page.open_conflicts;
            progress(pulled.changes, pulled.changes + page.remaining as usize);
            if !page.has_more {
                return Ok(pulled);
            }
        }
    }

    /// Settles a conflict as the person chose, and takes in what the server holds then.
    pub(super) async fn resolve(
        &mut self,
        conflict: &Conflict,
        choice: Choice,
        id: Uuid,
    ) -> Result<i32, DemoError> {
        let data = match choice {
            Choice::UseData => conflict.proposed.to_string().into_bytes(),
            Choice::KeepServer | Choice::KeepClient | Choice::KeepBoth | Choice::Unspecified => {
                Vec::new()
            }
        };
        let request = self.request(ResolveConflictRequest {
            device_id: self.name.to_owned(),
            conflict_id: conflict.id.clone(),
            choice: choice.into(),
            data,
            expected_version: conflict.server_version,
            ..ResolveConflictRequest::default()
        });
        let answer = self.service()?.resolve_conflict(request).await;
        let answer = answer.map_err(|status| self.failed("ResolveConflict", &status))?;
        let answer = answer.into_inner();
        match (answer.status(), answer.server) {
            (ResolveStatus::Resolved, Some(ServerCopy { version, data, .. })) => {
                self.adopt(&id.to_string(), version, &data)?;
                Ok(version)
            }
            _ => Err(DemoError::Unexpected("the choice to settle the conflict")),
        }
    }

    fn adopt(&mut self, id: &str, version: i32, data: &[u8]) -> Result<(), DemoError> {
        let id = id.parse().ok();
        let id = id.ok_or(DemoError::Unexpected("an entity id that is a UUID"))?;
        let data = json(data)?;
        self.held.insert(id, Held { version, data });
        Ok(())
    }

    fn service(&self) -> Result<SyncServiceClient<Channel>, DemoError> {
        let offline = DemoError::Unexpected("the device to be online");
        self.service.clone().ok_or(offline)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let authorization = self.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);
        request
    }

    fn failed(&self, call: &'static str, status: &Status) -> DemoError {
        DemoError::Call {
            device: self.name,
            call,
            status: format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

fn conflict(result: SyncResult) -> Result<Conflict, DemoError> {
    let detail: ConflictDetail = result.conflict.unwrap_or_default();
    Ok(Conflict {
        id: detail.conflict_id,
        server_version: result.server_version,
        server_label: detail.server_device_label,
        server: json(&result.server_data)?,
        proposed: json(&detail.proposed_data)?,
    })
}

fn json(bytes: &[u8]) -> Result<Value, DemoError> {
    serde_json::from_slice(bytes).map_err(|_| DemoError::Unexpected("data that is JSON"))
}
