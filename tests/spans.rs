//! Exported spans (feature `otlp`): they go on from where the caller is, and hold no data, tokens or ids.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{DeviceInfo, Resolution, SyncRequest};
use prost::bytes::{Buf, BufMut, Bytes};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::Service;
use uuid::Uuid;

use crate::support::program::{Program, program};
use crate::support::service::{SECRET, token};
use crate::support::{Device, TestDatabase, put};

const CANARY: &str = "c0ffee5ec2e7";

/// Takes spans, as a collector does, and keeps the messages as they come.
#[derive(Clone)]
struct Collector(Sender<Bytes>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<Bytes> for Collector {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let kept = self.0.try_send(request.into_inner());
        kept.expect("room for what a test exports");
        ready(Ok(Response::new(Bytes::new())))
    }
}

impl Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let collector = self.clone();
        Box::pin(async move { Ok(Grpc::new(AsIs).unary(collector, request).await) })
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct AsIs;

impl Codec for AsIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A collector, and what it is sent.
async fn collect() -> (String, Receiver<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = channel(1_000);
    let server = Server::builder().add_service(Collector(sender));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (format!("http://{address}"), receiver)
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_on_from_their_caller_and_hold_nothing_that_was_planted() {
    let (endpoint, mut collected) = collect().await;
    let database = TestDatabase::new().await;
    let mut command = program(&["--log", "error", "--jwt-secret", SECRET]);
    command.args(["--database-url", &database.url()]);
    command.args(["--otlp-endpoint", &endpoint]);
    let service = Program::serve(command);
    let channel = Endpoint::from_shared(service.url()).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    let mut client = SyncServiceClient::new(channel);

    let user = format!("{CANARY}-user");
    let id = Uuid::new_v4().to_string();
    let workout: Uuid = format!("{}{CANARY}", &id[..24]).parse().expect("a UUID");
    let push = |device: &str, base, title: &str| {
        let title = format!("{CANARY}-{title}");
        let mut request = Request::new(SyncRequest {
            device_id: format!("{CANARY}-{device}"),
            device: Some(DeviceInfo {
                label: format!("{CANARY}-label"),
                app_version: format!("{CANARY}-version"),
                ..DeviceInfo::default()
            }),
            items: vec![put(workout, base, &json!({"title": title}))],
            ..SyncRequest::default()
        });
        let metadata = request.metadata_mut();
        let bearer = format!("Bearer {}", token(&user));
        metadata.insert("authorization", bearer.parse().expect("ASCII"));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        metadata.insert("traceparent", trace.parse().expect("ASCII"));
        request
    };
    for (device, base, title, expected) in [
        ("phone", 0, "a", Resolution::Applied),
        ("phone", 1, "b", Resolution::Applied),
        ("tablet", 1, "c", Resolution::NeedsUser),
    ] {
        let answer = client.sync(push(device, base, title)).await;
        let results = answer.expect("answered").into_inner().results;
        assert_eq!(results[0].resolution(), expected);
    }
    let mut phone = Device::new(client, token(&user), &format!("{CANARY}-phone"));
    phone.pull_all(phone.page_after("")).await;
    let (status, _, log) = service.stop();
    assert!(status.success(), "{status} {log}");

    let mut exported = Vec::new();
    while let Ok(message) = collected.try_recv() {
        exported.extend_from_slice(&message);
    }
    for wanted in [
        "sync",
        "pull",
        "sync_conflict",
        "sync_success",
        "needs_user",
    ] {
        assert!(has(&exported, wanted.as_bytes()), "no {wanted}");
    }
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let parent = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    assert!(has(&exported, &trace) && has(&exported, &parent));
    let text = String::from_utf8_lossy(&exported).to_lowercase();
    for secret in [CANARY, "eyj", SECRET] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
