//! What a storm of connections leaves behind once it has passed.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::bench::Bench;
use crate::lanes::{measured, steps_per_second};
use crate::process::Process;
use crate::push::{connections, devices};
use crate::support::frames;
use crate::table::{Aim, ratio};
use crate::turns::turn;

/// Open files this process needs for other things.
const OTHER_FILES: u64 = 500;

/// Memory of the service before, with and after many idle connections.
pub async fn storm(bench: &Bench) {
    let (wanted, rest) = if measured() {
        (19_000, Duration::from_secs(15))
    } else {
        (50, Duration::ZERO)
    };
    let hard = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    let count = hard.saturating_sub(OTHER_FILES).min(wanted);
    let service = Process::service(&bench.database, &[]);
    let mut devices = devices(bench, &service, connections(), 1).await;
    steps_per_second(&mut devices, turn(3_000)).await; // warms up
    drop(devices);
    sleep(rest).await;

    let before = service.memory_kib() / 1024.0;
    let mut connections = Vec::new();
    let opening = frames::opening(65_535);
    for _ in 0..count {
        let connection = TcpStream::connect(&service.address).await;
        let mut connection = connection.expect("accepted");
        connection.write_all(&opening).await.expect("taken");
        // The server's settings: it has taken the connection in.
        let mut first = [0; 9];
        connection.read_exact(&mut first).await.expect("settings");
        connections.push(connection);
    }
    let with = service.memory_kib() / 1024.0;
    drop(connections);
    sleep(rest).await;
    let after = service.memory_kib() / 1024.0;
    ratio(
        &format!("memory with {count} connections"),
        before,
        with,
        "MiB",
        Aim::Told,
    );
    let case = format!("memory {} s after they have left", rest.as_secs());
    ratio(&case, before, after, "MiB", Aim::Most(1.3));
}
