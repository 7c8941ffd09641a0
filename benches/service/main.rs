//! The service beside the raw thing, case by case: what it does of what Postgres could do with the same durable
//! work on the same machine.
//!
//! The service runs as the built program in a process of its own, with its defaults, over gRPC on loopback; the
//! raw side is prepared statements over tokio-postgres, with as many connections, from this process. Both sides
//! use one Postgres (fsync and synchronous_commit on) and take turns. This process, the service and Postgres
//! share the machine, so the clients here are cheap ones ([`wire`]).
//!
//! `cargo bench --bench service` runs every case but `large`; `-- push latency` those whose names begin so.

mod bench;
mod conflicts;
mod cpu;
mod large;
mod latency;
mod metrics;
mod plain;
mod process;
mod pull;
mod push;
mod storm;
mod table;
mod turns;
mod watch;
mod wire;

#[path = "../lanes/mod.rs"]
mod lanes;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../workout/mod.rs"]
mod workout;

use std::env;
use std::time::Duration;

use bench::Bench;
use lanes::measured;
use tikv_jemallocator::Jemalloc;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// The allocator of the service, so that nobody compares allocators.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The most a run may take.
const LIMIT: Duration = Duration::from_secs(600);

fn main() {
    if let Some((url, connections)) = plain::asked() {
        let served = plain::serve(&url, connections);
        run(&mut Builder::new_multi_thread(), served);
    } else {
        // One thread: it drives connections, and the machine has other things to do.
        let measured = async { timeout(LIMIT, measure()).await.expect("in time") };
        run(&mut Builder::new_current_thread(), measured);
    }
}

fn run(runtime: &mut Builder, work: impl Future<Output = ()>) {
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(work);
}

async fn measure() {
    let names: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let named = |case: &str| names.iter().any(|name| case.starts_with(name));
    let wanted = |case| names.is_empty() || named(case);
    let bench = Bench::start().await;
    println!("{}", turns::postgres(&bench.admin).await);
    table::heading();
    if wanted("push-single") {
        push::single(&bench).await;
    }
    if wanted("push-hundred") {
        push::hundred(&bench).await;
    }
    if wanted("push-conflicts") {
        conflicts::conflicts(&bench).await;
    }
    if wanted("push-devices") {
        push::one_user(&bench).await;
    }
    if wanted("pull-500") {
        pull::page(&bench).await;
    }
    if wanted("pull-empty") {
        pull::nothing(&bench).await;
    }
    if wanted("latency") {
        latency::latency(&bench).await;
    }
    if wanted("metrics") {
        metrics::metrics(&bench).await;
    }
    if wanted("first-sync") {
        pull::first_sync(&bench).await;
    }
    if wanted("watch") {
        watch::watch(&bench).await;
    }
    if wanted("storm") {
        storm::storm(&bench).await;
    }
    drop(bench);
    if named("large") || (names.is_empty() && !measured()) {
        large::large().await;
    }
}
