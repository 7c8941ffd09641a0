//! `SyncService`: check, call, map.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::admission::weigh;
use super::authn::caller;
use super::batch::{echoes, push_request, sync_response};
use super::changes::{as_pull, pull_request, pull_response, watch_response};
use super::edge::now;
use super::export::{deleted, export_response, offered};
use super::fields::device_id;
use super::gate::Gatekeeper;
use super::history::{
    deleted_page, deleted_query, history_page, history_request, restore_request, restore_response,
};
use super::inbox::{
    conflict_id, conflict_page, conflict_query, inspection, resolve_request, resolve_response,
    unknown_conflict,
};
use super::info::{server_info_response, status_response};
use super::packed::{PullResponse, WatchResponse};
use super::proto;
use super::proto::sync_service_server::SyncService;
use super::status::reported;
use super::teller::Teller;
use crate::auth::Caller;
use crate::config::Limits;
use crate::domain::catalog::Catalog;
use crate::domain::scope::Scope;
use crate::erasure::Erasing;
use crate::error::{CallError, Refusal};
use crate::export::Export;
use crate::history::history;
use crate::inbox::inspect;
use crate::metrics::Metrics;
use crate::places::{Places, Work};
use crate::presence::Presence;
use crate::pull::Pull;
use crate::push::Push;
use crate::push::revoke::RevokeRequest;
use crate::status::status;
use crate::store::Store;
use crate::watch::Watch;

/// The service behind the stubs.
pub struct Sync {
    /// Pushes.
    pub push: Push,
    /// Pulls.
    pub pull: Pull,
    /// Watches.
    pub watch: Watch,
    /// Deletes accounts.
    pub erasing: Erasing,
    /// For what needs no verb of its own.
    pub store: Store,
    /// What is known of entity types.
    pub catalog: Arc<Catalog>,
    /// Who needs a subscription.
    pub gatekeeper: Gatekeeper,
    /// What a call may ask for.
    pub limits: Limits,
    /// Where what devices say of their queues is counted.
    pub metrics: Metrics,
    /// What devices are told is wrong.
    pub presence: Presence,
    /// Who works on the database, and who is next.
    pub places: Places,
    /// Ends streams.
    pub stop: CancellationToken,
}

impl Sync {
    fn teller(&self, caller: &Caller, device: &str) -> Teller {
        Teller::new(&self.presence, caller, device)
    }
}

#[tonic::async_trait]
impl SyncService for Sync {
    async fn sync(
        &self,
        request: Request<proto::SyncRequest>,
    ) -> Result<Response<proto::SyncResponse>, Status> {
        weigh(&request);
        let now = now();
        let caller = caller(&request)?;
        let request = request.into_inner();
        let echoes = echoes(&request);
        let retries = request.items.iter().map(|item| item.retry_count);
        self.metrics.queue_reported(request.pending_count, retries);
        let gate = self.gatekeeper.gate(&caller);
        let teller = self.teller(&caller, &request.device_id);
        let request = push_request(request, caller, gate, &self.limits, &self.catalog, now);
        let request = teller.outcome(request.map_err(CallError::from))?;
        let is_kept = !request.validate_only;
        let pushed = teller.outcome(self.push.run(request).await)?;
        let response = sync_response(echoes, pushed, now);
        if is_kept {
            teller.results(&response.results);
        }
        Ok(Response::new(response))
    }

    async fn pull(
        &self,
        request: Request<proto::PullRequest>,
    ) -> Result<Response<PullResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let gate = self.gatekeeper.gate(&caller);
        let request = request.into_inner();
        let teller = self.teller(&caller, &request.device_id);
        let request = pull_request(request, &caller, gate, &self.limits);
        let request = teller.outcome(request.map_err(CallError::from))?;
        let page = teller.outcome(self.pull.run(&request, now()).await)?;
        Ok(Response::new(pull_response(page)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let gate = self.gatekeeper.gate(&caller);
        let request = as_pull(request.into_inner());
        let teller = self.teller(&caller, &request.device_id);
        let request = pull_request(request, &caller, gate, &self.limits);
        let request = teller.outcome(request.map_err(CallError::from))?;
        let events = self.watch.clone().follow(request, valid(&caller), now);
        let messages = events.map(move |event| teller.outcome(event.map(watch_response)));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn get_status(
        &self,
        request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let device = device_id(&request.into_inner().device_id).map_err(Refusal::from)?;
        let scope = Scope::of(&caller.user);
        let gate = self.gatekeeper.gate(&caller);
        let _place = self.places.take_soon(&scope, Work::Other).await?;
        let status = status(&self.store, &scope, &device, &gate, now()).await?;
        Ok(Response::new(status_response(status)))
    }

    async fn revoke_device(
        &self,
        request: Request<proto::RevokeDeviceRequest>,
    ) -> Result<Response<proto::RevokeDeviceResponse>, Status> {
        weigh(&request);
        let scope = Scope::of(&caller(&request)?.user);
        let device = device_id(&request.into_inner().device_id).map_err(Refusal::from)?;
        let now = now();
        let revoked = self
            .push
            .revoke(RevokeRequest { scope, device, now })
            .await?;
        let revoked_time = revoked.0;
        Ok(Response::new(proto::RevokeDeviceResponse { revoked_time }))
    }

    async fn list_conflicts(
        &self,
        request: Request<proto::ListConflictsRequest>,
    ) -> Result<Response<proto::ListConflictsResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let query = conflict_query(request.into_inner(), &caller)?;
        let _place = self.places.take_soon(&query.scope, Work::Other).await?;
        let page = self.store.list_conflicts(&query).await?;
        Ok(Response::new(conflict_page(page)))
    }

    async fn get_conflict(
        &self,
        request: Request<proto::GetConflictRequest>,
    ) -> Result<Response<proto::GetConflictResponse>, Status> {
        weigh(&request);
        let scope = Scope::of(&caller(&request)?.user);
        let id = conflict_id(&request.into_inner().conflict_id).map_err(Refusal::from)?;
        let _place = self.places.take_soon(&scope, Work::Other).await?;
        let found = inspect(&self.store, &self.catalog, &scope, id).await?;
        let found = found.ok_or_else(|| Refusal::from(unknown_conflict()))?;
        Ok(Response::new(inspection(found)))
    }

    async fn resolve_conflict(
        &self,
        request: Request<proto::ResolveConflictRequest>,
    ) -> Result<Response<proto::ResolveConflictResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let gate = self.gatekeeper.gate(&caller);
        let request = resolve_request(request.into_inner(), &caller, gate, &self.limits)?;
        let resolved = self.push.resolve(request).await.map_err(reported)?;
        Ok(Response::new(resolve_response(resolved)))
    }

    async fn list_versions(
        &self,
        request: Request<proto::ListVersionsRequest>,
    ) -> Result<Response<proto::ListVersionsResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let request = history_request(request.into_inner(), &caller)?;
        let _place = self.places.take_soon(&request.scope, Work::Other).await?;
        let page = history(&self.store, &self.catalog, request).await?;
        Ok(Response::new(history_page(page)))
    }

    async fn restore_version(
        &self,
        request: Request<proto::RestoreVersionRequest>,
    ) -> Result<Response<proto::RestoreVersionResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let gate = self.gatekeeper.gate(&caller);
        let request = restore_request(request.into_inner(), &caller, gate)?;
        let restored = self.push.restore(request).await.map_err(reported)?;
        Ok(Response::new(restore_response(restored)))
    }

    async fn list_deleted(
        &self,
        request: Request<proto::ListDeletedRequest>,
    ) -> Result<Response<proto::ListDeletedResponse>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let query = deleted_query(request.into_inner(), &caller)?;
        let _place = self.places.take_soon(&query.scope, Work::Other).await?;
        let page = self.store.list_deleted(&query).await?;
        Ok(Response::new(deleted_page(page)))
    }

    type ExportAccountStream =
        Pin<Box<dyn Stream<Item = Result<proto::ExportAccountResponse, Status>> + Send>>;

    async fn export_account(
        &self,
        request: Request<proto::ExportAccountRequest>,
    ) -> Result<Response<Self::ExportAccountStream>, Status> {
        weigh(&request);
        let caller = caller(&request)?;
        let valid = valid(&caller);
        let export = Export::new(self.store.clone(), caller.user, now());
        let records = export.stream(self.places.clone(), valid, self.stop.clone());
        let messages = records.map(|record| record.map(export_response).map_err(Status::from));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn delete_account(
        &self,
        request: Request<proto::DeleteAccountRequest>,
    ) -> Result<Response<proto::DeleteAccountResponse>, Status> {
        weigh(&request);
        let scope = Scope::of(&caller(&request)?.user);
        let response = match request.into_inner().confirmation_token.as_str() {
            "" => {
                let _place = self.places.take_soon(&scope, Work::Other).await?;
                let offer = self.erasing.offer(&scope, now()).await;
                offered(offer.map_err(CallError::Failed)?)
            }
            token => {
                let gone = self.erasing.confirmed(scope, token, now()).await;
                deleted(gone.map_err(reported)?)
            }
        };
        Ok(Response::new(response))
    }

    async fn get_server_info(
        &self,
        request: Request<proto::GetServerInfoRequest>,
    ) -> Result<Response<proto::GetServerInfoResponse>, Status> {
        weigh(&request);
        caller(&request)?;
        let info = server_info_response(&self.limits, &self.catalog);
        Ok(Response::new(info))
    }
}

/// How long a caller's token is valid yet: as long as their streams live.
fn valid(caller: &Caller) -> Duration {
    let valid_ms = caller.expires.0.saturating_sub(now().0);
    Duration::from_millis(valid_ms.max(0) as u64)
}
