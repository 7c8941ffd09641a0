//! How soon a watcher hears of a commit, and what many idle watchers cost: in time, to pushes, and in
//! memory, beside the plainest stream tonic can serve.
//!
//! The service runs as the built program in a process of its own, so that its memory is its own; the
//! plain stream is the health service of tonic, in this program started once more. All on loopback.

mod lanes;
#[path = "../tests/support/mod.rs"]
mod support;
mod turns;
mod workout;

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use hdrhistogram::Histogram;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Resolution, SyncItem, WatchResponse};
use lanes::{Lane, measured};
use support::service::{SECRET, token};
use support::{Device, TestDatabase};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;
use tonic::Streaming;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use turns::Turns;
use uuid::Uuid;
use workout::workout;

/// The argument that makes this program the plain server.
const PLAIN: &str = "--plain-server";

/// The most the whole bench may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Streams of a connection: what the service allows.
const STREAMS_PER_CONNECTION: usize = 100;

/// Connections made at once.
const OPENING_AT_ONCE: usize = 4;

/// Users who are pushed to and watched while the others are idle, and the connections they share.
const ACTIVE_USERS: usize = 50;
const ACTIVE_CONNECTIONS: usize = 4;

/// Time between two pushes of the open loop: 500 a second.
const PUSH_INTERVAL: Duration = Duration::from_millis(2);

const ITEM_BYTES: usize = 1024;

/// How much is measured.
struct Extent {
    /// Idle watchers, fewer and many.
    idle: [usize; 2],
    /// Pushes of the open loop.
    pushes: usize,
}

impl Extent {
    fn of_this_run() -> Self {
        let (idle, pushes) = if measured() {
            ([1_000, 10_000], 5_000)
        } else {
            ([10, 20], 400)
        };
        Self { idle, pushes }
    }
}

#[tokio::main]
async fn main() {
    if env::args().any(|argument| argument == PLAIN) {
        serve_plain().await;
    } else {
        let extent = Extent::of_this_run();
        timeout(LIMIT, measure(&extent)).await.expect("in time");
    }
}

async fn measure(extent: &Extent) {
    let database = TestDatabase::durable().await;
    let [watched, quiet] = [Process::service(&database), Process::service(&database)];
    let admin = database.client().await;
    for (instance, run) in [(&watched, "warm-up"), (&quiet, "warm-up too")] {
        // Also fills their pools of connections, which costs pushes a little.
        hearing(instance, run, extent.pushes / 4).await;
    }
    println!(
        "Pushes of about {ITEM_BYTES} bytes, watched, {}",
        turns::postgres(&admin).await
    );
    println!(
        "idle watchers  pushes per s  from              p50       p99       max  (milliseconds)"
    );
    let mut watchers = Vec::new();
    let mut memory_kib = Vec::new();
    let mut compared = vec![(0, compare(&admin, &quiet, &watched).await)];
    for idle in extent.idle {
        watchers.extend(watched.watchers(watchers.len()..idle).await);
        memory_kib.push(watched.memory_kib());
        for line in hearing(&watched, &format!("beside-{idle}"), extent.pushes).await {
            println!("{idle:13}  {line}");
        }
    }
    compared.push((watchers.len(), compare(&admin, &quiet, &watched).await));
    println!(
        "\nPushes of one item by {ACTIVE_CONNECTIONS} devices, to an instance without watchers and to \
         another, {}",
        Turns::of_this_run()
    );
    println!("idle watchers  {}", turns::headings("without", "with"));
    for (idle, line) in compared {
        println!("{idle:13}  {line}");
    }
    drop(watchers);

    let myself = env::current_exe().expect("a path");
    let plain = Process::start(myself.as_ref(), &[PLAIN]);
    let mut streams = Vec::new();
    let mut plain_kib = Vec::new();
    for idle in extent.idle {
        streams.extend(plain.plain_streams(streams.len()..idle).await);
        plain_kib.push(plain.memory_kib());
    }
    println!("\nMemory of the serving process (RSS)");
    println!("an idle watcher  {}", per_stream(extent, &memory_kib));
    println!("a plain stream   {}", per_stream(extent, &plain_kib));
}

/// Pushes to two instances in turns.
async fn compare(admin: &Client, quiet: &Process, watched: &Process) -> String {
    turns::settle(admin).await;
    let mut base = pushers(quiet, "quiet").await;
    let mut measured = pushers(watched, "watched").await;
    let turns = Turns::of_this_run();
    turns.compare(&mut base, &mut measured).await
}

/// What a stream takes: the growth between fewer and many of them.
fn per_stream(extent: &Extent, memory_kib: &[i64]) -> String {
    let [fewer, many] = extent.idle;
    let streams = (many - fewer) as f64;
    let (before, after) = (memory_kib[0], memory_kib[1]);
    let each = (after - before) as f64 / streams;
    format!("{each:.1} KiB each ({before} KiB with {fewer}, {after} KiB with {many})")
}

/// A server in a process of its own. Ends with the value, and with this process however that ends.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    /// The service, on a database.
    fn service(database: &TestDatabase) -> Self {
        let url = database.url();
        let arguments = [
            ["--database-url", &url],
            ["--jwt-secret", SECRET],
            ["--listen", "127.0.0.1:0"],
            ["--heartbeat-interval-ms", "3600000"],
            // A few users push what many would.
            ["--user-calls-per-s", "1000000"],
            ["--user-calls-burst", "1000000"],
            ["--log", "warn"],
        ];
        let program = env!("CARGO_BIN_EXE_ironflow-sync");
        Self::start(program.as_ref(), arguments.as_flattened())
    }

    /// Starts a program whose first line ends in the address it listens on.
    fn start(program: &OsStr, arguments: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        let mut out = BufReader::new(out);
        out.read_line(&mut line).expect("text");
        let address = line.split_whitespace().last().expect("an address");
        let address = format!("http://{address}");
        // What else it says may stay in the pipe; closed, it would end the program.
        child.stdout = Some(out.into_inner());
        Self { child, address }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.address.clone());
        let channel = endpoint.expect("an address").connect().await;
        channel.expect("it listens")
    }

    /// A device of a user.
    fn device(&self, channel: &Channel, user: &str, device: &str) -> Device {
        let client = SyncServiceClient::new(channel.clone());
        Device::new(client, token(user), device)
    }

    /// Watches of idle users, who are all different, that have caught up.
    async fn watchers(&self, users: std::ops::Range<usize>) -> Vec<Streaming<WatchResponse>> {
        let users: Vec<usize> = users.collect();
        let opened = iter(users.chunks(STREAMS_PER_CONNECTION)).map(async |users| {
            let channel = self.channel().await;
            let mut streams = Vec::new();
            for user in users {
                let device = self.device(&channel, &format!("idle-{user}"), "tablet");
                streams.push(caught_up(device).await);
            }
            streams
        });
        let streams: Vec<_> = opened.buffer_unordered(OPENING_AT_ONCE).collect().await;
        streams.into_iter().flatten().collect()
    }

    /// As many plain streams, each with its first message.
    async fn plain_streams(
        &self,
        places: std::ops::Range<usize>,
    ) -> Vec<Streaming<HealthCheckResponse>> {
        let places: Vec<usize> = places.collect();
        let opened = iter(places.chunks(STREAMS_PER_CONNECTION)).map(async |places| {
            let mut client = HealthClient::new(self.channel().await);
            let mut streams = Vec::new();
            for _ in places {
                let stream = client.watch(HealthCheckRequest::default()).await;
                let mut stream = stream.expect("a stream").into_inner();
                stream.message().await.expect("no error").expect("a status");
                streams.push(stream);
            }
            streams
        });
        let streams: Vec<_> = opened.buffer_unordered(OPENING_AT_ONCE).collect().await;
        streams.into_iter().flatten().collect()
    }

    /// Its resident memory.
    fn memory_kib(&self) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.expect("a size").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A watch that has sent what there was.
async fn caught_up(mut device: Device) -> Streaming<WatchResponse> {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
    loop {
        let message = stream.message().await.expect("no error");
        if let Some(Event::CaughtUp(_)) = message.expect("no end").event {
            return stream;
        }
    }
}

/// A plain server: tonic, and its own health service. Its streams stay quiet for ever.
async fn serve_plain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("listens on {address}");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let served = Server::builder()
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    served.await.expect("serves");
}

/// When a push was sent and answered.
struct Pushed {
    id: Uuid,
    sent: Instant,
    answered: Instant,
}

/// Pushes in an open loop, and says how long after that the watchers of those users heard of it.
async fn hearing(service: &Process, run: &str, pushes: usize) -> [String; 2] {
    let user = |i: usize| format!("active-{}-{run}", i % ACTIVE_USERS);
    let channel = service.channel().await;
    let mut watchers = JoinSet::new();
    for i in 0..ACTIVE_USERS {
        let device = service.device(&channel, &user(i), "tablet");
        let stream = caught_up(device).await;
        watchers.spawn(hear(stream, pushes / ACTIVE_USERS));
    }
    let mut devices = Vec::new();
    for _ in 0..ACTIVE_CONNECTIONS {
        let channel = service.channel().await;
        devices.extend((0..ACTIVE_USERS).map(|i| service.device(&channel, &user(i), "phone")));
    }
    let mut running = JoinSet::new();
    let mut ticks = interval(PUSH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    for i in 0..pushes {
        ticks.tick().await;
        running.spawn(push(devices[i % devices.len()].clone(), i));
    }
    let pushed = running.join_all().await;
    let per_second = pushes as f64 / begun.elapsed().as_secs_f64();
    let heard: HashMap<Uuid, Instant> = watchers.join_all().await.into_iter().flatten().collect();
    let summary = |from: &str, since: fn(&Pushed) -> Instant| {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for pushed in &pushed {
            // The watcher may hear of it before the pusher does.
            let latency = heard[&pushed.id].saturating_duration_since(since(pushed));
            histogram += latency.as_micros() as u64;
        }
        let ms = |us: u64| us as f64 / 1e3;
        let (middle, high) = (
            histogram.value_at_quantile(0.5),
            histogram.value_at_quantile(0.99),
        );
        format!(
            "{per_second:12.0}  {from:14}  {:8.2}  {:8.2}  {:8.2}",
            ms(middle),
            ms(high),
            ms(histogram.max()),
        )
    };
    [
        summary("before sending", |pushed| pushed.sent),
        summary("the answer", |pushed| pushed.answered),
    ]
}

/// Follows until so many entities have come, and says when each did.
async fn hear(mut stream: Streaming<WatchResponse>, entities: usize) -> Vec<(Uuid, Instant)> {
    let mut heard = Vec::new();
    while heard.len() < entities {
        let message = stream.message().await.expect("no error");
        let now = Instant::now();
        if let Some(Event::Changes(changes)) = message.expect("no end").event {
            for entity in changes.entities {
                heard.push((entity.entity_id.parse().expect("a UUID"), now));
            }
        }
    }
    heard
}

/// Pushes a new workout.
async fn push(mut device: Device, number: usize) -> Pushed {
    let id = Uuid::new_v4();
    let item = SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        operation: "create".to_owned(),
        data: workout(number, ITEM_BYTES).into_bytes(),
        mutation_id: Uuid::new_v4().to_string(),
        ..SyncItem::default()
    };
    let sent = Instant::now();
    let result = device.sync_one(item).await;
    let answered = Instant::now();
    assert_eq!(result.resolution(), Resolution::Applied, "{result:?}");
    Pushed { id, sent, answered }
}

/// A device that pushes as fast as it can.
struct Pusher {
    device: Device,
    pushes: usize,
}

impl Lane for Pusher {
    async fn step(&mut self) {
        push(self.device.clone(), self.pushes).await;
        self.pushes += 1;
    }
}

/// Devices that push to a service, each of a user of its own.
async fn pushers(service: &Process, users: &str) -> Vec<Pusher> {
    let mut pushers = Vec::new();
    for i in 0..ACTIVE_CONNECTIONS {
        let channel = service.channel().await;
        let device = service.device(&channel, &format!("{users}-{i}"), "phone");
        pushers.push(Pusher { device, pushes: 0 });
    }
    pushers
}
