//! Who works on the database now, and who is next: a bounded number of places, given to users in turn.
//!
//! The queue for connections is here and not in the pool, whose queue knows no users: there, one user's
//! thirty-two busy devices would stand before everybody else. Whoever waits holds no connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::domain::scope::Scope;
use crate::error::{Fault, Refusal};

/// The part of all places that one user may have, even if nobody else wants any: what they have when
/// somebody comes, that one waits for.
const USER_PART: usize = 4;

/// The part of the machine's cores that one user may keep busy: a place at work takes about one, between
/// the service and its database.
const USER_CORES_PART: usize = 2;

/// ..but so many in any case: what a user reads must not wait for a push of theirs that waits for a lock.
/// Of their pushes one is at work at a time.
const USER_MIN: usize = 2;

/// The places of a process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
    wait_max: Duration,
}

struct Shared {
    /// Places of one user at most.
    user_max: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Places taken by each user who has any.
    taken: HashMap<Scope, usize>,
    /// Who waits, each user's calls in the order of asking.
    waiting: HashMap<Scope, VecDeque<oneshot::Sender<Place>>>,
    /// Each user who waits, once: the one whose turn is next first.
    order: VecDeque<Scope>,
}

/// How places are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesUsage {
    /// Places at work.
    pub taken: usize,
    /// Places nobody has.
    pub free: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// A place at work. Somebody else's when it is dropped.
pub struct Place {
    shared: Arc<Shared>,
    /// Whose; `None` once given back.
    scope: Option<Scope>,
}

impl Places {
    /// So many places, on a machine with so many cores; a call waits for one no longer than `wait_max`.
    pub fn new(places: usize, cores: usize, wait_max: Duration) -> Self {
        let user_max = (places / USER_PART).min(cores / USER_CORES_PART);
        let shared = Shared {
            user_max: user_max.max(USER_MIN).min(places),
            state: Mutex::new(State {
                free: places,
                taken: HashMap::new(),
                waiting: HashMap::new(),
                order: VecDeque::new(),
            }),
        };
        Self {
            shared: Arc::new(shared),
            wait_max,
        }
    }

    /// How they are used now.
    pub fn usage(&self) -> PlacesUsage {
        let state = self.shared.lock();
        let waiting = state.waiting.values().flatten();
        PlacesUsage {
            taken: state.taken.values().sum(),
            free: state.free,
            waiting: waiting.filter(|sender| !sender.is_closed()).count(),
        }
    }

    /// Waits for a place, as long as a call may.
    pub async fn take_soon(&self, scope: &Scope) -> Result<Place, Refusal> {
        let place = timeout(self.wait_max, self.take(scope)).await;
        place.map_err(|_| Refusal::Overloaded)
    }

    /// Does work for a stream in a place, in a task of its own. A stream whose reader has stopped is driven no
    /// further; it must hold neither a place nor a connection meanwhile. Who drops this ends the work.
    pub async fn work<T: Send + 'static>(
        &self,
        scope: Scope,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Fault> {
        let places = self.clone();
        let work = async move {
            let _place = places.take(&scope).await;
            work.await
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        task.await
            .map_err(|error| Fault::Defect("a read did not finish".into(), Some(error.into())))
    }

    /// Waits for a place. Who stops waiting leaves nothing behind.
    pub async fn take(&self, scope: &Scope) -> Place {
        let (sender, receiver) = oneshot::channel();
        let given = {
            let mut state = self.shared.lock();
            let waiting = state.waiting.entry(scope.clone()).or_default();
            // Who gave up while waiting takes no room.
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() && !state.order.contains(scope) {
                state.order.push_back(scope.clone());
            }
            let waiting = state.waiting.entry(scope.clone()).or_default();
            waiting.push_back(sender);
            state.give(&self.shared)
        };
        deliver(given);
        match receiver.await {
            Ok(place) => place,
            // Senders are only dropped with a place sent, or with the receiver gone.
            Err(_) => std::future::pending().await,
        }
    }
}

type Given = Vec<(oneshot::Sender<Place>, Place)>;

/// Hands places over, outside of the lock: a place whose taker has gone comes back through it.
fn deliver(given: Given) {
    for (sender, place) in given {
        drop(sender.send(place));
    }
}

impl State {
    /// Gives free places to those who wait, one user after the other.
    fn give(&mut self, shared: &Arc<Shared>) -> Given {
        let mut given = Vec::new();
        // Users who have all they may have keep their place in the order.
        let mut passed_over = 0;
        while self.free > 0 && passed_over < self.order.len() {
            let Some(scope) = self.order.pop_front() else {
                break;
            };
            let taken = self.taken.get(&scope).copied().unwrap_or_default();
            if taken >= shared.user_max {
                self.order.push_back(scope);
                passed_over += 1;
                continue;
            }
            let mut waiting = self.waiting.remove(&scope).unwrap_or_default();
            let next = std::iter::from_fn(|| waiting.pop_front()).find(|next| !next.is_closed());
            if !waiting.is_empty() {
                self.waiting.insert(scope.clone(), waiting);
                self.order.push_back(scope.clone());
            }
            if let Some(sender) = next {
                self.free -= 1;
                *self.taken.entry(scope.clone()).or_default() += 1;
                let shared = shared.clone();
                let scope = Some(scope);
                given.push((sender, Place { shared, scope }));
                passed_over = 0;
            }
        }
        given
    }
}

impl Shared {
    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(scope) = self.scope.take() else {
            return;
        };
        let given = {
            let mut state = self.shared.lock();
            state.free += 1;
            if let Some(taken) = state.taken.get_mut(&scope) {
                *taken -= 1;
                if *taken == 0 {
                    state.taken.remove(&scope);
                }
            }
            state.give(&self.shared)
        };
        deliver(given);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::scope::UserId;

    fn scope(user: &str) -> Scope {
        Scope::of(&UserId::new(user).expect("a user"))
    }

    fn places(count: usize) -> Places {
        Places::new(count, 64, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn users_have_turns_however_many_calls_of_one_wait() {
        let places = places(1);
        let (mia, leo) = (scope("mia"), scope("leo"));
        let held = places.take(&mia).await;
        let mut busy: Vec<_> = (0..3).map(|_| Box::pin(places.take(&mia))).collect();
        for waiting in &mut busy {
            assert!(waiting.now_or_never().is_none());
        }
        let mut other = Box::pin(places.take(&leo));
        assert!((&mut other).now_or_never().is_none());
        drop(held);
        let first = (&mut busy[0]).now_or_never().expect("asked first");
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        let second = (&mut other).now_or_never().expect("leo's turn");
        assert!((&mut busy[1]).now_or_never().is_none());
        drop(second);
        assert!((&mut busy[1]).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_user_has_a_part_of_the_places_and_no_more() {
        let places = places(8);
        let mia = scope("mia");
        let held = [places.take(&mia).await, places.take(&mia).await];
        let mut third = Box::pin(places.take(&mia));
        assert!((&mut third).now_or_never().is_none(), "6 are free");
        let _other = places.take(&scope("leo")).now_or_never().expect("free");
        drop(held);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let places = places(1);
        let (mia, leo) = (scope("mia"), scope("leo"));
        let held = places.take(&mia).await;
        let mut gone = Box::pin(places.take(&mia));
        assert!((&mut gone).now_or_never().is_none());
        let mut there = Box::pin(places.take(&leo));
        assert!((&mut there).now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(there.now_or_never().expect("leo's turn"));
        {
            let state = places.shared.lock();
            assert_eq!(state.free, 1);
            assert!(state.taken.is_empty() && state.waiting.is_empty() && state.order.is_empty());
        }
        // Nor does one who was given a place and never took it.
        let held = places.take(&mia).await;
        let mut given = Box::pin(places.take(&mia));
        assert!((&mut given).now_or_never().is_none());
        drop(held);
        drop(given);
        assert_eq!(places.shared.lock().free, 1);
    }

    #[tokio::test]
    async fn a_call_waits_for_so_long_and_is_told_to_come_back() {
        let places = Places::new(1, 64, Duration::from_millis(1));
        let held = places.take(&scope("mia")).await;
        let refused = places.take_soon(&scope("leo")).await;
        assert_eq!(refused.err(), Some(Refusal::Overloaded));
        drop(held);
        places.take_soon(&scope("leo")).await.expect("free");
    }
}
