//! What goes wrong beside the road.

use std::fmt;
use std::iter::Sum;
use std::time::Duration;

use fastrand::Rng;

/// Something that befalls a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// kill -9 of an instance.
    KillService,
    /// kill -9 of one backend of Postgres, which restarts them all.
    KillBackend,
    /// kill -9 of the postmaster.
    KillPostmaster,
    /// An instance stands still for a while (SIGSTOP, SIGCONT).
    Freeze,
    /// One instance after the other is asked to stop, and started again.
    RollingRestart,
}

impl Blow {
    /// All of them, and how often each comes.
    const ALL: [(Self, u32); 5] = [
        (Self::KillService, 5),
        (Self::KillBackend, 3),
        (Self::KillPostmaster, 1),
        (Self::Freeze, 2),
        (Self::RollingRestart, 1),
    ];

    /// One by chance.
    pub fn of(rng: &mut Rng) -> Self {
        let all: u32 = Self::ALL.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.u32(..all);
        for (blow, weight) in Self::ALL {
            if left < weight {
                return blow;
            }
            left -= weight;
        }
        Self::KillService
    }
}

/// What was done, over many histories.
#[derive(Debug, Default)]
pub struct Tally {
    pub histories: usize,
    pub calls: usize,
    /// kill -9, of anything.
    pub kills: usize,
    kills_of: [usize; 3],
    freezes: usize,
    rolling_restarts: usize,
    /// How long the last stream took to be current, once everybody had synced.
    slowest_watch: Duration,
}

impl Tally {
    /// A blow was dealt.
    pub fn blow(&mut self, blow: Blow) {
        let killed = match blow {
            Blow::KillService => 0,
            Blow::KillBackend => 1,
            Blow::KillPostmaster => 2,
            Blow::Freeze => return self.freezes += 1,
            Blow::RollingRestart => return self.rolling_restarts += 1,
        };
        self.kills_of[killed] += 1;
        self.kills += 1;
    }

    /// A stream was current after so long.
    pub fn watch_waited(&mut self, waited: Duration) {
        self.slowest_watch = self.slowest_watch.max(waited);
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |mut sum, next| {
            sum.histories += next.histories;
            sum.calls += next.calls;
            sum.kills += next.kills;
            for (sum, next) in sum.kills_of.iter_mut().zip(next.kills_of) {
                *sum += next;
            }
            sum.freezes += next.freezes;
            sum.rolling_restarts += next.rolling_restarts;
            sum.watch_waited(next.slowest_watch);
            sum
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [services, backends, postmasters] = self.kills_of;
        write!(
            out,
            "{} histories, {} calls; kill -9 of {services} services, {backends} backends and {postmasters} \
             postmasters: {} kills; {} freezes, {} rolling restarts; the slowest watch was current after {} ms",
            self.histories,
            self.calls,
            self.kills,
            self.freezes,
            self.rolling_restarts,
            self.slowest_watch.as_millis(),
        )
    }
}
