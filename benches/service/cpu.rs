//! What the two sides take of the machine, beside Postgres.

use std::fs;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::lanes::{Lane, steps_per_second};
use crate::process::{Process, TICK_US};
use crate::table::{Aim, figure, ratio};
use crate::turns::turn;

/// What a step costs. Microseconds of a core.
struct Cost {
    clients: f64,
    service: f64,
    /// On a quiet machine that is Postgres, and what the kernel does for nobody in particular.
    all_else: f64,
}

/// Prints what a step costs the clients on either side, which are in this process, the service, and the rest of
/// the machine.
pub async fn tell<B: Lane, M: Lane>(service: &Process, raw: &mut Vec<B>, ours: &mut Vec<M>) {
    let raw = Cost::of_step(service, raw).await;
    let ours = Cost::of_step(service, ours).await;
    ratio(
        "  CPU of the clients for each",
        raw.clients,
        ours.clients,
        "us",
        Aim::Told,
    );
    figure(
        "  CPU of the service for each",
        ours.service,
        "us",
        Aim::Told,
    );
    ratio(
        "  CPU of all else, Postgres, for each",
        raw.all_else,
        ours.all_else,
        "us",
        Aim::Told,
    );
}

/// Prints what a step costs one of two services beside the other, and the rest of the machine.
pub async fn compare<L: Lane>(base: (&Process, &mut Vec<L>), measured: (&Process, &mut Vec<L>)) {
    let base = Cost::of_step(base.0, base.1).await;
    let measured = Cost::of_step(measured.0, measured.1).await;
    let case = "  CPU of the service for each";
    ratio(case, base.service, measured.service, "us", Aim::Told);
    let case = "  CPU of all else, Postgres, for each";
    ratio(case, base.all_else, measured.all_else, "us", Aim::Told);
}

impl Cost {
    async fn of_step<L: Lane>(service: &Process, lanes: &mut Vec<L>) -> Self {
        let used = || [own_us(), service.cpu_us(), machine_us()];
        let (begun, before) = (Instant::now(), used());
        let per_second = steps_per_second(lanes, turn(2_000)).await;
        let steps = per_second * begun.elapsed().as_secs_f64();
        let after = used();
        let [clients, service, machine] = [0, 1, 2].map(|who| (after[who] - before[who]) / steps);
        Self {
            clients,
            service,
            all_else: machine - clients - service,
        }
    }
}

/// The time all cores were busy so far.
fn machine_us() -> f64 {
    /// Of the numbers of the first line, those of idling.
    const IDLE: [usize; 2] = [3, 4];
    let stat = fs::read_to_string("/proc/stat").expect("Linux");
    let line = stat.lines().next().expect("all cores");
    // Time of guests, behind the first eight, is in these too.
    let ticks = line.split_whitespace().skip(1).take(8).enumerate();
    let busy = ticks.filter(|(place, _)| !IDLE.contains(place));
    let busy = busy.map(|(_, ticks)| ticks.parse::<f64>().expect("a number"));
    busy.sum::<f64>() * TICK_US
}

fn own_us() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("our own");
    let times = [usage.user_time(), usage.system_time()];
    times
        .map(|time| time.num_microseconds() as f64)
        .iter()
        .sum()
}
