//! Histories and the recycle bin as a device sees them.

use ironflow_sync::grpc::proto::{
    ListDeletedRequest, ListDeletedResponse, ListVersionsRequest, ListVersionsResponse,
    RestoreVersionRequest, RestoreVersionResponse,
};
use tonic::Status;

use super::Device;

impl Device {
    /// A page of what an entity held before.
    pub async fn list_versions(
        &mut self,
        request: ListVersionsRequest,
    ) -> Result<ListVersionsResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.list_versions(request).await?.into_inner())
    }

    /// Wishes for an old version, from this device.
    pub async fn restore(
        &mut self,
        wish: RestoreVersionRequest,
    ) -> Result<RestoreVersionResponse, Status> {
        let device_id = self.device_id.clone();
        let wish = RestoreVersionRequest { device_id, ..wish };
        self.restore_version(wish).await
    }

    /// Sends a wish for an old version as it is.
    pub async fn restore_version(
        &mut self,
        request: RestoreVersionRequest,
    ) -> Result<RestoreVersionResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.restore_version(request).await?.into_inner())
    }

    /// A page of the recycle bin.
    pub async fn list_deleted(
        &mut self,
        request: ListDeletedRequest,
    ) -> Result<ListDeletedResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.list_deleted(request).await?.into_inner())
    }
}
