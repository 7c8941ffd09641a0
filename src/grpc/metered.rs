//! Counts calls from outside of everything else, by what their callers are told.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Layer, Service};

use super::status::Counted;
use crate::metrics::{CallUnderWay, Method, Metrics};

/// The reason of an error that gives none.
const NO_REASON: &str = "NONE";

const SYNC: &str = super::proto::sync_service_server::SERVICE_NAME;
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// The methods that are counted by their names.
pub const METHODS: [Method; 19] = [
    unary(SYNC, "Sync"),
    unary(SYNC, "Pull"),
    stream(SYNC, "Watch"),
    unary(SYNC, "GetStatus"),
    unary(SYNC, "RevokeDevice"),
    unary(SYNC, "ListConflicts"),
    unary(SYNC, "GetConflict"),
    unary(SYNC, "ResolveConflict"),
    unary(SYNC, "ListVersions"),
    unary(SYNC, "RestoreVersion"),
    unary(SYNC, "ListDeleted"),
    stream(SYNC, "ExportAccount"),
    unary(SYNC, "DeleteAccount"),
    unary(SYNC, "GetServerInfo"),
    unary(HEALTH, "Check"),
    unary(HEALTH, "List"),
    stream(HEALTH, "Watch"),
    talk(REFLECTION, "ServerReflectionInfo"),
    talk(REFLECTION_ALPHA, "ServerReflectionInfo"),
];

const fn unary(grpc_service: &'static str, grpc_method: &'static str) -> Method {
    Method {
        grpc_type: "unary",
        grpc_service,
        grpc_method,
    }
}

const fn stream(grpc_service: &'static str, grpc_method: &'static str) -> Method {
    Method {
        grpc_type: "server_stream",
        grpc_service,
        grpc_method,
    }
}

const fn talk(grpc_service: &'static str, grpc_method: &'static str) -> Method {
    Method {
        grpc_type: "bidi_stream",
        grpc_service,
        grpc_method,
    }
}

fn method(path: &str) -> Method {
    let named = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let found = named.and_then(|(service, name)| {
        METHODS
            .iter()
            .find(|method| method.grpc_method == name && method.grpc_service == service)
    });
    found.copied().unwrap_or(Method::UNKNOWN)
}

/// Wraps every service in a [`MeteredService`].
#[derive(Clone)]
pub struct MeteredLayer {
    /// Where calls are counted.
    pub metrics: Metrics,
}

/// Counts calls: that they began, how they ended and after how long.
#[derive(Clone)]
pub struct MeteredService<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Layer<S> for MeteredLayer {
    type Service = MeteredService<S>;

    fn layer(&self, inner: S) -> MeteredService<S> {
        let metrics = self.metrics.clone();
        MeteredService { inner, metrics }
    }
}

impl<S, B> Service<Request<B>> for MeteredService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.metrics.call_began(method(request.uri().path()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            if response.status() != StatusCode::OK {
                // Refused in HTTP: to gRPC that is UNKNOWN.
                call.ended(name(Code::Unknown));
                return Ok(response);
            }
            if let Some(Counted { code, reason }) = response.extensions().get() {
                call.refused(name(*code), reason);
                return Ok(response);
            }
            let call = match Status::from_header_map(response.headers()) {
                Some(_) => {
                    ended(call, response.headers());
                    None
                }
                None => Some(call),
            };
            Ok(response.map(|body| Body::new(Told { body, call })))
        })
    }
}

/// An answer on its way out. The call is over with its trailers.
struct Told {
    body: Body,
    call: Option<CallUnderWay>,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(call) = self.call.take()
        {
            ended(call, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts the end of a call by what its headers or trailers say of it.
fn ended(call: CallUnderWay, headers: &HeaderMap) {
    // Most; what is in the headers beside it need not be read.
    let code = headers.get(Status::GRPC_STATUS);
    if code.is_some_and(|code| code == "0") {
        return call.ended(name(Code::Ok));
    }
    let status = Status::from_header_map(headers);
    match status {
        Some(status) if status.code() != Code::Ok => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            call.refused(name(status.code()), reason.as_deref().unwrap_or(NO_REASON));
        }
        Some(_) => call.ended(name(Code::Ok)),
        None => call.ended(name(Code::Unknown)),
    }
}

/// A status code as stock dashboards know it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
