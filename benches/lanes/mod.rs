//! Several lanes that do the same at once, each as often as it can.

use std::env;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// One device, or a raw connection in the place of one.
pub trait Lane: Send + 'static {
    /// Does it once.
    fn step(&mut self) -> impl Future<Output = ()> + Send;
}

/// Whether to measure. Without `--bench` cargo only wants to see that a bench works.
pub fn measured() -> bool {
    env::args().any(|argument| argument == "--bench")
}

/// All lanes at once until the turn is over; how many steps that was per second.
pub async fn steps_per_second<L: Lane>(lanes: &mut Vec<L>, turn: Duration) -> f64 {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for mut lane in lanes.drain(..) {
        running.spawn(async move {
            let mut steps = 0;
            while begun.elapsed() < turn {
                lane.step().await;
                steps += 1;
            }
            (lane, steps)
        });
    }
    let mut steps = 0;
    for (lane, count) in running.join_all().await {
        lanes.push(lane);
        steps += count;
    }
    f64::from(steps) / begun.elapsed().as_secs_f64()
}

/// The value in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
