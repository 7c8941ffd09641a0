//! "This scope has moved": hints that wake watchers.
//!
//! A commit of this instance wakes its watchers directly ([`Feed::publish`]). Other instances hear of
//! it by a coalesced `NOTIFY` over one session each. Any of these hints may be lost: every few
//! seconds [`Feed::run`] asks the store how far the watched scopes have got, which makes the loss a
//! delay. Nothing but wake-ups may depend on hints; the data comes from the store.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::scope::Scope;
use crate::domain::version::Revision;
use crate::error::Fault;
use crate::store::Store;
use crate::store::feed::Signals;

/// How long hints for other instances are gathered before one `NOTIFY` carries them, so that there
/// are at most 200 of them a second, whatever the rate of pushes: each takes a lock of the cluster.
const GATHER: Duration = Duration::from_millis(5);

/// Hints in one `NOTIFY`: each takes at most 37 bytes of the 7,999 Postgres allows.
const HINTS_PER_NOTIFY: usize = 200;

/// Hints that wait to be sent. Beyond it they are dropped; the poll makes up for them.
const HINTS_MAX: usize = 10_000;

/// Scopes asked about in one statement.
const POLL_CHUNK: usize = 1_000;

/// How long to wait before the session for signals is made again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Wakes watchers. Cheap to clone; all clones are one feed.
#[derive(Clone)]
pub struct Feed {
    hub: Arc<Hub>,
}

/// How the feed hears of other instances.
#[derive(Debug, Clone, Copy)]
pub struct FeedOptions {
    /// Whether to use `NOTIFY`, which poolers that share sessions do not pass on.
    pub notify: bool,
    /// How often the store is asked. Bounds how late a watcher hears of a change at worst.
    pub poll_interval: Duration,
}

#[derive(Default)]
struct Hub {
    /// By the hash that names a scope in signals. Two scopes with one hash would only wake each
    /// other's watchers.
    watched: Mutex<HashMap<ScopeHash, Watched>>,
    /// What other instances have to be told.
    outbox: Mutex<HashMap<ScopeHash, Revision>>,
    outbox_filled: Notify,
    /// Hints may have been missed: ask the store now.
    poll_now: Notify,
    /// Changes that the poll found and no hint had told of.
    recovered: AtomicU64,
}

/// The first 8 bytes of the SHA-256 of a scope.
type ScopeHash = u64;

struct Watched {
    scope: Scope,
    /// The newest revision heard of.
    revision: watch::Sender<Revision>,
    subscriptions: usize,
}

/// Hears when a scope moves, for as long as it lives.
pub struct Subscription {
    hub: Arc<Hub>,
    hash: ScopeHash,
    revision: watch::Receiver<Revision>,
    /// What the subscriber has seen, or been woken for.
    seen: Revision,
}

impl Feed {
    /// A feed that nobody watches yet.
    pub fn new() -> Self {
        Self {
            hub: Arc::default(),
        }
    }

    /// Says that a scope has got to this revision. Called after the commit; never blocks.
    pub fn publish(&self, scope: &Scope, revision: Revision) {
        let hash = hash(scope);
        self.hub.set(hash, |known| known.max(revision));
        let mut outbox = lock(&self.hub.outbox);
        if outbox.len() < HINTS_MAX {
            let known = outbox.entry(hash).or_insert(revision);
            *known = revision.max(*known);
            self.hub.outbox_filled.notify_one();
        }
    }

    /// Listens for a scope. Whoever subscribes and then reads misses nothing in between.
    pub fn subscribe(&self, scope: &Scope) -> Subscription {
        let hash = hash(scope);
        let mut watched = lock(&self.hub.watched);
        let entry = watched.entry(hash).or_insert_with(|| Watched {
            scope: scope.clone(),
            revision: watch::Sender::default(),
            subscriptions: 0,
        });
        entry.subscriptions += 1;
        Subscription {
            hub: self.hub.clone(),
            hash,
            revision: entry.revision.subscribe(),
            seen: Revision::default(),
        }
    }

    /// Scopes that somebody watches.
    pub fn watched(&self) -> usize {
        lock(&self.hub.watched).len()
    }

    /// How often the poll found a change that no hint had told of.
    pub fn recovered(&self) -> u64 {
        self.hub.recovered.load(Ordering::Relaxed)
    }

    /// Keeps the feed going until `stop`: the session for signals, and the poll.
    pub async fn run(&self, store: &Store, options: FeedOptions, stop: CancellationToken) {
        let signals = async {
            if !options.notify {
                return pending().await;
            }
            loop {
                let broken = store.exchange(self.hub.as_ref()).await;
                tracing::warn!(cause = %broken, "the session for signals broke, polling goes on");
                tokio::time::sleep(RECONNECT_DELAY).await;
            }
        };
        let polls = async {
            loop {
                tokio::select! {
                    () = self.hub.poll_now.notified() => (),
                    () = tokio::time::sleep(options.poll_interval) => (),
                }
                if let Err(fault) = self.poll(store).await {
                    tracing::warn!(cause = %fault, "the watched scopes could not be polled");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => (),
            () = signals => (),
            () = polls => (),
        }
    }

    /// Asks the store how far the watched scopes have got.
    async fn poll(&self, store: &Store) -> Result<(), Fault> {
        let heard: HashMap<ScopeHash, (Scope, Revision)> = lock(&self.hub.watched)
            .iter()
            .map(|(hash, watched)| (*hash, (watched.scope.clone(), *watched.revision.borrow())))
            .collect();
        let scopes: Vec<Scope> = heard.values().map(|(scope, _)| scope.clone()).collect();
        for chunk in scopes.chunks(POLL_CHUNK) {
            for (scope, revision) in store.read_revisions(chunk).await? {
                let hash = hash(&scope);
                let before = heard.get(&hash).map(|(_, heard)| *heard);
                // The store is right, also when it was restored to an older state; unless there was
                // news while it was asked.
                let news = self.hub.set(hash, |known| match before {
                    Some(before) if before == known => revision,
                    _ => known.max(revision),
                });
                // Where nothing was heard yet a watch has only begun, and reads by itself.
                let heard = before.filter(|heard| *heard != Revision::default());
                if news && heard.is_some_and(|heard| heard < revision) {
                    self.hub.recovered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

impl Subscription {
    /// Waits until the scope has moved past what was seen, or may have.
    pub async fn moved(&mut self) {
        loop {
            let heard = *self.revision.borrow_and_update();
            if heard != self.seen {
                self.seen = heard;
                return;
            }
            // The sender lives in the hub for as long as this subscription does.
            if self.revision.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Says that the subscriber has seen everything up to here. Wakes others that have not.
    pub fn saw(&mut self, revision: Revision) {
        self.seen = self.seen.max(revision);
        self.hub.set(self.hash, |known| known.max(revision));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = lock(&self.hub.watched);
        if let Some(entry) = watched.get_mut(&self.hash) {
            entry.subscriptions -= 1;
            if entry.subscriptions == 0 {
                watched.remove(&self.hash);
            }
        }
    }
}

impl Hub {
    /// Changes what is known of a scope, and wakes its watchers if that is anything new: whether it was.
    fn set(&self, hash: ScopeHash, known: impl FnOnce(Revision) -> Revision) -> bool {
        lock(&self.watched).get(&hash).is_some_and(|watched| {
            watched.revision.send_if_modified(|revision| {
                let before = std::mem::replace(revision, known(*revision));
                before != *revision
            })
        })
    }
}

impl Signals for Hub {
    fn connected(&self) {
        self.poll_now.notify_one();
    }

    fn heard(&self, payload: &str) {
        for hint in payload.split(',') {
            let Some((hash, revision)) = hint.split_once(':') else {
                continue;
            };
            let hash = ScopeHash::from_str_radix(hash, 16);
            if let (Ok(hash), Ok(revision)) = (hash, revision.parse()) {
                self.set(hash, |known| known.max(Revision::new(revision)));
            }
        }
    }

    async fn next(&self) -> String {
        while lock(&self.outbox).is_empty() {
            self.outbox_filled.notified().await;
        }
        tokio::time::sleep(GATHER).await;
        let mut outbox = lock(&self.outbox);
        let mut payload = String::new();
        let hashes: Vec<ScopeHash> = outbox.keys().take(HINTS_PER_NOTIFY).copied().collect();
        for hash in hashes {
            if let Some(revision) = outbox.remove(&hash) {
                let separator = if payload.is_empty() { "" } else { "," };
                // Writing to a String does not fail.
                let _ = write!(payload, "{separator}{hash:x}:{}", revision.number());
            }
        }
        payload
    }
}

fn hash(scope: &Scope) -> ScopeHash {
    let digest = Sha256::digest(scope.as_str());
    digest
        .iter()
        .take(size_of::<ScopeHash>())
        .fold(0, |hash, byte| (hash << 8) | ScopeHash::from(*byte))
}

/// Nothing is ever left half-done under these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::scope::UserId;

    fn scope(user: &str) -> Scope {
        Scope::of(&UserId::new(user).expect("a user"))
    }

    fn moved(subscription: &mut Subscription) -> bool {
        subscription.moved().now_or_never().is_some()
    }

    #[test]
    fn a_newer_revision_wakes_the_watchers_of_its_scope_once() {
        let feed = Feed::new();
        let mut mia = feed.subscribe(&scope("mia"));
        let mut leo = feed.subscribe(&scope("leo"));
        feed.publish(&scope("mia"), Revision::new(3));
        assert!(moved(&mut mia));
        assert!(!moved(&mut mia), "once");
        assert!(!moved(&mut leo), "not others");
        for old in [3, 1] {
            feed.publish(&scope("mia"), Revision::new(old));
            assert!(!moved(&mut mia), "nothing new about {old}");
        }
    }

    #[test]
    fn who_has_seen_a_change_is_not_woken_for_it_but_others_are() {
        let feed = Feed::new();
        let mut reader = feed.subscribe(&scope("mia"));
        let mut other = feed.subscribe(&scope("mia"));
        reader.saw(Revision::new(5));
        assert!(!moved(&mut reader));
        assert!(moved(&mut other), "its own signal may be lost");
    }

    #[test]
    fn a_hint_beyond_what_there_is_wakes_once_and_the_store_corrects_it() {
        let feed = Feed::new();
        let mut watcher = feed.subscribe(&scope("mia"));
        watcher.saw(Revision::new(5));
        feed.publish(&scope("mia"), Revision::new(900));
        assert!(moved(&mut watcher));
        watcher.saw(Revision::new(5));
        assert!(!moved(&mut watcher), "no spinning");
        feed.hub.set(hash(&scope("mia")), |_| Revision::new(6));
        assert!(moved(&mut watcher), "what the store says counts");
    }

    #[test]
    fn what_one_instance_says_another_understands() {
        let (here, there) = (Feed::new(), Feed::new());
        let mut watcher = there.subscribe(&scope("mia"));
        for user in ["mia", "leo", "zoe"] {
            here.publish(&scope(user), Revision::new(i64::MAX));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let said = runtime.expect("a runtime").block_on(here.hub.next());
        assert!(said.len() < 7_999 / HINTS_PER_NOTIFY * 3, "{said}");
        there.hub.heard(&said);
        assert!(moved(&mut watcher));
        for noise in ["", ",", ":", "x:1", "1:x", "1", &said.replace(':', ";")] {
            there.hub.heard(noise);
            assert!(!moved(&mut watcher), "{noise}");
        }
    }

    #[test]
    fn a_scope_nobody_watches_costs_nothing() {
        let feed = Feed::new();
        let first = feed.subscribe(&scope("mia"));
        let second = feed.subscribe(&scope("mia"));
        drop(first);
        assert_eq!(lock(&feed.hub.watched).len(), 1);
        drop(second);
        assert!(lock(&feed.hub.watched).is_empty());
    }
}
