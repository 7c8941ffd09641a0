//! A device of a user: pushes items, as an app would.

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest, SyncResponse, SyncResult};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Request, Status};
use uuid::Uuid;

/// An installation of an app.
#[derive(Clone)]
pub struct Device {
    client: SyncServiceClient<Channel>,
    token: String,
    device_id: String,
}

impl Device {
    /// A device with a bearer token.
    pub fn new(client: SyncServiceClient<Channel>, token: String, device_id: &str) -> Self {
        Self {
            client,
            token,
            device_id: device_id.to_owned(),
        }
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
            ..SyncRequest::default()
        }
    }

    /// Sends a request as it is, with this device's token.
    pub async fn send(&mut self, request: SyncRequest) -> Result<SyncResponse, Status> {
        let mut request = Request::new(request);
        let bearer = format!("Bearer {}", self.token);
        let value = bearer.parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
        Ok(self.client.sync(request).await?.into_inner())
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
