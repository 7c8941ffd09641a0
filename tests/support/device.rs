//! A device of a user: pushes items, as an app would.

use std::collections::BTreeMap;

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{
    DeviceInfo, Entity, GetServerInfoRequest, GetServerInfoResponse, GetStatusRequest,
    GetStatusResponse, PullRequest, PullResponse, RevokeDeviceRequest, SyncItem, SyncRequest,
    SyncResponse, SyncResult, WatchRequest, WatchResponse,
};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

/// An installation of an app.
#[derive(Clone)]
pub struct Device {
    pub(super) client: SyncServiceClient<Channel>,
    token: String,
    pub(super) device_id: String,
    label: String,
}

impl Device {
    /// A device with a bearer token.
    pub fn new(client: SyncServiceClient<Channel>, token: String, device_id: &str) -> Self {
        Self {
            client,
            token,
            device_id: device_id.to_owned(),
            label: String::new(),
        }
    }

    /// The same device, which now says what it is called.
    pub fn called(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// Pushes items and returns the answers, one each.
    pub async fn sync(&mut self, items: Vec<SyncItem>) -> Vec<SyncResult> {
        let count = items.len();
        let request = SyncRequest {
            items,
            ..self.request()
        };
        let response = self.send(request).await.expect("the call succeeds");
        assert_eq!(response.results.len(), count, "one answer per item");
        response.results
    }

    /// Pushes one item.
    pub async fn sync_one(&mut self, item: SyncItem) -> SyncResult {
        self.sync(vec![item]).await.remove(0)
    }

    /// An empty request from this device.
    pub fn request(&self) -> SyncRequest {
        SyncRequest {
            device_id: self.device_id.clone(),
            device: Some(DeviceInfo {
                label: self.label.clone(),
                ..DeviceInfo::default()
            }),
            ..SyncRequest::default()
        }
    }

    /// Sends a request as it is, with this device's token.
    pub async fn send(&mut self, request: SyncRequest) -> Result<SyncResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.sync(request).await?.into_inner())
    }
}

/// An update of a workout whose data is these bytes, JSON or not.
pub fn put_bytes(entity_id: Uuid, base: i32, data: impl Into<Vec<u8>>) -> SyncItem {
    SyncItem {
        data: data.into(),
        ..put(entity_id, base, &Value::Null)
    }
}

/// An update of a workout, based on a version (0: none).
pub fn put(entity_id: Uuid, base: i32, data: &Value) -> SyncItem {
    SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: entity_id.to_string(),
        operation: "update".to_owned(),
        data: data.to_string().into_bytes(),
        version: base,
        mutation_id: Uuid::new_v4().to_string(),
        ..SyncItem::default()
    }
}

/// A deletion of a workout, based on a version.
pub fn delete(entity_id: Uuid, base: i32) -> SyncItem {
    SyncItem {
        operation: "delete".to_owned(),
        data: Vec::new(),
        ..put(entity_id, base, &Value::Null)
    }
}

/// What a device has stored: data and version by type and id; deleted entities are gone.
pub type LocalStore = BTreeMap<(String, String), (Value, i32)>;

/// Takes a page over into a device's store, as an app does.
pub fn adopt(store: &mut LocalStore, entities: &[Entity]) {
    for entity in entities {
        let key = (entity.entity_type.clone(), entity.entity_id.clone());
        if entity.deleted {
            store.remove(&key);
        } else {
            let data = serde_json::from_slice(&entity.data).expect("the data is JSON");
            store.insert(key, (data, entity.version));
        }
    }
}

impl Device {
    /// A request for a page after a cursor.
    pub fn page_after(&self, cursor: &str) -> PullRequest {
        PullRequest {
            device_id: self.device_id.clone(),
            cursor: cursor.to_owned(),
            ..PullRequest::default()
        }
    }

    /// Sends a request for a page as it is, with this device's token.
    pub async fn pull(&mut self, request: PullRequest) -> Result<PullResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.pull(request).await?.into_inner())
    }

    /// Pulls pages until there is no more; what came, and where to go on.
    pub async fn pull_all(&mut self, mut request: PullRequest) -> (Vec<Entity>, String) {
        let mut entities = Vec::new();
        loop {
            let page = self.pull(request.clone()).await.expect("a page");
            entities.extend(page.entities);
            request.cursor = page.cursor;
            if !page.has_more {
                return (entities, request.cursor);
            }
        }
    }

    /// Watches from a cursor.
    pub async fn watch(
        &mut self,
        request: PullRequest,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let request = self.authorized(WatchRequest {
            device_id: request.device_id,
            cursor: request.cursor,
            entity_types: request.entity_types,
            page_size: request.page_size,
            include_own: request.include_own,
            schema_version: request.schema_version,
            batch_number: request.batch_number,
        });
        Ok(self.client.watch(request).await?.into_inner())
    }

    /// How the account is doing.
    pub async fn status(&mut self) -> GetStatusResponse {
        self.try_status().await.expect("a status")
    }

    /// How the account is doing, if this device may know.
    pub async fn try_status(&mut self) -> Result<GetStatusResponse, Status> {
        let device_id = self.device_id.clone();
        let request = self.authorized(GetStatusRequest { device_id });
        Ok(self.client.get_status(request).await?.into_inner())
    }

    /// Revokes a device of the user, and says since when it is.
    pub async fn revoke(&mut self, device_id: &str) -> Result<i64, Status> {
        let device_id = device_id.to_owned();
        let request = self.authorized(RevokeDeviceRequest { device_id });
        let revoked = self.client.revoke_device(request).await?;
        Ok(revoked.into_inner().revoked_time)
    }

    /// Asks how the account is doing.
    pub async fn get_status(
        &mut self,
        request: GetStatusRequest,
    ) -> Result<GetStatusResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.get_status(request).await?.into_inner())
    }

    /// What the server is.
    pub async fn server_info(&mut self) -> GetServerInfoResponse {
        let request = self.authorized(GetServerInfoRequest {});
        let info = self.client.get_server_info(request).await;
        info.expect("an answer").into_inner()
    }

    pub(super) fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token);
        let value = bearer.parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
        request
    }
}
