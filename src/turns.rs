//! Pushes of one scope take turns here, in the process: whoever waits holds no connection to Postgres.
//! So one person's busy devices cannot keep all others waiting.
//!
//! The lock of the scope's row stays the one that counts; other instances have turns of their own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::domain::scope::Scope;
use crate::error::Refusal;

/// How long a push waits for its turn before it is told to come back: as long as for the scope's row.
const TURN_WAIT: Duration = Duration::from_secs(10);

type Queues = Arc<Mutex<HashMap<Scope, Weak<Queue>>>>;

/// The turns of all scopes. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Turns {
    queues: Queues,
}

/// Who waits for the turn of a scope.
#[derive(Default)]
struct Queue {
    turn: Arc<AsyncMutex<()>>,
    /// How many of them only their own turn helps.
    waiting: AtomicUsize,
}

/// A turn; the next one begins when it is dropped.
pub struct Turn {
    held: Option<OwnedMutexGuard<()>>,
    /// Until it has begun, unless others may help.
    waits: Option<Waits>,
    /// There for as long as the turn.
    queue: Option<Arc<Queue>>,
    scope: Scope,
    queues: Queues,
}

impl Turns {
    /// Waits for the scope's turn, in the order of asking.
    pub async fn take(&self, scope: &Scope) -> Result<Turn, Refusal> {
        let mut turn = self.ask(scope);
        turn.waits = turn.queue.clone().map(Waits::new);
        turn.begun().await
    }

    /// The same for somebody who waits in the scope's line too, and may be served by whoever has the turn.
    pub async fn take_in_line(&self, scope: &Scope) -> Result<Turn, Refusal> {
        self.ask(scope).begun().await
    }

    /// A turn that has not begun. Made before the wait, so that who stops waiting leaves nothing behind either.
    fn ask(&self, scope: &Scope) -> Turn {
        let mut queues = lock(&self.queues);
        let known = queues.get(scope).and_then(Weak::upgrade);
        let queue = known.unwrap_or_else(|| {
            let queue = Arc::default();
            queues.insert(scope.clone(), Arc::downgrade(&queue));
            queue
        });
        Turn {
            held: None,
            waits: None,
            queue: Some(queue),
            scope: scope.clone(),
            queues: self.queues.clone(),
        }
    }
}

impl Turn {
    async fn begun(mut self) -> Result<Self, Refusal> {
        if let Some(queue) = &self.queue {
            let held = timeout(TURN_WAIT, queue.turn.clone().lock_owned()).await;
            self.held = Some(held.map_err(|_| Refusal::Overloaded)?);
        }
        self.waits = None;
        Ok(self)
    }

    /// Whether somebody waits whom only their own turn helps.
    pub fn is_wanted(&self) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.waiting.load(Ordering::Relaxed) > 0)
    }
}

/// One who waits, as long as it does.
struct Waits(Arc<Queue>);

impl Waits {
    fn new(queue: Arc<Queue>) -> Self {
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        Self(queue)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop((self.held.take(), self.waits.take(), self.queue.take()));
        let mut queues = lock(&self.queues);
        if queues
            .get(&self.scope)
            .is_some_and(|queue| queue.strong_count() == 0)
        {
            queues.remove(&self.scope);
        }
    }
}

/// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
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

    #[tokio::test]
    async fn a_scope_has_one_turn_at_a_time_and_leaves_nothing_behind() {
        let (turns, mia) = (Turns::default(), scope("mia"));
        let first = turns.take(&mia).await.expect("free");
        let mut second = Box::pin(turns.take(&mia));
        assert!(
            (&mut second).now_or_never().is_none(),
            "mia's turn is taken"
        );
        let other = turns
            .take(&scope("leo"))
            .now_or_never()
            .expect("leo's is not");
        drop(first);
        let mut gone = Box::pin(turns.take(&mia));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        let second = second.await.expect("free again");
        drop((second, other));
        assert!(lock(&turns.queues).is_empty());
    }

    #[tokio::test]
    async fn a_turn_is_wanted_by_those_who_stand_in_no_line() {
        let (turns, mia) = (Turns::default(), scope("mia"));
        let first = turns.take_in_line(&mia).await.expect("free");
        let mut in_line = Box::pin(turns.take_in_line(&mia));
        assert!((&mut in_line).now_or_never().is_none());
        assert!(!first.is_wanted());
        let mut gone = Box::pin(turns.take(&mia));
        assert!((&mut gone).now_or_never().is_none());
        assert!(first.is_wanted());
        drop(gone);
        assert!(!first.is_wanted());
        let mut other = Box::pin(turns.take(&mia));
        assert!((&mut other).now_or_never().is_none());
        drop(first);
        let second = in_line.await.expect("its turn");
        assert!(second.is_wanted());
        drop(second);
        let other = other.await.expect("its turn");
        assert!(!other.is_wanted(), "it has it");
        drop(other);
        assert!(lock(&turns.queues).is_empty());
    }
}
