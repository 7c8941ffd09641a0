//! `SyncService`: check, call, map.

use tonic::{Request, Response, Status};

use super::authn::caller;
use super::convert::{echoes, push_request, sync_response};
use super::edge::now;
use super::proto::sync_service_server::SyncService;
use super::proto::{SyncRequest, SyncResponse};
use crate::config::Limits;
use crate::push::Push;

/// The service behind the stubs.
pub struct Sync {
    push: Push,
    limits: Limits,
}

impl Sync {
    /// A service that pushes with `push`.
    pub fn new(push: Push, limits: Limits) -> Self {
        Self { push, limits }
    }
}

#[tonic::async_trait]
impl SyncService for Sync {
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let now = now();
        let caller = caller(&request)?;
        let request = request.into_inner();
        let echoes = echoes(&request);
        let request = push_request(request, caller, &self.limits, now)?;
        let pushed = self.push.run(request).await?;
        Ok(Response::new(sync_response(echoes, pushed, now)))
    }
}
