//! What the limits are for: how others fare beside one user's busy devices, what is done of three times
//! too much, and what very many idle connections cost.
//!
//! The service runs as the built program in a process of its own, on a durable Postgres, over loopback.
//! Clients, service and Postgres share the machine; so those who only make a load cost as little as they can
//! ([`callers`]).

mod callers;
#[allow(dead_code)] // nothing takes turns here
mod lanes;
#[path = "../tests/support/mod.rs"]
mod support;
mod workout;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use callers::{Call, Connection, Pace, Tally};
use hdrhistogram::Histogram;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use lanes::{measured, median};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::service::{SECRET, token};
use support::{Device, TestDatabase, frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::Status;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;
use uuid::Uuid;
use workout::workout;

/// The most the whole bench may take.
const LIMIT: Duration = Duration::from_secs(300);

const ITEM_BYTES: usize = 1024;

/// The others, and how often each of them pushes: 100 a second together.
const OTHERS: usize = 20;
const OTHERS_INTERVAL: Duration = Duration::from_millis(200);

/// Devices of the user who never rests.
const BUSY_DEVICES: usize = 32;

/// Users and connections of the open loop.
const CROWD: usize = 500;
const CROWD_CONNECTIONS: usize = 16;

/// Devices that find out how much the service can do at most.
const CLOSED_LOOP: usize = 32;

/// How much is measured.
struct Extent {
    rounds: usize,
    turn: Duration,
    connections: usize,
    /// How long memory has to come back.
    rest: Duration,
}

impl Extent {
    fn of_this_run() -> Self {
        let (rounds, ms, connections, rest) = if measured() {
            (5, 2_000, 19_000, Duration::from_secs(15))
        } else {
            (1, 200, 50, Duration::ZERO)
        };
        Self {
            rounds,
            turn: Duration::from_millis(ms),
            connections,
            rest,
        }
    }
}

#[tokio::main]
async fn main() {
    let extent = Extent::of_this_run();
    timeout(LIMIT, measure(&extent)).await.expect("in time");
}

async fn measure(extent: &Extent) {
    let database = TestDatabase::durable().await;
    let part = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name| part.as_deref().is_none_or(|part| part == name);
    if wanted("fairness") {
        all_fairness(&database, extent).await;
    }
    if wanted("overload") {
        overload(&Service::start(&database, &UNLIMITED), extent).await;
        refusals(&database, extent).await;
    }
    if wanted("idle") {
        idle(&Service::start(&database, &[]), extent).await;
    }
}

async fn all_fairness(database: &TestDatabase, extent: &Extent) {
    let defaults = Service::start(database, &[]);
    let unlimited = Service::start(database, &UNLIMITED);
    println!("Other users' pushes ({OTHERS} users, 100 a second), alone and beside one user");
    println!(
        "the user's {BUSY_DEVICES} devices                    alone p99  beside p99  ratio (lowest-highest)"
    );
    for (name, service, busy) in [
        ("push, told to wait they wait", &defaults, Busy::Patient),
        ("push, told to wait they call", &defaults, Busy::Stubborn),
        ("pull, told to wait they call", &defaults, Busy::Pulling),
        ("push, no rate at all", &unlimited, Busy::Stubborn),
        ("pull, no rate at all", &unlimited, Busy::Pulling),
    ] {
        println!("{name:42} {}", fairness(service, busy, extent).await);
    }
}

/// Nobody is held to a rate; all else as it is.
const UNLIMITED: [&str; 4] = [
    "--user-calls-per-s",
    "1000000",
    "--user-calls-burst",
    "1000000",
];

/// What the busy devices do.
#[derive(Clone, Copy)]
enum Busy {
    /// They push, and wait for as long as they are told to.
    Patient,
    /// They push, whatever they are told.
    Stubborn,
    /// They pull, from the beginning.
    Pulling,
}

/// How others' p99 compares, with and without the busy user, in alternating rounds.
async fn fairness(service: &Service, busy: Busy, extent: &Extent) -> String {
    let user = format!("busy-{}", Uuid::new_v4());
    let client = SyncServiceClient::new(channel(&service.address).await);
    let (mut devices, mut connections) = (Vec::new(), Vec::new());
    for n in 0..BUSY_DEVICES {
        let device = format!("d{n}");
        let call = match busy {
            Busy::Patient | Busy::Stubborn => Call::push(&user, &device, n),
            Busy::Pulling => Call::pull(&user, &device),
        };
        connections.push(Connection::open(&service.address, vec![call]).await);
        devices.push(Device::new(client.clone(), token(&user), &device));
    }
    for number in 0..50 {
        // So that there is something to pull.
        push(devices[0].clone(), number).await.expect("let in");
    }
    let others = others(service).await;
    let (mut alone_ms, mut beside_ms, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    p99_ms(&others, extent.turn).await; // warms up
    let mut before = p99_ms(&others, extent.turn).await;
    for _ in 0..extent.rounds {
        let busy = be_busy(&mut connections, &devices, busy, extent.turn);
        let (beside, ()) = tokio::join!(p99_ms(&others, extent.turn), busy);
        let after = p99_ms(&others, extent.turn).await;
        let alone = f64::midpoint(before, after);
        alone_ms.push(alone);
        beside_ms.push(beside);
        ratios.push(beside / alone);
        before = after;
    }
    let (lowest, highest) = spread(&ratios);
    format!(
        "{:6.1} ms   {:6.1} ms  {:.2} ({lowest:.2}-{highest:.2})",
        median(alone_ms),
        median(beside_ms),
        median(ratios)
    )
}

fn spread(values: &[f64]) -> (f64, f64) {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    (lowest, values.iter().copied().fold(0.0, f64::max))
}

async fn be_busy(
    connections: &mut Vec<Connection>,
    devices: &[Device],
    busy: Busy,
    turn: Duration,
) {
    match busy {
        Busy::Patient => {
            let patient = devices
                .iter()
                .map(|device| be_patient(device.clone(), turn));
            patient.collect::<JoinSet<_>>().join_all().await;
        }
        Busy::Stubborn | Busy::Pulling => {
            call(connections, Pace::AtOnce(1), turn).await;
        }
    }
}

async fn be_patient(device: Device, turn: Duration) {
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < turn {
        number += 1;
        let Err(refused) = push(device.clone(), number).await else {
            continue;
        };
        let retry = refused.get_details_retry_info();
        let delay = retry.and_then(|retry| retry.retry_delay);
        sleep(delay.unwrap_or_default()).await;
    }
}

async fn others(service: &Service) -> Vec<Device> {
    let mut devices = Vec::new();
    for n in 0..OTHERS {
        let client = SyncServiceClient::new(channel(&service.address).await);
        devices.push(Device::new(client, token(&format!("other-{n}")), "phone"));
    }
    devices
}

/// The others push now and then, each in an open loop; from when each push was due, the p99.
async fn p99_ms(others: &[Device], turn: Duration) -> f64 {
    let mut running = JoinSet::new();
    for (n, device) in others.iter().enumerate() {
        let device = device.clone();
        let first = OTHERS_INTERVAL * n as u32 / OTHERS as u32;
        running.spawn(async move {
            sleep(first).await;
            let mut ticks = interval(OTHERS_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let begun = Instant::now();
            let mut taken = Vec::new();
            while begun.elapsed() < turn {
                let due = ticks.tick().await;
                push(device.clone(), n).await.expect("let in");
                taken.push(due.elapsed());
            }
            taken
        });
    }
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    for taken in running.join_all().await.into_iter().flatten() {
        histogram += taken.as_micros() as u64;
    }
    histogram.value_at_quantile(0.99) as f64 / 1e3
}

/// What is done of once to three times what can be.
async fn overload(service: &Service, extent: &Extent) {
    let mut crowd = crowd(&service.address).await;
    let mut refused = refuser().await;
    closed_loop(&mut crowd, extent.turn).await; // warms up
    println!(
        "\nPushes by {CROWD} users: {CLOSED_LOOP} at once, then in an open loop of so much more"
    );
    println!(
        "load  offered/s   done/s   of the peak (lowest-highest)   with the surplus sent elsewhere   done p50, p99 ms   shed/s   failed otherwise"
    );
    for load in [1.0, 1.5, 2.0, 3.0] {
        let (mut ratios, mut lines) = (Vec::new(), Vec::new());
        let mut elsewhere = Vec::new();
        let mut before = closed_loop(&mut crowd, extent.turn).await;
        for _ in 0..extent.rounds.min(3) {
            let offered = before * load;
            let open = open_loop(&mut crowd, offered, extent.turn).await;
            let surplus = open_loop(&mut refused, offered - before, extent.turn);
            let (peak, _) = tokio::join!(closed_loop(&mut crowd, extent.turn), surplus);
            let after = closed_loop(&mut crowd, extent.turn).await;
            ratios.push(open.done / f64::midpoint(before, after));
            elsewhere.push(open.done / peak);
            lines.push((offered, open));
            before = after;
        }
        let (lowest, highest) = spread(&ratios);
        let (low, high) = spread(&elsewhere);
        let of = |pick: fn(&(f64, Open)) -> f64| median(lines.iter().map(pick));
        println!(
            "{load:4}  {:9.0}  {:7.0}   {:.2} ({lowest:.2}-{highest:.2})                {:.2} ({low:.2}-{high:.2})                  {:6.0} {:6.0}   {:6.0}  {:6}",
            of(|line| line.0),
            of(|line| line.1.done),
            median(ratios),
            median(elsewhere),
            of(|line| line.1.p50_ms),
            of(|line| line.1.p99_ms),
            of(|line| line.1.shed),
            lines.iter().map(|line| line.1.failed).sum::<usize>(),
        );
    }
}

/// Connections to a server that does nothing but refuse: what it takes to offer a surplus at all on the
/// machine that also serves.
async fn refuser() -> Vec<Connection> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // It knows no other service.
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    crowd(&address.to_string()).await
}

/// Many users with a device each, who share a few connections.
async fn crowd(address: &str) -> Vec<Connection> {
    let mut connections = Vec::new();
    for n in 0..CROWD_CONNECTIONS {
        let users = (n..CROWD).step_by(CROWD_CONNECTIONS);
        let calls = users.map(|n| Call::push(&format!("crowd-{n}"), "phone", n));
        connections.push(Connection::open(address, calls.collect()).await);
    }
    connections
}

/// All of them call for a turn.
async fn call(crowd: &mut Vec<Connection>, pace: Pace, turn: Duration) -> Tally {
    let calling: JoinSet<_> = crowd.drain(..).map(|each| each.call(pace, turn)).collect();
    let mut all = Tally::default();
    for (connection, tally) in calling.join_all().await {
        crowd.push(connection);
        all.taken.extend(tally.taken);
        all.done += tally.done;
        all.shed += tally.shed;
        all.failed += tally.failed;
    }
    all
}

/// How many pushes a second are done when so many devices push as fast as they can.
async fn closed_loop(crowd: &mut Vec<Connection>, turn: Duration) -> f64 {
    let pace = Pace::AtOnce(CLOSED_LOOP / CROWD_CONNECTIONS);
    let begun = Instant::now();
    let tally = call(crowd, pace, turn).await;
    assert_eq!((tally.shed, tally.failed), (0, 0), "not too much");
    tally.taken.len() as f64 / begun.elapsed().as_secs_f64()
}

/// What came of an open loop.
struct Open {
    done: f64,
    shed: f64,
    failed: usize,
    p50_ms: f64,
    p99_ms: f64,
}

/// Pushes `per_second`, whatever comes of them.
async fn open_loop(crowd: &mut Vec<Connection>, per_second: f64, turn: Duration) -> Open {
    let pace = Pace::PerSecond(per_second / CROWD_CONNECTIONS as f64);
    let tally = call(crowd, pace, turn).await;
    let mut histogram = Histogram::<u64>::new(3).expect("three digits");
    for taken in &tally.taken {
        histogram += taken.as_micros() as u64;
    }
    let per_turn = |count: usize| count as f64 / turn.as_secs_f64();
    Open {
        done: per_turn(tally.done),
        shed: per_turn(tally.shed),
        failed: tally.failed,
        p50_ms: histogram.value_at_quantile(0.5) as f64 / 1e3,
        p99_ms: histogram.value_at_quantile(0.99) as f64 / 1e3,
    }
}

/// What it takes to refuse a call: processor time of a service that is full, and of one that does nothing else.
async fn refusals(database: &TestDatabase, extent: &Extent) {
    const PER_SECOND: f64 = 5_000.0;
    let arguments = [&UNLIMITED[..], &["--calls-max", "1"]].concat();
    let service = Service::start(database, &arguments);
    // One push waits for this, and is all there is room for.
    let sql = database.client().await;
    let lock = sql.batch_execute("begin; lock table scopes in access exclusive mode");
    lock.await.expect("locked");
    let first = Call::push("first", "phone", 0);
    let first = Connection::open(&service.address, vec![first]).await;
    let first = tokio::spawn(first.call(Pace::AtOnce(1), Duration::ZERO));
    let pace = Pace::PerSecond(PER_SECOND / CROWD_CONNECTIONS as f64);
    let mut crowd = crowd(&service.address).await;
    // Until that one is there.
    while call(&mut crowd, pace, extent.turn / 20).await.shed == 0 {}
    let (before, mine) = (cpu_us(service.child.id()), cpu_us(process::id()));
    let tally = call(&mut crowd, pace, extent.turn).await;
    let (full, callers) = (
        cpu_us(service.child.id()) - before,
        cpu_us(process::id()) - mine,
    );
    assert_eq!((tally.done, tally.failed), (0, 0), "it is full");
    first.abort();
    let mut refuser = refuser().await;
    let mine = cpu_us(process::id());
    // UNIMPLEMENTED.
    let refused = call(&mut refuser, pace, extent.turn).await.failed;
    let both = cpu_us(process::id()) - mine;
    let [full, callers] = [full, callers].map(|us| us / tally.shed as f64);
    println!(
        "\nA refusal takes {full:.0} us of a service that is full, {callers:.0} us of its caller; \
         {:.0} us of a server that does nothing else",
        both / refused as f64 - callers
    );
}

/// The processor time that a process has taken.
fn cpu_us(process: u32) -> f64 {
    /// Of so many microseconds (`proc_pid_stat(5)`).
    const TICK_US: f64 = 10_000.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // Behind the name: the state is the first, user and system time are the twelfth and thirteenth.
    let fields = stat.rsplit(')').next().expect("fields");
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = times.map(|time| time.parse::<f64>().expect("ticks")).sum();
    ticks * TICK_US
}

/// What idle connections take, and what they do to others.
async fn idle(service: &Service, extent: &Extent) {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    let wanted = extent.connections.min(hard.saturating_sub(500) as usize);
    let others = others(service).await;
    p99_ms(&others, extent.turn).await; // warms up
    let alone = p99_ms(&others, extent.turn).await;
    let before = service.memory_kib();
    let mut connections = Vec::new();
    let begun = Instant::now();
    let opening = frames::opening(65_535);
    for _ in 0..wanted {
        let mut connection = TcpStream::connect(&service.address)
            .await
            .expect("accepted");
        connection.write_all(&opening).await.expect("taken");
        // The server's settings: it has taken the connection in.
        let mut first = [0; 9];
        connection.read_exact(&mut first).await.expect("settings");
        connections.push(connection);
    }
    let opened = begun.elapsed();
    let with = service.memory_kib();
    let beside = p99_ms(&others, extent.turn).await;
    println!(
        "\n{wanted} idle connections, opened in {:.1} s: {before} KiB before, {with} KiB with them, \
         {:.1} KiB each; others' p99 {alone:.1} ms before, {beside:.1} ms with them",
        opened.as_secs_f64(),
        (with - before) as f64 / wanted as f64,
    );
    drop(connections);
    sleep(extent.rest).await;
    println!(
        "{} KiB {:?} after they have left",
        service.memory_kib(),
        extent.rest
    );
}

/// Pushes a new workout.
async fn push(mut device: Device, number: usize) -> Result<(), Status> {
    let item = SyncItem {
        entity_type: "workout".to_owned(),
        entity_id: Uuid::new_v4().to_string(),
        operation: "create".to_owned(),
        data: workout(number, ITEM_BYTES).into_bytes(),
        mutation_id: Uuid::new_v4().to_string(),
        ..SyncItem::default()
    };
    let request = SyncRequest {
        items: vec![item],
        ..device.request()
    };
    device.send(request).await.map(|_| ())
}

async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.expect("an address").connect().await;
    channel.expect("it listens")
}

/// The service in a process of its own. Ends with the value, and with this process however that ends.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(database: &TestDatabase, arguments: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(env!("CARGO_BIN_EXE_ironflow-sync"))
            .args(["--database-url", &database.url()])
            .args(["--jwt-secret", SECRET])
            .args(["--listen", "127.0.0.1:0"])
            .args(["--log", "error"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        let mut out = BufReader::new(out);
        out.read_line(&mut line).expect("text");
        let address = line
            .split_whitespace()
            .last()
            .expect("an address")
            .to_owned();
        // What else it says may stay in the pipe; closed, it would end the program.
        child.stdout = Some(out.into_inner());
        Self { child, address }
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

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
