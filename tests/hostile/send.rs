//! Sends an entry, and reads whatever comes back.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::Service;

use super::entry::{Entry, Via};
use super::message;
use super::value::{Names, bytes};
use crate::support::web::HttpAnswer;

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// A gRPC status, and the first message.
    Grpc(Status, Vec<u8>),
    /// An HTTP status, and no word of gRPC.
    Http(u16),
    /// Nothing but the end of the connection.
    Closed,
}

/// An answer, and all bytes it was made of.
#[derive(Debug)]
pub struct Heard {
    pub answer: Answer,
    pub raw: Vec<u8>,
}

/// What a request is made of.
struct Parts {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// Sends an entry on a connection of its own.
pub async fn send(entry: &Entry, address: SocketAddr, names: &Names) -> Heard {
    let mut parts = parts(entry, names);
    match entry.via {
        Via::Http2 => http2(address, parts).await,
        Via::Web => web(address, &parts).await,
        Via::WebText => {
            if entry.body.is_none() {
                parts.body = STANDARD.encode(parts.body).into_bytes();
            }
            web(address, &parts).await
        }
        Via::Tcp => tcp(address, &parts.body).await,
    }
}

fn parts(entry: &Entry, names: &Names) -> Parts {
    let request_name = format!("{}Request", entry.rpc);
    let one = entry.item.as_ref().map(|item| serde_json::json!([item]));
    let message = match (
        one.as_ref().or(entry.items.as_ref()),
        &entry.message,
        &entry.bytes,
    ) {
        (Some(items), None, None) => {
            let push = message::push(entry.request.as_ref(), items);
            message::encode(&request_name, &push, names)
        }
        (None, Some(fields), None) => message::encode(&request_name, fields, names),
        (None, None, Some(recipe)) => bytes(recipe, names),
        (None, None, None) => Vec::new(),
        _ => panic!("{}: one of item(s), message and bytes", entry.name),
    };
    let body = match &entry.body {
        Some(recipe) => bytes(recipe, names),
        None => crate::support::web::frame(&message),
    };
    let content_type = match entry.via {
        Via::Http2 | Via::Tcp => "application/grpc",
        Via::Web => "application/grpc-web+proto",
        Via::WebText => "application/grpc-web-text+proto",
    };
    let bearer = [b"Bearer ", &names.0["token"][..]].concat();
    let mut headers = vec![
        ("content-type".to_owned(), content_type.into()),
        ("te".to_owned(), b"trailers".to_vec()),
        ("authorization".to_owned(), bearer),
    ];
    headers.retain(|(name, _)| !entry.headers.iter().any(|(other, _)| other == name));
    let own = entry.headers.iter().filter(|(_, value)| !value.is_null());
    headers.extend(own.map(|(name, value)| (name.clone(), bytes(value, names))));
    let path = format!("/ironflow.sync.v1.SyncService/{}", entry.rpc);
    Parts {
        method: entry.method.clone().unwrap_or_else(|| "POST".to_owned()),
        path: entry.path.clone().unwrap_or(path),
        headers,
        body,
    }
}

async fn http2(address: SocketAddr, parts: Parts) -> Heard {
    let mut request = Request::builder()
        .method(parts.method.as_str())
        .uri(format!("http://{address}{}", parts.path))
        .body(Body::new(Full::new(parts.body.into())))
        .expect("a request");
    for (name, value) in parts.headers {
        let name: HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_bytes(&value).expect("a value");
        request.headers_mut().append(name, value);
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut channel = endpoint.connect().await.expect("the service listens");
    std::future::poll_fn(|context| Service::poll_ready(&mut channel, context))
        .await
        .expect("the service listens");
    let response = match channel.call(request).await {
        Ok(response) => response,
        Err(error) => {
            let raw = format!("{error:?}").into_bytes();
            return Heard {
                answer: Answer::Closed,
                raw,
            };
        }
    };
    let http = response.status().as_u16();
    let (head, body) = response.into_parts();
    let mut raw = format!("{:?}", head.headers).into_bytes();
    let mut fields = head.headers;
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned().unwrap_or_default();
            (collected.to_bytes(), trailers)
        }
        // Half an answer is none.
        Err(_) => {
            return Heard {
                answer: Answer::Closed,
                raw,
            };
        }
    };
    raw.extend_from_slice(&body);
    raw.extend_from_slice(format!("{trailers:?}").as_bytes());
    fields.extend(trailers);
    let answer = match Status::from_header_map(&fields) {
        Some(status) => Answer::Grpc(status, body.get(5..).unwrap_or_default().to_vec()),
        None => Answer::Http(http),
    };
    Heard { answer, raw }
}

async fn web(address: SocketAddr, parts: &Parts) -> Heard {
    let mut request = format!(
        "{} {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        parts.method,
        parts.path,
        parts.body.len()
    )
    .into_bytes();
    for (name, value) in &parts.headers {
        request.extend_from_slice(format!("{name}: ").as_bytes());
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(&parts.body);
    tcp(address, &request).await
}

/// Sends bytes and reads until the other side has said all, or nothing for a while.
async fn tcp(address: SocketAddr, bytes: &[u8]) -> Heard {
    /// Only for requests to which no answer is due and no end.
    const SILENCE: Duration = Duration::from_secs(60);
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // Whoever is refused early may be hung up on while it still speaks.
    let _ = stream.write_all(bytes).await;
    let mut raw = Vec::new();
    let read = tokio::time::timeout(SILENCE, stream.read_to_end(&mut raw)).await;
    let _ = read.expect("an answer or an end");
    let answer = if raw.starts_with(b"HTTP/1") {
        let answer = HttpAnswer::parse(&raw).in_binary();
        match answer.try_grpc_status() {
            Some(status) => {
                let message = answer.first_message();
                Answer::Grpc(status, message)
            }
            None => Answer::Http(answer.status),
        }
    } else {
        Answer::Closed
    };
    Heard { answer, raw }
}

/// A gRPC status code by the name the protocol gives it.
pub fn code(name: &str) -> Code {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number = NAMES.iter().position(|known| *known == name);
    Code::from(number.unwrap_or_else(|| panic!("no code is called {name}")) as i32)
}
