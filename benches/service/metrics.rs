//! What it costs to be watched by Prometheus.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::bench::Bench;
use crate::process::Process;
use crate::push::{connections, devices};
use crate::table::{Aim, compared};
use crate::turns::{Compared, turn};

/// Between two looks.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Pushes to an instance that tells its metrics to somebody every second, and to one that does not.
pub async fn metrics(bench: &Bench) {
    let address = free_address();
    let told = Process::service(&bench.database, &["--metrics-listen", &address.to_string()]);
    let mut base = devices(bench, &bench.service, connections(), 1).await;
    let mut measured = devices(bench, &told, connections(), 1).await;
    bench.settle().await;
    let stop = Arc::new(AtomicBool::new(false));
    let scraper = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                scrape(address);
                thread::sleep(SCRAPE_INTERVAL);
            }
        }
    });
    let rates = Compared::rates(turn(1_000), &mut base, &mut measured).await;
    stop.store(true, Ordering::Relaxed);
    scraper.join().expect("every scrape was answered");
    let case = "push rate with metrics, scraped every second";
    compared(case, &rates, "/s", 1.0, Aim::Told);
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn scrape(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).expect("metrics are told");
    let request = "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("taken");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
