//! Which calls are let in: limits of each user, and of the process. Decided before a call's message is
//! read, so that a call too many costs next to nothing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::domain::scope::UserId;
use crate::error::Refusal;

/// How often users who have been quiet are forgotten. Until then each takes about 100 bytes.
const FORGET_INTERVAL: Duration = Duration::from_secs(10);

/// What of all places that are left one user may have: as much as this part of them. However many
/// calls a few users have under way, there is room for somebody else's.
const USER_PART: usize = 2;

/// How long the answer to a call too many of one user is held back at most. Who calls again at once,
/// whatever they are told, would otherwise keep the process busy with telling them.
const HOLD_MAX: Duration = Duration::from_millis(250);

/// Answers held back at once: beyond it they are given at once, they must not pile up.
const HELD_MAX: usize = 1_000;

/// What is let in.
#[derive(Debug, Clone)]
pub struct AdmissionRules {
    /// Calls of one user in a second, in the long run.
    pub user_calls_per_s: NonZeroU32,
    /// Calls of one user at once, after a rest.
    pub user_calls_burst: NonZeroU32,
    /// Calls of one user under way.
    pub user_calls_max: usize,
    /// Watches of one user under way.
    pub user_watches_max: usize,
    /// Calls under way.
    pub calls_max: usize,
    /// Watches under way.
    pub watches_max: usize,
    /// Bytes of messages being received or worked on.
    pub received_bytes_max: usize,
}

/// What kind of call asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One that is answered once.
    Call,
    /// A stream, for as long as its reader stays.
    Watch,
    /// One that costs nothing but its answer. It is let in however busy the process is.
    Question,
}

/// Lets calls in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Admission(Arc<Desk>);

struct Desk {
    rules: AdmissionRules,
    rates: RateLimiter<UserId, HashMapStateStore<UserId>, governor::clock::DefaultClock>,
    under_way: Mutex<UnderWay>,
    /// Bytes of messages being received or worked on.
    received: AtomicUsize,
    /// Refusals that are held back.
    held: Arc<Semaphore>,
}

#[derive(Default)]
struct UnderWay {
    all: Counts,
    /// Users who have any.
    users: HashMap<UserId, Counts>,
}

#[derive(Default, PartialEq, Eq)]
struct Counts {
    calls: usize,
    watches: usize,
}

impl Counts {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Call | Kind::Question => &mut self.calls,
            Kind::Watch => &mut self.watches,
        }
    }
}

/// What a process has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls under way.
    pub calls: usize,
    /// Watches under way.
    pub watches: usize,
    /// Bytes of messages being received or worked on.
    pub received_bytes: usize,
}

/// A call that was let in. It is over when this is dropped.
pub struct Admitted {
    desk: Arc<Desk>,
    user: UserId,
    kind: Kind,
}

/// The bytes of a call's message. They are gone when this is dropped.
pub struct Received {
    desk: Arc<Desk>,
    bytes: AtomicUsize,
}

/// A refusal that is held back.
pub struct Held {
    hold: Duration,
    /// `None`: it is not.
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Waits until the refusal may be told.
    pub async fn wait(self) {
        if let Some(_room) = self.room {
            tokio::time::sleep(self.hold).await;
        }
    }
}

impl Admission {
    /// Lets calls in by `rules`.
    pub fn new(rules: AdmissionRules) -> Self {
        let quota = Quota::per_second(rules.user_calls_per_s).allow_burst(rules.user_calls_burst);
        Self(Arc::new(Desk {
            rules,
            rates: RateLimiter::hashmap(quota),
            under_way: Mutex::default(),
            received: AtomicUsize::new(0),
            held: Arc::new(Semaphore::new(HELD_MAX)),
        }))
    }

    /// Lets a user's call in, or says why not. Never waits.
    pub fn admit(&self, user: &UserId, kind: Kind) -> Result<Admitted, Refusal> {
        let desk = &self.0;
        desk.check_rate(user)?;
        let mut under_way = desk.lock();
        let mine = under_way.users.get(user);
        let (calls, watches) = mine.map_or((0, 0), |mine| (mine.calls, mine.watches));
        let rules = &desk.rules;
        match kind {
            Kind::Call | Kind::Question if calls >= rules.user_calls_max => {
                let limit = rules.user_calls_max;
                return Err(Refusal::TooManyCalls { limit });
            }
            Kind::Watch if watches >= rules.user_watches_max => {
                let limit = rules.user_watches_max;
                return Err(Refusal::TooManyStreams { limit });
            }
            Kind::Call => fits(calls, rules.calls_max, under_way.all.calls)?,
            Kind::Watch => fits(watches, rules.watches_max, under_way.all.watches)?,
            Kind::Question => (),
        }
        *under_way.all.of(kind) += 1;
        *under_way.users.entry(user.clone()).or_default().of(kind) += 1;
        Ok(Admitted {
            desk: desk.clone(),
            user: user.clone(),
            kind,
        })
    }

    /// Whether there is no room for a call, whoever makes it.
    pub fn is_full(&self, kind: Kind) -> bool {
        let rules = &self.0.rules;
        let under_way = self.0.lock();
        match kind {
            Kind::Call => under_way.all.calls >= rules.calls_max,
            Kind::Watch => under_way.all.watches >= rules.watches_max,
            Kind::Question => false,
        }
    }

    /// How long to hold a refusal back.
    pub fn hold(&self, refusal: &Refusal) -> Held {
        let hold = if let Refusal::RateLimited { wait, .. } = refusal {
            HOLD_MAX.min(*wait)
        } else if let Refusal::TooManyCalls { .. } = refusal {
            HOLD_MAX
        } else {
            Duration::ZERO
        };
        let room = match hold.is_zero() {
            true => None,
            false => self.0.held.clone().try_acquire_owned().ok(),
        };
        Held { hold, room }
    }

    /// The message of a call, of which nothing has come yet.
    pub fn receive(&self) -> Received {
        Received {
            desk: self.0.clone(),
            bytes: AtomicUsize::new(0),
        }
    }

    /// What there is to do now.
    pub fn load(&self) -> Load {
        let under_way = self.0.lock();
        Load {
            calls: under_way.all.calls,
            watches: under_way.all.watches,
            received_bytes: self.0.received.load(Ordering::Relaxed),
        }
    }

    /// Forgets users who have been quiet, now and then until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FORGET_INTERVAL) => (),
            }
            self.0.rates.retain_recent();
            self.0.rates.shrink_to_fit();
        }
    }
}

/// Whether there is room for one more call of somebody who has `mine` of `all` under way.
fn fits(mine: usize, max: usize, all: usize) -> Result<(), Refusal> {
    if mine * USER_PART < max.saturating_sub(all) {
        Ok(())
    } else {
        Err(Refusal::Overloaded)
    }
}

impl Desk {
    fn check_rate(&self, user: &UserId) -> Result<(), Refusal> {
        self.rates
            .check_key(user)
            .map_err(|not_until| Refusal::RateLimited {
                per_s: self.rules.user_calls_per_s.get(),
                wait: not_until.wait_time_from(self.rates.clock().now()),
            })
    }

    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut under_way = self.desk.lock();
        *under_way.all.of(self.kind) -= 1;
        if let Some(mine) = under_way.users.get_mut(&self.user) {
            *mine.of(self.kind) -= 1;
            if *mine == Counts::default() {
                under_way.users.remove(&self.user);
            }
        }
    }
}

impl Received {
    /// Some more bytes have come. Beyond what the process may hold the call ends.
    pub fn add(&self, bytes: usize) -> Result<(), Refusal> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.desk.received.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.desk.rules.received_bytes_max {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// The message has been unpacked: this is its size.
    pub fn settle(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.desk.received.fetch_add(bytes, Ordering::Relaxed);
        self.desk.received.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.desk.received.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: NonZeroU32 = NonZeroU32::new(1_000_000).expect("not 0");

    fn rules() -> AdmissionRules {
        AdmissionRules {
            user_calls_per_s: MANY,
            user_calls_burst: MANY,
            user_calls_max: 64,
            user_watches_max: 2,
            calls_max: 12,
            watches_max: 12,
            received_bytes_max: 100,
        }
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a user")
    }

    fn refused(admission: &Admission, name: &str, kind: Kind) -> Refusal {
        let admitted = admission.admit(&user(name), kind);
        admitted.err().expect("refused")
    }

    #[test]
    fn rates_are_each_users_own_and_say_when_to_come_back() {
        let [one, two] = [1, 2].map(|n| NonZeroU32::new(n).expect("not 0"));
        let admission = Admission::new(AdmissionRules {
            user_calls_per_s: one,
            user_calls_burst: two,
            ..rules()
        });
        for _ in 0..2 {
            admission.admit(&user("mia"), Kind::Call).expect("a burst");
        }
        let Refusal::RateLimited { per_s: 1, wait } = refused(&admission, "mia", Kind::Call) else {
            panic!("expected the rate")
        };
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        admission.admit(&user("leo"), Kind::Call).expect("his own");
    }

    #[test]
    fn who_calls_too_often_is_told_so_a_little_later_and_the_others_at_once() {
        let admission = Admission::new(rules());
        let too_many = Refusal::TooManyCalls { limit: 64 };
        let soon = Refusal::RateLimited {
            per_s: 1,
            wait: Duration::from_millis(3),
        };
        for (refusal, hold) in [
            (&too_many, Some(HOLD_MAX)),
            (&soon, Some(Duration::from_millis(3))),
            (&Refusal::Overloaded, None),
        ] {
            let held = admission.hold(refusal);
            assert_eq!(held.room.map(|_| held.hold), hold, "{refusal}");
        }
        let held: Vec<Held> = (0..HELD_MAX).map(|_| admission.hold(&too_many)).collect();
        assert!(admission.hold(&too_many).room.is_none(), "they pile up");
        drop(held);
        assert!(admission.hold(&too_many).room.is_some(), "free again");
    }

    #[test]
    fn a_few_users_never_have_all_the_room() {
        let admission = Admission::new(rules());
        let mut held = Vec::new();
        let take = |name: &str, held: &mut Vec<Admitted>| {
            let before = held.len();
            while let Ok(admitted) = admission.admit(&user(name), Kind::Call) {
                held.push(admitted);
            }
            held.len() - before
        };
        let taken = ["mia", "leo", "zoe"].map(|name| take(name, &mut held));
        assert_eq!(taken, [4, 3, 2], "of 12");
        assert_eq!(refused(&admission, "mia", Kind::Call), Refusal::Overloaded);
        // Whoever has none is let in until all is taken.
        for name in ["ann", "ben", "cat"] {
            held.push(admission.admit(&user(name), Kind::Call).expect("room"));
        }
        assert_eq!(refused(&admission, "dan", Kind::Call), Refusal::Overloaded);
        let question = admission.admit(&user("dan"), Kind::Question);
        held.push(question.expect("always"));
        held.clear();
        let under_way = admission.0.lock();
        assert!(under_way.users.is_empty() && under_way.all == Counts::default());
    }

    #[test]
    fn calls_and_watches_of_a_user_are_counted_apart() {
        let admission = Admission::new(AdmissionRules {
            user_calls_max: 1,
            ..rules()
        });
        let mia = user("mia");
        let watches: Vec<Admitted> = (0..2)
            .map(|_| admission.admit(&mia, Kind::Watch).expect("a watch"))
            .collect();
        let too_many = Refusal::TooManyStreams { limit: 2 };
        assert_eq!(refused(&admission, "mia", Kind::Watch), too_many);
        let call = admission.admit(&mia, Kind::Call).expect("a call");
        let too_many = Refusal::TooManyCalls { limit: 1 };
        assert_eq!(refused(&admission, "mia", Kind::Call), too_many);
        drop(call);
        admission.admit(&mia, Kind::Call).expect("free again");
        drop(watches);
        admission.admit(&mia, Kind::Watch).expect("free again");
    }

    #[test]
    fn bytes_are_held_until_their_call_is_over() {
        let admission = Admission::new(rules());
        let first = admission.receive();
        first.add(100).expect("just within");
        let second = admission.receive();
        assert_eq!(second.add(1), Err(Refusal::Overloaded));
        drop(second);
        first.settle(40);
        let third = admission.receive();
        third.add(60).expect("just within");
        drop((first, third));
        assert_eq!(admission.0.received.load(Ordering::Relaxed), 0);
    }
}
