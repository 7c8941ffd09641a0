//! Where calls come in: reads the clock, keeps deadlines, and answers as docs/protocol.md says
//! (section 7) where tonic would answer otherwise.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::admission::kind;
use super::proto::sync_service_server::SERVICE_NAME;
use super::status::{bad_framing, deadline_exceeded, message_too_large, no_such_call, overloaded};
use crate::admission::Admission;
use crate::domain::clock::Millis;
use crate::trace::{Trace, within};

/// The server's clock.
pub fn now() -> Millis {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(since_epoch.as_millis() as i64)
}

/// Wraps every service in an [`EdgeService`].
#[derive(Clone)]
pub struct EdgeLayer {
    /// Says whether there is room for a call at all.
    pub admission: Admission,
    /// Longest time a call may take; the caller's own deadline may be shorter.
    pub call_timeout: Duration,
    /// Largest message, for the answer to a larger one.
    pub message_bytes_max: usize,
}

/// Answers DEADLINE_EXCEEDED when the deadline has passed (tonic would say CANCELLED),
/// RESOURCE_EXHAUSTED with details to a message that is too large (tonic would say OUT_OF_RANGE, or
/// give none), INVALID_ARGUMENT to bytes it cannot unpack (tonic would say INTERNAL), and UNIMPLEMENTED with
/// what there is to a path that leads nowhere (tonic would say nothing). What is not a gRPC call at all it refuses in HTTP (tonic would take it for one).
/// While the process is full it says so here, before it looks at token or message: whoever is refused then must
/// cost next to nothing.
#[derive(Clone)]
pub struct EdgeService<S> {
    inner: S,
    layer: EdgeLayer,
}

impl<S> Layer<S> for EdgeLayer {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for EdgeService<S>
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
        if let Err(status) = is_call(request.method(), request.headers()) {
            return Box::pin(async move { Ok(refused_in_http(status)) });
        }
        let path = request.uri().path();
        let is_ours = is_ours(path);
        if is_ours && self.layer.admission.is_full(kind(path)) {
            drop(request);
            return Box::pin(ready(Ok(overloaded())));
        }
        let asked = caller_timeout(request.headers()).unwrap_or(Duration::MAX);
        let timeout = asked.min(self.layer.call_timeout);
        let message_bytes_max = self.layer.message_bytes_max;
        let trace = caller_trace(request.headers());
        // Made here, before tonic makes its own timer, so that this one is never the later.
        let answer = within(trace, self.inner.call(request));
        let answer = tokio::time::timeout(timeout, answer);
        Box::pin(async move {
            let Ok(answer) = answer.await else {
                return Ok(deadline_exceeded().into_http());
            };
            let response = answer?;
            match Status::from_header_map(response.headers()) {
                Some(status) if says_too_large(&status) => {
                    Ok(message_too_large(message_bytes_max).into_http())
                }
                Some(status) if says_bad_framing(&status) => Ok(bad_framing().into_http()),
                Some(status) if says_nothing_there(&status) => {
                    Ok(no_such_call(is_ours).into_http())
                }
                _ => Ok(response),
            }
        })
    }
}

/// Whether this is tonic's word for a message beyond the limit: as it came, or once it was unpacked.
/// Nothing of ours answers OUT_OF_RANGE, and RESOURCE_EXHAUSTED only with details.
fn says_too_large(refused: &Status) -> bool {
    match refused.code() {
        Code::OutOfRange => true,
        Code::ResourceExhausted => refused.details().is_empty(),
        _ => false,
    }
}

/// Whether this is tonic's word for a body that is not messages in their frames, or not packed as it says.
/// Our own INTERNAL has details.
fn says_bad_framing(refused: &Status) -> bool {
    refused.code() == Code::Internal && refused.details().is_empty()
}

/// Whether this is tonic's word for a path that leads nowhere. For a packing that it does not know it has
/// a message.
fn says_nothing_there(refused: &Status) -> bool {
    refused.code() == Code::Unimplemented && refused.message().is_empty()
}

/// Whether a path names our service, whatever the method.
fn is_ours(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("") && parts.next() == Some(SERVICE_NAME)
}

/// Whether a request is a gRPC call (the gRPC protocol over HTTP/2, "Requests"), gRPC-Web being turned
/// into one before; if not, the HTTP status that says why.
fn is_call(method: &Method, headers: &HeaderMap) -> Result<(), StatusCode> {
    if method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content = headers.get(header::CONTENT_TYPE);
    let content = content.and_then(|value| value.to_str().ok());
    let subtype = content.and_then(|content| content.strip_prefix("application/grpc"));
    match subtype.map(|subtype| subtype.bytes().next()) {
        Some(None | Some(b'+' | b';')) => Ok(()),
        Some(Some(_)) | None => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

fn refused_in_http(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let post = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, post);
    }
    response
}

/// The trace that a caller is in. Of two there is no knowing which.
fn caller_trace(headers: &HeaderMap) -> Option<Trace> {
    let mut traces = headers.get_all("traceparent").into_iter();
    match (traces.next(), traces.next()) {
        (Some(trace), None) => Trace::parse(trace.to_str().ok()?),
        _ => None,
    }
}

/// The deadline a caller set: at most eight digits and a unit (the gRPC protocol over HTTP/2).
fn caller_timeout(headers: &HeaderMap) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("1n", Some(Duration::from_nanos(1))),
            ("20u", Some(Duration::from_micros(20))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("3S", Some(Duration::from_secs(3))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000S", None),
            ("S", None),
            ("-1S", None),
            ("1", None),
            ("1é", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            let value = http::HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
            headers.insert("grpc-timeout", value);
            assert_eq!(caller_timeout(&headers), expected, "{text}");
        }
    }
}
