//! What no client would send: bombs, floods of frames, readers and writers that stop, connections that say
//! nothing. The program stays up and small, and others' calls go on.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use prost::bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};
use uuid::Uuid;

use super::{PATIENCE, check_status, eventually};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, call, frame,
    headers, message, opening,
};
use crate::support::program::Program;
use crate::support::service::token;
use crate::support::{Device, TestDatabase, TestService, put};

const MIB: usize = 1024 * 1024;

/// What a flood may leave behind. Each of them would fill many times as much.
const GROWTH_BYTES_MAX: usize = 96 * MIB;

/// A connection that takes nothing for so long has stopped the flood.
const STUCK: Duration = Duration::from_secs(1);

/// Somebody who goes on pushing while others flood.
struct Neighbour {
    stop: Arc<AtomicBool>,
    pushing: JoinHandle<usize>,
}

impl Neighbour {
    async fn of(program: &Program) -> Self {
        let client = SyncServiceClient::connect(program.url()).await;
        let mut device = Device::new(client.expect("it listens"), token("leo"), "phone");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let pushing = tokio::spawn(async move {
            let mut pushed = 0;
            while !stopped.load(Ordering::Relaxed) {
                let answer = timeout(
                    PATIENCE,
                    device.sync_one(put(Uuid::new_v4(), 0, &json!({}))),
                );
                assert_eq!(answer.await.expect("in time").resolution(), Applied);
                pushed += 1;
                // Within the rate of a user.
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            pushed
        });
        Self { stop, pushing }
    }

    async fn has_pushed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let pushed = self.pushing.await.expect("every push is applied");
        assert!(pushed > 0);
    }
}

/// Writes a piece over and over, reading nothing, until so many are written or no more is taken.
async fn flood(program: &Program, begin: &[u8], times: usize, piece: impl Fn(u32) -> Vec<u8>) {
    let mut connection = TcpStream::connect(program.address).await.expect("listens");
    connection.write_all(begin).await.expect("it is taken");
    let mut bytes = Vec::new();
    for number in 0..times {
        bytes.extend(piece(u32::try_from(number).expect("not so many")));
        if bytes.len() < 64 * 1024 && number + 1 < times {
            continue;
        }
        match timeout(STUCK, connection.write_all(&bytes)).await {
            Ok(Ok(())) => bytes.clear(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_leave_the_program_small_and_others_calls_go_on() {
    let database = TestDatabase::new().await;
    let program = Program::start(&database, &[]);
    let neighbour = Neighbour::of(&program).await;
    // Once each, so that what any connection costs is there before.
    let open = opening(65_535);
    flood(&program, &open, 10, |_| frame(PING, 0, 0, &[7; 8])).await;
    let before = program.resident_bytes();
    let ask = call("GetStatus", &token("mia"));
    let odd = |number: u32| 2 * number + 1;
    let large = headers(&[("x-padding", &"x".repeat(15_000))]);
    let many = headers(&[("x", "y"); 2_000]);
    let unfinished = [&open[..], &frame(HEADERS, 0, 1, &ask)].concat();
    let begun = [&open[..], &frame(HEADERS, END_HEADERS, 1, &ask)].concat();
    let floods = [
        (
            "calls that are reset",
            &open,
            Box::new(|n: u32| {
                let begin = frame(HEADERS, END_HEADERS, odd(n), &ask);
                [begin, frame(RST_STREAM, 0, odd(n), &[0, 0, 0, 8])].concat()
            }) as Box<dyn Fn(u32) -> Vec<u8>>,
        ),
        (
            "calls that are begun",
            &open,
            Box::new(|n| frame(HEADERS, END_HEADERS, odd(n), &ask)),
        ),
        (
            "headers without end",
            &unfinished,
            Box::new(|_| frame(CONTINUATION, 0, 1, &large)),
        ),
        (
            "many headers",
            &open,
            Box::new(|n| frame(HEADERS, END_HEADERS | END_STREAM, odd(n), &many)),
        ),
        ("pings", &open, Box::new(|_| frame(PING, 0, 0, &[7; 8]))),
        (
            "settings",
            &open,
            Box::new(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])),
        ),
        (
            "data byte by byte",
            &begun,
            Box::new(|_| frame(DATA, 0, 1, b"x")),
        ),
        ("empty data", &begun, Box::new(|_| frame(DATA, 0, 1, b""))),
        (
            "data for nobody",
            &open,
            Box::new(|n| frame(DATA, 0, odd(n), &[0; 1_000])),
        ),
    ];
    for (name, begin, piece) in &floods {
        for _ in 0..4 {
            flood(&program, begin, 50_000, piece).await;
        }
        let grown = program.resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{name}: grown by {grown} bytes");
    }
    neighbour.has_pushed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_with_no_room_cost_their_user_calls_and_nobody_else() {
    const CONNECTIONS: u32 = 8;
    const CALLS: u32 = 100;
    let database = TestDatabase::new().await;
    // However often the user calls.
    let unhurried = ["--user-calls-burst", "1000000"];
    let program = Program::start(&database, &unhurried);
    let client = SyncServiceClient::connect(program.url()).await;
    let mut phone = Device::new(client.expect("it listens"), token("mia"), "phone");
    for _ in 0..10 {
        let large = json!({"notes": "x".repeat(100_000)});
        phone.sync_one(put(Uuid::new_v4(), 0, &large)).await;
    }
    let neighbour = Neighbour::of(&program).await;
    let before = program.resident_bytes();
    // A page of 1 MiB each, and no window to send it in.
    let stop_reading = async || {
        let mut connection = TcpStream::connect(program.address).await.expect("listens");
        let mut bytes = opening(0);
        for number in 0..CALLS {
            let stream = 2 * number + 1;
            let ask = call("Pull", &token("mia"));
            // device_id = "tablet"
            let asked = message(false, b"\x0a\x06tablet");
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &ask));
            bytes.extend(frame(DATA, END_STREAM, stream, &asked));
        }
        connection.write_all(&bytes).await.expect("it is taken");
        connection
    };
    let mut stopped = Vec::new();
    for _ in 0..CONNECTIONS {
        stopped.push(stop_reading().await);
    }
    let mut refused = None;
    eventually("mia has no calls left", async || {
        refused = phone.try_status().await.err();
        if refused.is_none() {
            // On a busy machine some have waited too long for their pages and have ended.
            stopped.push(stop_reading().await);
        }
        refused.is_some()
    })
    .await;
    let refused = refused.expect("just seen");
    check_status("mia", &refused, Code::ResourceExhausted, "TOO_MANY_CALLS");
    let grown = program.resident_bytes().saturating_sub(before);
    let all = CONNECTIONS as usize * CALLS as usize * MIB;
    assert!(grown < all / 3, "grown by {grown} bytes");
    neighbour.has_pushed().await;
    drop(stopped);
    eventually("mia calls again", async || phone.try_status().await.is_ok()).await;
}

/// Sends bytes as the message of a push.
async fn send_bytes(channel: &mut Channel, packing: &str, framed: Vec<u8>) -> Status {
    let request = http::Request::post("/ironflow.sync.v1.SyncService/Sync")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", packing)
        .header("authorization", format!("Bearer {}", token("mia")))
        .body(Body::new(Full::new(Bytes::from(framed))))
        .expect("a request");
    let channel = channel.ready().await.expect("listens");
    let answer = channel.call(request).await.expect("an answer");
    let status = Status::from_header_map(answer.headers());
    status.expect("an answer without a message")
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_without_being_unpacked() {
    let zeros = vec![0; 64 * MIB];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&zeros).expect("packs");
    let gzip = gzip.finish().expect("packs");
    let zstd = zstd::bulk::compress(&zeros, 3).expect("packs");
    drop(zeros);
    // Unpacked once it is a bomb still.
    let mut nested = GzEncoder::new(Vec::new(), Compression::fast());
    nested.write_all(&gzip).expect("packs");
    let nested = nested.finish().expect("packs");
    // As many in a row as fit in a message: 700 MB, and some 80 GB.
    let in_a_row = |packed: &[u8]| packed.repeat((3 * MIB) / packed.len());
    let bombs = [
        ("gzip", gzip.clone(), Code::ResourceExhausted),
        ("gzip", in_a_row(&gzip), Code::ResourceExhausted),
        ("zstd", zstd.clone(), Code::ResourceExhausted),
        ("zstd", in_a_row(&zstd), Code::ResourceExhausted),
        ("gzip", nested, Code::InvalidArgument),
    ];
    let database = TestDatabase::new().await;
    let unhurried = ["--user-calls-burst", "1000000"];
    let program = Program::start(&database, &unhurried);
    let endpoint = Channel::from_shared(program.url()).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let neighbour = Neighbour::of(&program).await;
    let before = program.resident_bytes();
    for (packing, packed, code) in bombs {
        let mut sent = JoinSet::new();
        for _ in 0..20 {
            let mut channel = channel.clone();
            let framed = message(true, &packed);
            sent.spawn(async move { send_bytes(&mut channel, packing, framed).await });
        }
        for refused in sent.join_all().await {
            let reason = match code {
                Code::ResourceExhausted => "MESSAGE_TOO_LARGE",
                _ => "INVALID_MESSAGE",
            };
            check_status(packing, &refused, code, reason);
        }
        let grown = program.resident_bytes().saturating_sub(before);
        assert!(grown < 2 * GROWTH_BYTES_MAX, "{packing}: grown by {grown}");
    }
    neighbour.has_pushed().await;
}

/// Waits until the server has closed a connection.
async fn ends(name: &str, mut connection: TcpStream) {
    const LONG: Duration = Duration::from_secs(120);
    let mut answer = Vec::new();
    let ended = timeout(LONG, connection.read_to_end(&mut answer)).await;
    // Closed or reset, but not by us.
    let _ = ended.unwrap_or_else(|_| panic!("{name} is still open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_say_what_they_want_end() {
    let service = TestService::start().await;
    let ask = call("GetStatus", &token("mia"));
    let headers = frame(HEADERS, END_HEADERS, 1, &ask);
    let beginnings = [
        ("nothing", Vec::new()),
        ("half a preface", opening(0)[..12].to_vec()),
        (
            "half of HTTP/1.1's headers",
            b"POST / HTTP/1.1\r\nhost: test\r\nx: y".to_vec(),
        ),
        // Nor does it answer pings.
        ("a preface", opening(0)),
        (
            "half a frame",
            [&opening(0)[..], &headers[..headers.len() / 2]].concat(),
        ),
    ];
    let mut waiting = JoinSet::new();
    for (name, bytes) in beginnings {
        let mut connection = TcpStream::connect(service.address).await.expect("listens");
        connection.write_all(&bytes).await.expect("it is taken");
        waiting.spawn(ends(name, connection));
    }
    waiting.join_all().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_those_before_go_on() {
    let service = TestService::with(&["--connections-max", "2"]).await;
    let mut first = service.device("mia", "phone").await;
    let second = service.device("leo", "phone").await;
    first.status().await;
    let third = TcpStream::connect(service.address).await.expect("accepted");
    ends("one too many", third).await;
    first.status().await;
    second.clone().status().await;
    drop(second);
    eventually("there is room", async || {
        let mut connection = TcpStream::connect(service.address).await.expect("accepted");
        connection.write_all(&opening(0)).await.is_ok() && connection.read_u8().await.is_ok()
    })
    .await;
}
