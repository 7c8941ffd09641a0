//! Turns of one side between turns of another, and which of them say something: the service beside
//! the raw statement, a service under some load beside one without.

use std::time::Duration;

use tokio_postgres::Client;

use crate::lanes::{Lane, measured, median, steps_per_second};

/// Base turns that differ by more than this say more about the machine than about the other side.
pub const BASE_DIFFERENCE_MAX: f64 = 0.05;

/// Turns that have to count, and how many are had for that at most.
const COUNTED: usize = 5;
const TURNS_MAX: usize = 11;

/// How two sides compare.
#[derive(Default)]
pub struct Compared {
    /// What the base did around each measured turn that counts, and what was done in that turn.
    pairs: Vec<(f64, f64)>,
    /// Turns that do not count: the machine was busy.
    pub left_out: usize,
}

impl Compared {
    /// Lets sides take turns, the base first and last, until enough of them count. A turn of the measured side is
    /// compared with the base turns before and after it, and left out where these differ by more than a part:
    /// then the machine was busy.
    pub async fn by_turns(
        difference_max: f64,
        mut base: impl AsyncFnMut() -> f64,
        mut measure: impl AsyncFnMut() -> f64,
    ) -> Self {
        let (counted, turns_max) = if measured() {
            (COUNTED, TURNS_MAX)
        } else {
            (1, 1)
        };
        let mut compared = Self::default();
        let mut before = base().await;
        for _ in 0..turns_max {
            let value = measure().await;
            let after = base().await;
            let mean = f64::midpoint(before, after);
            // Without a measurement nothing is wrong with a busy machine.
            if (before - after).abs() <= difference_max * mean || !measured() {
                compared.pairs.push((mean, value));
            } else {
                compared.left_out += 1;
            }
            if compared.pairs.len() == counted {
                break;
            }
            before = after;
        }
        compared
    }

    /// Lets lanes do as much as they can in turns of this length. Steps per second.
    pub async fn rates<B: Lane, M: Lane>(
        turn: Duration,
        base: &mut Vec<B>,
        measured: &mut Vec<M>,
    ) -> Self {
        steps_per_second(base, turn).await; // warms up
        steps_per_second(measured, turn).await;
        Self::by_turns(
            BASE_DIFFERENCE_MAX,
            async || steps_per_second(base, turn).await,
            async || steps_per_second(measured, turn).await,
        )
        .await
    }

    /// How many turns count.
    pub fn counted(&self) -> usize {
        self.pairs.len()
    }

    /// What the base did.
    pub fn base(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.0))
    }

    /// What the measured side did.
    pub fn measured(&self) -> f64 {
        median(self.pairs.iter().map(|pair| pair.1))
    }

    /// Its part of what the base did: the lowest, the one in the middle, the highest.
    pub fn ratios(&self) -> [f64; 3] {
        let ratios = self.pairs.iter().map(|(base, measured)| measured / base);
        [
            ratios.clone().fold(f64::NAN, f64::min),
            median(ratios.clone()),
            ratios.fold(f64::NAN, f64::max),
        ]
    }
}

/// How long a turn takes.
pub fn turn(ms: u64) -> Duration {
    Duration::from_millis(if measured() { ms } else { 50 })
}

/// Gives every case the same start: fresh statistics for the plans, and nothing to clean up. Without a
/// checkpoint: behind one every page is written twice, which fades as the case goes on.
pub async fn settle(admin: &Client) {
    let done = admin.batch_execute("vacuum analyze").await;
    done.expect("an administrator");
}

/// What is measured beside, with the settings that decide what a commit costs.
pub async fn postgres(admin: &Client) -> String {
    let mut settings = Vec::new();
    for name in [
        "server_version",
        "fsync",
        "synchronous_commit",
        "shared_buffers",
        "max_wal_size",
        "checkpoint_timeout",
        "autovacuum",
    ] {
        let value = admin.query_one(&format!("show {name}"), &[]).await;
        let value: String = value.expect("a setting").get(0);
        settings.push(format!("{name} {value}"));
    }
    settings.join(", ")
}
