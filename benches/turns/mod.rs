//! Turns of one side between turns of another, and which of them say something: the service beside
//! the raw statement, a service under some load beside one without.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;

use crate::lanes::{Lane, measured, median, steps_per_second};

/// Base turns that differ by more than this say more about the machine than about the other side.
const BASE_DIFFERENCE_MAX: f64 = 0.10;

/// How many turns a side gets in each case, and how long a turn takes.
pub struct Turns {
    pub count: usize,
    pub length: Duration,
}

impl Turns {
    /// Enough to measure, if that is asked for.
    pub fn of_this_run() -> Self {
        let (count, ms) = if measured() { (11, 600) } else { (1, 50) };
        let length = Duration::from_millis(ms);
        Self { count, length }
    }

    /// Lets both sides take turns, the base first and last, and says how they compare. A turn of the
    /// measured side is compared with the base turns before and after it, and left out where these
    /// differ too much: then the machine was busy.
    pub async fn compare<L: Lane>(&self, base: &mut Vec<L>, measured: &mut Vec<L>) -> String {
        for side in [&mut *base, &mut *measured] {
            steps_per_second(side, self.length).await; // warms up
        }
        let mut compared = Vec::new();
        let mut before = steps_per_second(base, self.length).await;
        for _ in 0..self.count {
            let measured = steps_per_second(measured, self.length).await;
            let after = steps_per_second(base, self.length).await;
            let base = (before + after) / 2.0;
            if (before - after).abs() <= BASE_DIFFERENCE_MAX * base {
                compared.push(Compared { base, measured });
            }
            before = after;
        }
        summary(&compared, self.count)
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} turns of {} ms", self.count, self.length.as_millis())
    }
}

/// What stands above a comparison of these two sides.
pub fn headings(base: &str, measured: &str) -> String {
    let (base, measured) = (format!("{base} per s"), format!("{measured} per s"));
    format!("{base:>18}  {measured:>18}  ratio (lowest-highest)  left out")
}

/// A measured turn, and what the base did around it. Steps per second.
struct Compared {
    base: f64,
    measured: f64,
}

fn summary(results: &[Compared], turns: usize) -> String {
    if results.is_empty() {
        return format!("the machine was too busy: all {turns} turns left out");
    }
    let ratio = |result: &Compared| result.measured / result.base;
    let lowest = results.iter().map(ratio).fold(f64::NAN, f64::min);
    let highest = results.iter().map(ratio).fold(f64::NAN, f64::max);
    format!(
        "{:18.0}  {:18.0}  {:.3} ({lowest:.3}-{highest:.3})     {:2} of {turns}",
        median(results.iter().map(|result| result.base)),
        median(results.iter().map(|result| result.measured)),
        median(results.iter().map(ratio)),
        turns - results.len(),
    )
}

/// Gives every case the same start: fresh statistics for the plans, fresh WAL.
pub async fn settle(admin: &Client) {
    for statement in ["vacuum analyze", "checkpoint"] {
        let done = admin.batch_execute(statement).await;
        done.expect("an administrator");
    }
}

/// What is measured beside.
pub async fn postgres(admin: &Client) -> String {
    let version = admin.query_one("show server_version", &[]).await;
    let version: String = version.expect("a setting").get(0);
    format!("Postgres {version} with fsync")
}
