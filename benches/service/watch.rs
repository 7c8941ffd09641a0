//! How soon a watcher hears of a commit, and what many idle watchers cost: in time, to pushes, and in memory,
//! beside the plainest stream tonic can serve.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use hdrhistogram::Histogram;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Resolution, SyncItem, SyncRequest, WatchResponse};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Streaming;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use uuid::Uuid;

use crate::bench::{Bench, ITEM_BYTES, random_id};
use crate::cpu;
use crate::lanes::{Lane, measured};
use crate::latency::{at, open_loop};
use crate::process::Process;
use crate::push::{connections, devices, push};
use crate::support::Device;
use crate::support::service::token;
use crate::table::{Aim, compared, figure, ratio};
use crate::turns::{Compared, turn};
use crate::wire::Wire;
use crate::workout::workout;

/// Streams of a connection: what the service allows.
const STREAMS_PER_CONNECTION: usize = 100;

/// Connections made at once.
const OPENING_AT_ONCE: usize = 4;

/// Users who are pushed to and watched while the others are idle, and how often together.
const ACTIVE_USERS: usize = 50;
const PUSHES_PER_S: f64 = 500.0;

/// Idle watchers, fewer and many.
fn idle() -> [usize; 2] {
    if measured() {
        [1_000, 10_000]
    } else {
        [10, 20]
    }
}

/// All about watchers.
pub async fn watch(bench: &Bench) {
    let service = Process::service(&bench.database, &[]);
    hear(&service, Duration::from_secs(1)).await; // warms up
    bench.settle().await;
    let [fewer, many] = idle();
    let mut watchers = watches(&service, 0..fewer).await;
    let before_kib = service.memory_kib();
    watchers.extend(watches(&service, fewer..many).await);
    let each_kib = (service.memory_kib() - before_kib) / (many - fewer) as f64;

    let length = Duration::from_secs(if measured() { 10 } else { 1 });
    let [sent, answered] = hear(&service, length).await;
    let case = format!("commit to watcher, {PUSHES_PER_S}/s, {many} idle ones: p50");
    figure(&case, at(&sent, 0.5), "ms", Aim::Most(4.0));
    figure("  p99", at(&sent, 0.99), "ms", Aim::Most(25.0));
    figure(
        "  p50 since the push was answered",
        at(&answered, 0.5),
        "ms",
        Aim::Told,
    );
    figure(
        "  p99 since the push was answered",
        at(&answered, 0.99),
        "ms",
        Aim::Told,
    );

    let length = Duration::from_secs(if measured() { 15 } else { 1 });
    let before_us = service.cpu_us();
    sleep(length).await;
    let taken_us = service.cpu_us() - before_us;
    let percent = taken_us / length.as_micros() as f64 * 100.0;
    let case = format!("what {many} idle watchers take of a core");
    figure(&case, percent, "%", Aim::Told);

    let mut base = devices(bench, &bench.service, connections(), 1).await;
    let mut beside = devices(bench, &service, connections(), 1).await;
    bench.settle().await;
    let rates = Compared::rates(turn(1_000), &mut base, &mut beside).await;
    let case = format!("push rate with {many} watchers against none");
    compared(&case, &rates, "/s", 1.0, Aim::Least(0.97));
    cpu::compare((&bench.service, &mut base), (&service, &mut beside)).await;
    drop(watchers);

    let plain_kib = plain_stream_kib(bench).await;
    let case = "memory of an idle watcher against a bare stream";
    ratio(case, plain_kib, each_kib, "KiB", Aim::Most(1.3));
}

/// Watches of idle users, who are all different, that have caught up.
async fn watches(service: &Process, users: Range<usize>) -> Vec<Streaming<WatchResponse>> {
    let users: Vec<usize> = users.collect();
    let opened = iter(users.chunks(STREAMS_PER_CONNECTION)).map(async |users| {
        let channel = service.channel().await;
        let mut streams = Vec::new();
        for user in users {
            let device = service.device_on(&channel, &format!("idle-{user}"), "tablet");
            streams.push(caught_up(device).await);
        }
        streams
    });
    let streams: Vec<_> = opened.buffer_unordered(OPENING_AT_ONCE).collect().await;
    streams.into_iter().flatten().collect()
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

/// What a plain stream takes: the growth between fewer and many of them.
async fn plain_stream_kib(bench: &Bench) -> f64 {
    let plain = Process::plain(&bench.database, 0);
    let [fewer, many] = idle();
    let mut streams = plain_streams(&plain, fewer).await;
    let before_kib = plain.memory_kib();
    streams.extend(plain_streams(&plain, many - fewer).await);
    (plain.memory_kib() - before_kib) / (many - fewer) as f64
}

/// So many plain streams, each with its first message.
async fn plain_streams(plain: &Process, count: usize) -> Vec<Streaming<HealthCheckResponse>> {
    let places: Vec<usize> = (0..count).collect();
    let opened = iter(places.chunks(STREAMS_PER_CONNECTION)).map(async |places| {
        let mut client = HealthClient::new(plain.channel().await);
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

/// When a push was sent and answered.
struct Pushed {
    id: Uuid,
    sent: Instant,
    answered: Instant,
}

/// Pushes in an open loop, and says how long after sending and after the answer those who watch these users
/// heard of it.
async fn hear(service: &Process, length: Duration) -> [Histogram<u64>; 2] {
    let pushes = (PUSHES_PER_S * length.as_secs_f64()) as usize;
    let mut watchers = JoinSet::new();
    let mut pushers = Vec::new();
    for n in 0..ACTIVE_USERS {
        let user = format!("active-{}", random_id());
        let stream = caught_up(service.device(&user, "tablet").await).await;
        // The pushes are shared out in turn.
        let share = (n..pushes).step_by(ACTIVE_USERS).count();
        watchers.spawn(follow(stream, share));
        pushers.push(Pusher {
            wire: Wire::pushing(&service.address, &token(&user)).await,
            pushed: Vec::new(),
        });
    }
    open_loop(&mut pushers, PUSHES_PER_S, length).await;
    let heard: HashMap<Uuid, Instant> = watchers.join_all().await.into_iter().flatten().collect();
    let since = |from: fn(&Pushed) -> Instant| {
        let mut histogram = Histogram::new(3).expect("three digits");
        for pushed in pushers.iter().flat_map(|pusher| &pusher.pushed) {
            // The watcher may hear of it before the pusher does.
            let latency = heard[&pushed.id].saturating_duration_since(from(pushed));
            histogram += latency.as_micros() as u64;
        }
        histogram
    };
    [since(|pushed| pushed.sent), since(|pushed| pushed.answered)]
}

/// Follows until so many entities have come, and says when each did.
async fn follow(mut stream: Streaming<WatchResponse>, entities: usize) -> Vec<(Uuid, Instant)> {
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

/// A device that pushes new workouts.
struct Pusher {
    wire: Wire,
    pushed: Vec<Pushed>,
}

impl Lane for Pusher {
    async fn step(&mut self) {
        let id = random_id();
        let item = SyncItem {
            entity_type: "workout".to_owned(),
            entity_id: id.to_string(),
            operation: "create".to_owned(),
            data: workout(self.pushed.len(), ITEM_BYTES).into_bytes(),
            mutation_id: random_id().to_string(),
            ..SyncItem::default()
        };
        let request = SyncRequest {
            device_id: "phone".to_owned(),
            items: vec![item],
            ..SyncRequest::default()
        };
        let sent = Instant::now();
        push(&mut self.wire, &request, Resolution::Applied).await;
        let answered = Instant::now();
        self.pushed.push(Pushed { id, sent, answered });
    }
}
