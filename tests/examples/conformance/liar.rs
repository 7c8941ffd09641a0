//! A server that breaks the contract: a proxy before the real service that changes what is asked or answered.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use ironflow_sync::grpc::packed;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::sync_service_server::{SyncService, SyncServiceServer};
use ironflow_sync::grpc::proto::{
    DeleteAccountRequest, DeleteAccountResponse, ExportAccountRequest, ExportAccountResponse,
    GetConflictRequest, GetConflictResponse, GetServerInfoRequest, GetServerInfoResponse,
    GetStatusRequest, GetStatusResponse, ListConflictsRequest, ListConflictsResponse,
    ListDeletedRequest, ListDeletedResponse, ListVersionsRequest, ListVersionsResponse,
    PullRequest, PullResponse, ResolveConflictRequest, ResolveConflictResponse,
    RestoreVersionRequest, RestoreVersionResponse, RevokeDeviceRequest, RevokeDeviceResponse,
    SyncRequest, SyncResponse, WatchRequest, WatchResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::support::TestService;
use crate::support::service::token;

/// What is changed on the way. Each has a way that changes nothing, [`super::lies::HONEST`].
#[derive(Clone, Copy)]
pub struct Ways {
    /// In whose name a call goes on. `None`: the caller's.
    pub user: for<'a> fn(&Call<'a>) -> Option<&'a str>,
    pub push: fn(&mut SyncRequest),
    pub pushed: fn(&SyncRequest, &mut SyncResponse),
    pub pull: fn(&mut PullRequest),
    pub pulled: fn(&PullRequest, &mut PullResponse),
    pub watch: fn(&mut WatchRequest),
    /// What becomes of one event.
    pub watched: fn(WatchResponse) -> Vec<WatchResponse>,
    pub got_conflict: fn(&mut GetConflictResponse),
    pub listed_conflicts: fn(&mut ListConflictsResponse),
    pub listed_versions: fn(&mut ListVersionsResponse),
    pub told_status: fn(&mut GetStatusResponse),
    pub told_info: fn(&mut GetServerInfoResponse),
    pub exported: fn(ExportAccountResponse) -> Option<ExportAccountResponse>,
    /// What becomes of a refusal.
    pub refused: fn(Status) -> Status,
    /// A decision and a wish are taken whatever version the person has seen.
    pub blind: bool,
}

/// A call, as far as it decides in whose name it goes on.
pub struct Call<'a> {
    pub method: &'a str,
    /// The user that a push names.
    pub named: &'a str,
    /// The user that is asked for, not the stranger.
    pub victim: &'a str,
}

/// The proxy, for as long as it lives.
pub struct Liar {
    /// Where it listens.
    pub endpoint: String,
    served: JoinHandle<()>,
}

impl Liar {
    /// Starts it before a service.
    pub async fn start(service: &TestService, ways: Ways, victim: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let proxy = Proxy {
            truth: service.client().await,
            victim: victim.to_owned(),
            ways,
        };
        // The limit of a message is the service's to tell.
        let proxy = SyncServiceServer::new(proxy).max_decoding_message_size(usize::MAX);
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(connection, _)| connection);
            Some((accepted, listener))
        });
        let served = tokio::spawn(async move {
            let served = Server::builder().add_service(proxy);
            served.serve_with_incoming(incoming).await.expect("serves");
        });
        Self { endpoint, served }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.served.abort();
    }
}

struct Proxy {
    truth: SyncServiceClient<Channel>,
    victim: String,
    ways: Ways,
}

impl Proxy {
    /// A request that goes on: the tokens of the caller, or of the user in whose name it goes.
    fn on<T>(&self, method: &str, named: &str, metadata: &MetadataMap, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let victim = &self.victim;
        let call = Call {
            method,
            named,
            victim,
        };
        if let Some(user) = (self.ways.user)(&call) {
            let bearer = format!("Bearer {}", token(user));
            let bearer = bearer.parse().expect("a token is ASCII");
            request.metadata_mut().insert("authorization", bearer);
            return request;
        }
        for value in metadata.get_all("authorization") {
            request
                .metadata_mut()
                .append("authorization", value.clone());
        }
        request
    }

    fn refused(&self, status: Status) -> Status {
        (self.ways.refused)(status)
    }
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Methods that only pass on, with a change before and one behind.
macro_rules! pass_on {
    ($proxy:ident, $request:ident, $method:ident, $before:expr, $behind:expr) => {{
        let (metadata, _, mut message) = $request.into_parts();
        $before(&mut message);
        let request = $proxy.on(stringify!($method), "", &metadata, message);
        let answer = $proxy.truth.clone().$method(request).await;
        let mut answer = answer
            .map_err(|status| $proxy.refused(status))?
            .into_inner();
        $behind(&mut answer);
        Ok(Response::new(answer))
    }};
}

#[tonic::async_trait]
impl SyncService for Proxy {
    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<SyncResponse>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        let sent = message.clone();
        (self.ways.push)(&mut message);
        let request = self.on("sync", &sent.user_id, &metadata, message);
        let answer = self.truth.clone().sync(request).await;
        let mut answer = answer.map_err(|status| self.refused(status))?.into_inner();
        (self.ways.pushed)(&sent, &mut answer);
        Ok(Response::new(answer))
    }

    async fn pull(
        &self,
        request: Request<PullRequest>,
    ) -> Result<Response<packed::PullResponse>, Status> {
        let sent = request.get_ref().clone();
        let pulled = |answer: &mut PullResponse| (self.ways.pulled)(&sent, answer);
        let answer: Result<Response<PullResponse>, Status> =
            pass_on!(self, request, pull, self.ways.pull, pulled);
        Ok(answer?.map(Into::into))
    }

    type WatchStream = Events<packed::WatchResponse>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        (self.ways.watch)(&mut message);
        let request = self.on("watch", "", &metadata, message);
        let answer = self.truth.clone().watch(request).await;
        let events = answer.map_err(|status| self.refused(status))?.into_inner();
        let watched = self.ways.watched;
        let events = events.flat_map(move |event| {
            stream::iter(match event {
                Ok(event) => watched(event)
                    .into_iter()
                    .map(|event| Ok(event.into()))
                    .collect(),
                Err(status) => vec![Err(status)],
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        pass_on!(
            self,
            request,
            get_status,
            |_: &mut _| (),
            self.ways.told_status
        )
    }

    async fn revoke_device(
        &self,
        request: Request<RevokeDeviceRequest>,
    ) -> Result<Response<RevokeDeviceResponse>, Status> {
        pass_on!(self, request, revoke_device, |_: &mut _| (), |_: &mut _| ())
    }

    async fn list_conflicts(
        &self,
        request: Request<ListConflictsRequest>,
    ) -> Result<Response<ListConflictsResponse>, Status> {
        pass_on!(
            self,
            request,
            list_conflicts,
            |_: &mut _| (),
            self.ways.listed_conflicts
        )
    }

    async fn get_conflict(
        &self,
        request: Request<GetConflictRequest>,
    ) -> Result<Response<GetConflictResponse>, Status> {
        pass_on!(
            self,
            request,
            get_conflict,
            |_: &mut _| (),
            self.ways.got_conflict
        )
    }

    async fn resolve_conflict(
        &self,
        request: Request<ResolveConflictRequest>,
    ) -> Result<Response<ResolveConflictResponse>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        if self.ways.blind {
            let conflict_id = message.conflict_id.clone();
            let look = self.on("", "", &metadata, GetConflictRequest { conflict_id });
            let seen = self.truth.clone().get_conflict(look).await?.into_inner();
            message.expected_version = seen.server.map_or(0, |copy| copy.version);
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = metadata;
        pass_on!(
            self,
            request,
            resolve_conflict,
            |_: &mut _| (),
            |_: &mut _| ()
        )
    }

    async fn list_versions(
        &self,
        request: Request<ListVersionsRequest>,
    ) -> Result<Response<ListVersionsResponse>, Status> {
        pass_on!(
            self,
            request,
            list_versions,
            |_: &mut _| (),
            self.ways.listed_versions
        )
    }

    async fn restore_version(
        &self,
        request: Request<RestoreVersionRequest>,
    ) -> Result<Response<RestoreVersionResponse>, Status> {
        let (metadata, _, mut message) = request.into_parts();
        if self.ways.blind {
            let look = ListVersionsRequest {
                entity_type: message.entity_type.clone(),
                entity_id: message.entity_id.clone(),
                ..ListVersionsRequest::default()
            };
            let look = self.on("", "", &metadata, look);
            let seen = self.truth.clone().list_versions(look).await?.into_inner();
            let current = seen.entries.iter().find(|entry| entry.current);
            message.expected_version = current.map_or(0, |entry| entry.version);
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = metadata;
        pass_on!(
            self,
            request,
            restore_version,
            |_: &mut _| (),
            |_: &mut _| ()
        )
    }

    async fn list_deleted(
        &self,
        request: Request<ListDeletedRequest>,
    ) -> Result<Response<ListDeletedResponse>, Status> {
        pass_on!(self, request, list_deleted, |_: &mut _| (), |_: &mut _| ())
    }

    type ExportAccountStream = Events<ExportAccountResponse>;

    async fn export_account(
        &self,
        request: Request<ExportAccountRequest>,
    ) -> Result<Response<Self::ExportAccountStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        let request = self.on("export_account", "", &metadata, message);
        let answer = self.truth.clone().export_account(request).await;
        let records = answer.map_err(|status| self.refused(status))?.into_inner();
        let exported = self.ways.exported;
        let records = records.filter_map(move |record| async move {
            match record {
                Ok(record) => exported(record).map(Ok),
                Err(status) => Some(Err(status)),
            }
        });
        Ok(Response::new(Box::pin(records)))
    }

    async fn delete_account(
        &self,
        _request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        panic!("nobody asks for that")
    }

    async fn get_server_info(
        &self,
        request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        pass_on!(
            self,
            request,
            get_server_info,
            |_: &mut _| (),
            self.ways.told_info
        )
    }
}
