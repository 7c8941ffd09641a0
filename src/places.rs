//! Who works on the database now, and who is next: a bounded number of places, given to users in turn.
//!
//! The queue for connections is here and not in the pool, whose queue knows no users: there, one user's
//! thirty-two busy devices would stand before everybody else. Whoever waits holds no connection.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::domain::scope::Scope;
use crate::error::{Fault, Refusal};

/// The part of all places that one user may have, even if nobody else wants any: what they have when
/// somebody comes, that one waits for.
const USER_PART: usize = 4;

/// The part of the machine's cores that one user may keep busy: a place at work on pages takes about one,
/// between the service and its database.
const USER_CORES_PART: usize = 2;

/// ..but so many in any case, one of them not for pages: what a user reads must not wait for a push of theirs
/// that waits for a lock. Of their pushes one is at work at a time.
const USER_MIN: usize = 2;

/// The part of all places that may be for writing batches of anybody together: what waits for one is written with
/// the others that do, which takes less for each, and what is read need not wait for it.
const WRITES_PART: usize = 2;

/// The places of a process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
    /// Who may ask for a place for batches. They wait here, in the order of asking, since one user waits once.
    writers: Arc<Semaphore>,
    /// How many do.
    writers_waiting: Arc<AtomicUsize>,
    wait_max: Duration,
}

struct Shared {
    /// Places of one user at most.
    user_max: usize,
    /// How many of them may be for pages.
    user_pages_max: usize,
    state: Mutex<State>,
}

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A page of all there is: as much as a core can do, for as long as somebody asks for the next one.
    Page,
    /// Anything else.
    Other,
}

struct State {
    free: usize,
    /// Places taken by each user who has any.
    taken: HashMap<Scope, Taken>,
    /// Who waits, each user's calls in the order of asking.
    waiting: HashMap<Scope, VecDeque<Waiting>>,
    /// Each user who waits, once: the one whose turn is next first.
    order: VecDeque<Scope>,
}

/// Places of one user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    all: usize,
    pages: usize,
}

struct Waiting {
    work: Work,
    sender: oneshot::Sender<Place>,
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
    work: Work,
}

/// One of those who are counted, as long as it is there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place at work on batches of anybody.
pub struct WritingPlace {
    _place: Place,
    _writer: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many places, on a machine with so many cores; a call waits for one no longer than `wait_max`.
    pub fn new(places: usize, cores: usize, wait_max: Duration) -> Self {
        let user_max = (places / USER_PART).min(cores / USER_CORES_PART);
        let shared = Shared {
            user_max: user_max.max(USER_MIN).min(places),
            user_pages_max: user_max.max(1),
            state: Mutex::new(State {
                free: places,
                taken: HashMap::new(),
                waiting: HashMap::new(),
                order: VecDeque::new(),
            }),
        };
        Self {
            shared: Arc::new(shared),
            writers: Arc::new(Semaphore::new((places / WRITES_PART).max(1))),
            writers_waiting: Arc::default(),
            wait_max,
        }
    }

    /// How they are used now.
    pub fn usage(&self) -> PlacesUsage {
        let state = self.shared.lock();
        let waiting = state.waiting.values().flatten();
        PlacesUsage {
            taken: state.taken.values().map(|taken| taken.all).sum(),
            free: state.free,
            waiting: waiting.filter(|next| !next.sender.is_closed()).count()
                + self.writers_waiting.load(Ordering::Relaxed),
        }
    }

    /// Whether anybody waits for a place.
    pub fn are_wanted(&self) -> bool {
        !self.shared.lock().order.is_empty()
    }

    /// Waits for a place, as long as a call may.
    pub async fn take_soon(&self, scope: &Scope, work: Work) -> Result<Place, Refusal> {
        self.soon(self.take(scope, work)).await
    }

    /// Waits for what needs a place, as long as a call may.
    pub async fn soon<T>(&self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        let done = timeout(self.wait_max, work).await;
        done.map_err(|_| Refusal::Overloaded)
    }

    /// Waits for a place for batches of anybody together, as long as a call may.
    pub async fn take_to_write(&self, scope: &Scope) -> Result<WritingPlace, Refusal> {
        let taken = async {
            let waits = Counted::one_more(&self.writers_waiting);
            // It is never closed.
            let writer = self.writers.clone().acquire_owned().await.ok();
            drop(waits);
            let place = self.take(scope, Work::Other).await;
            WritingPlace {
                _place: place,
                _writer: writer,
            }
        };
        self.soon(taken).await
    }

    /// Reads a page for a stream in a place, in a task of its own. A stream whose reader has stopped is driven no
    /// further; it must hold neither a place nor a connection meanwhile. Who drops this ends the work.
    pub async fn work<T: Send + 'static>(
        &self,
        scope: Scope,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Fault> {
        let places = self.clone();
        let work = async move {
            let _place = places.take(&scope, Work::Page).await;
            work.await
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
        task.await
            .map_err(|error| Fault::Defect("a read did not finish".into(), Some(error.into())))
    }

    /// Waits for a place. Who stops waiting leaves nothing behind.
    pub async fn take(&self, scope: &Scope, work: Work) -> Place {
        let (sender, receiver) = oneshot::channel();
        let given = {
            let mut state = self.shared.lock();
            match state.waiting.entry(scope.clone()) {
                Entry::Occupied(mut waiting) => {
                    // Who gave up while waiting takes no room.
                    waiting.get_mut().retain(|next| !next.sender.is_closed());
                    waiting.get_mut().push_back(Waiting { work, sender });
                }
                Entry::Vacant(nobody) => {
                    nobody.insert(VecDeque::from([Waiting { work, sender }]));
                    state.order.push_back(scope.clone());
                }
            }
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
            let mut waiting = self.waiting.remove(&scope).unwrap_or_default();
            waiting.retain(|next| !next.sender.is_closed());
            let place = waiting
                .iter()
                .position(|next| shared.fits(taken, next.work));
            let next = place.and_then(|place| waiting.remove(place));
            if !waiting.is_empty() {
                self.waiting.insert(scope.clone(), waiting);
                self.order.push_back(scope.clone());
                passed_over += 1;
            }
            if let Some(Waiting { work, sender }) = next {
                self.free -= 1;
                let taken = self.taken.entry(scope.clone()).or_default();
                taken.all += 1;
                taken.pages += usize::from(work == Work::Page);
                let shared = shared.clone();
                let scope = Some(scope);
                given.push((
                    sender,
                    Place {
                        shared,
                        scope,
                        work,
                    },
                ));
                passed_over = 0;
            }
        }
        given
    }
}

impl Shared {
    /// Whether somebody who has so many places may have one more for this.
    fn fits(&self, taken: Taken, work: Work) -> bool {
        let fits = match work {
            Work::Page => taken.pages < self.user_pages_max,
            Work::Other => true,
        };
        fits && taken.all < self.user_max
    }

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
                taken.all -= 1;
                taken.pages -= usize::from(self.work == Work::Page);
                if *taken == Taken::default() {
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
        let held = places.take(&mia, Work::Other).await;
        let mut busy: Vec<_> = (0..3)
            .map(|_| Box::pin(places.take(&mia, Work::Other)))
            .collect();
        for waiting in &mut busy {
            assert!(waiting.now_or_never().is_none());
        }
        let mut other = Box::pin(places.take(&leo, Work::Other));
        assert!((&mut other).now_or_never().is_none());
        assert!(places.are_wanted());
        drop(held);
        let first = (&mut busy[0]).now_or_never().expect("asked first");
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        let second = (&mut other).now_or_never().expect("leo's turn");
        assert!((&mut busy[1]).now_or_never().is_none());
        drop(second);
        assert!((&mut busy[1]).now_or_never().is_some());
        assert!((&mut busy[2]).now_or_never().is_some());
        assert!(!places.are_wanted());
    }

    #[tokio::test]
    async fn a_user_has_a_part_of_the_places_and_no_more() {
        let places = places(8);
        let mia = scope("mia");
        let held = [
            places.take(&mia, Work::Other).await,
            places.take(&mia, Work::Other).await,
        ];
        let mut third = Box::pin(places.take(&mia, Work::Other));
        assert!((&mut third).now_or_never().is_none(), "6 are free");
        let _other = places
            .take(&scope("leo"), Work::Other)
            .now_or_never()
            .expect("free");
        drop(held);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn on_a_small_machine_a_users_pages_are_read_one_by_one_beside_their_other_work() {
        let places = Places::new(16, 2, Duration::from_secs(60));
        let (mia, leo) = (scope("mia"), scope("leo"));
        let page = places.take(&mia, Work::Page).await;
        let mut second = Box::pin(places.take(&mia, Work::Page));
        assert!((&mut second).now_or_never().is_none(), "15 are free");
        // Asked later, and not behind it.
        let push = places.take(&mia, Work::Other).now_or_never();
        let push = push.expect("one is not for pages");
        let mut third = Box::pin(places.take(&mia, Work::Other));
        assert!((&mut third).now_or_never().is_none(), "she has two");
        let _other = places
            .take(&leo, Work::Page)
            .now_or_never()
            .expect("his own");
        drop(push);
        assert!(third.now_or_never().is_some());
        assert!((&mut second).now_or_never().is_none(), "one page is read");
        drop(page);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn half_of_the_places_are_for_batches_and_who_has_gone_waits_for_none() {
        let places = places(4);
        let users = ["mia", "leo", "zoe", "ben"].map(scope);
        let [mia, _leo] = [&users[0], &users[1]].map(|user| {
            let taken = places.take_to_write(user).now_or_never();
            taken.expect("free").expect("soon")
        });
        let mut gone = Box::pin(places.take_to_write(&users[2]));
        assert!((&mut gone).now_or_never().is_none(), "two are free");
        let mut there = Box::pin(places.take_to_write(&users[3]));
        assert!((&mut there).now_or_never().is_none());
        assert_eq!(places.usage().waiting, 2);
        let other = places.take(&users[2], Work::Other).now_or_never();
        assert!(other.is_some(), "for anything else");
        drop((gone, mia));
        assert!((&mut there).now_or_never().expect("his turn").is_ok());
        assert_eq!(places.usage().waiting, 0);
    }

    #[tokio::test]
    async fn who_has_gone_keeps_nobody_waiting_who_came_later() {
        let places = places(1);
        let [mia, leo, zoe] = ["mia", "leo", "zoe"].map(scope);
        let held = places.take(&mia, Work::Other).await;
        let mut gone = Box::pin(places.take(&leo, Work::Other));
        assert!((&mut gone).now_or_never().is_none());
        let mut there = Box::pin(places.take(&zoe, Work::Other));
        assert!((&mut there).now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(there.now_or_never().is_some(), "zoe's turn");
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let places = places(1);
        let (mia, leo) = (scope("mia"), scope("leo"));
        let held = places.take(&mia, Work::Other).await;
        let mut gone = Box::pin(places.take(&mia, Work::Other));
        assert!((&mut gone).now_or_never().is_none());
        let mut there = Box::pin(places.take(&leo, Work::Other));
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
        let held = places.take(&mia, Work::Other).await;
        let mut given = Box::pin(places.take(&mia, Work::Other));
        assert!((&mut given).now_or_never().is_none());
        drop(held);
        drop(given);
        assert_eq!(places.shared.lock().free, 1);
    }

    #[tokio::test]
    async fn a_call_waits_for_so_long_and_is_told_to_come_back() {
        let places = Places::new(1, 64, Duration::from_millis(1));
        let held = places.take(&scope("mia"), Work::Other).await;
        let refused = places.take_soon(&scope("leo"), Work::Other).await;
        assert_eq!(refused.err(), Some(Refusal::Overloaded));
        drop(held);
        places
            .take_soon(&scope("leo"), Work::Other)
            .await
            .expect("free");
    }
}
