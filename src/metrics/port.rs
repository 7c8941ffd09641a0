//! The port that metrics are read on: HTTP/1.1, a question a connection.
//!
//! Whoever reaches it may be anybody. So there are few connections, each is over soon, and nothing but two
//! addresses can be asked for.

use std::convert::Infallible;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Metrics, Sources};

/// Connections at once; more are closed as they come. One Prometheus needs one.
const CONNECTIONS_MAX: usize = 32;

/// How long a connection may take in all: to ask, and to take the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a question's headers at most.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// How long nothing is accepted after the machine had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers who asks for metrics.
pub struct Port {
    /// Where they ask.
    pub listener: TcpListener,
    /// What they are told.
    pub metrics: Metrics,
    /// Where to look for it.
    pub sources: Sources,
}

impl Port {
    /// Answers until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((connection, _)) if connections.len() < CONNECTIONS_MAX => {
                    let (metrics, sources) = (self.metrics.clone(), self.sources.clone());
                    let answered = answer_one(connection, metrics, sources);
                    connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, answered));
                }
                Ok(_) => (),
                Err(error) => {
                    tracing::debug!(%error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer_one(connection: TcpStream, metrics: Metrics, sources: Sources) {
    let answers = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &metrics, &sources);
        async { Ok::<_, Infallible>(answer) }
    });
    // Who speaks no HTTP, or hangs up, has nothing more to be told.
    let _ = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), answers)
        .await;
}

fn answer(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    sources: &Sources,
) -> Response<Full<Bytes>> {
    match path {
        "/metrics" | "/healthz" if method != Method::GET => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "expected GET\n");
            let get = HeaderValue::from_static("GET");
            response.headers_mut().insert(ALLOW, get);
            response
        }
        "/metrics" => match metrics.text(sources) {
            Ok(metrics) => text(StatusCode::OK, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n"),
        },
        "/healthz" if metrics.is_serving() => text(StatusCode::OK, "serving\n"),
        "/healthz" => text(StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
        _ => text(StatusCode::NOT_FOUND, "expected /metrics or /healthz\n"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
