//! How long pushes take at half of what can be done, in an open loop.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::lanes::{Lane, measured, steps_per_second};
use crate::push::{connections, lanes};
use crate::table::{Aim, compared};
use crate::turns::{Compared, turn};

/// Turns of the raw side whose p99 differ by more than this are left out: of a rare thing a turn sees little.
const P99_DIFFERENCE_MAX: f64 = 0.25;

/// Latency of pushes of one item on either side, at the same rate.
pub async fn latency(bench: &Bench) {
    let (mut raw, mut ours) = lanes(bench, connections(), 1).await;
    bench.settle().await;
    let mut peaks = [0.0, 0.0];
    for _ in 0..3 {
        let raw = steps_per_second(&mut raw, turn(1_000)).await;
        let ours = steps_per_second(&mut ours, turn(1_000)).await;
        peaks = [f64::max(peaks[0], raw), f64::max(peaks[1], ours)];
    }
    let per_second = peaks[0].min(peaks[1]) / 2.0;
    let length = if measured() {
        Duration::from_millis(2_500)
    } else {
        Duration::from_millis(100)
    };
    let mut medians = (Vec::new(), Vec::new());
    let p99s = Compared::by_turns(
        P99_DIFFERENCE_MAX,
        async || {
            let latency = open_loop(&mut raw, per_second, length).await;
            medians.0.push(at(&latency, 0.5));
            at(&latency, 0.99)
        },
        async || {
            let latency = open_loop(&mut ours, per_second, length).await;
            medians.1.push(at(&latency, 0.5));
            at(&latency, 0.99)
        },
    )
    .await;
    let case = format!("push latency p99 at {per_second:.0}/s, half load");
    compared(&case, &p99s, "ms", 1.0, Aim::Most(1.5));
    let (raw, ours) = (
        crate::lanes::median(medians.0),
        crate::lanes::median(medians.1),
    );
    crate::table::ratio("  p50 of the same", raw, ours, "ms", Aim::Told);
}

/// Milliseconds.
pub fn at(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

/// Has steps begun at a steady rate, whatever becomes of those before them, each lane in turn; how long each
/// took since it was due, in microseconds. A lane that is late goes on without a pause.
pub async fn open_loop<L: Lane>(
    lanes: &mut Vec<L>,
    per_second: f64,
    length: Duration,
) -> Histogram<u64> {
    let steps = (per_second * length.as_secs_f64()).max(1.0) as usize;
    let mut running = JoinSet::new();
    let mut asked = Vec::new();
    for mut lane in lanes.drain(..) {
        let (ask, mut due) = mpsc::channel::<Instant>(steps);
        asked.push(ask);
        running.spawn(async move {
            let mut latencies = Vec::new();
            while let Some(due) = due.recv().await {
                lane.step().await;
                latencies.push(due.elapsed());
            }
            (lane, latencies)
        });
    }
    // A thread of its own: a timer of the runtime would be up to a millisecond late.
    let clock = thread::spawn(move || {
        let begun = Instant::now();
        for step in 0..steps {
            let due = begun + Duration::from_secs_f64(step as f64 / per_second);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = asked[step % asked.len()].try_send(due);
            asked.expect("room for all");
        }
    });
    let mut histogram = Histogram::new(3).expect("three digits");
    for (lane, latencies) in running.join_all().await {
        lanes.push(lane);
        for latency in latencies {
            histogram += latency.as_micros() as u64;
        }
    }
    clock.join().expect("no panic");
    histogram
}
