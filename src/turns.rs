//! Pushes of one scope take turns here, in the process: whoever waits holds no connection to Postgres.
//! So one person's busy devices cannot keep all others waiting.
//!
//! The lock of the scope's row stays the one that counts; other instances have turns of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::domain::scope::Scope;
use crate::error::Refusal;

/// How long a push waits for its turn before it is told to come back: as long as for the scope's row.
const TURN_WAIT: Duration = Duration::from_secs(10);

type Waiting = Arc<Mutex<HashMap<Scope, Weak<AsyncMutex<()>>>>>;

/// The turns of all scopes. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Turns {
    waiting: Waiting,
}

/// The turn of one push; the next one's begins when it is dropped.
pub struct Turn {
    held: Option<OwnedMutexGuard<()>>,
    scope: Scope,
    waiting: Waiting,
}

impl Turns {
    /// Waits for the scope's turn, in the order of asking.
    pub async fn take(&self, scope: &Scope) -> Result<Turn, Refusal> {
        let turn = {
            let mut waiting = lock(&self.waiting);
            let known = waiting.get(scope).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                waiting.insert(scope.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        // Made before the wait, so that who stops waiting leaves nothing behind either.
        let mut mine = Turn {
            held: None,
            scope: scope.clone(),
            waiting: self.waiting.clone(),
        };
        let held = timeout(TURN_WAIT, turn.lock_owned()).await;
        mine.held = Some(held.map_err(|_| Refusal::Overloaded)?);
        Ok(mine)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.held.take());
        let mut waiting = lock(&self.waiting);
        if waiting
            .get(&self.scope)
            .is_some_and(|turn| turn.strong_count() == 0)
        {
            waiting.remove(&self.scope);
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
        assert!(lock(&turns.waiting).is_empty());
    }
}
