//! Tokens that were accepted: a device sends the same one with every call, and checking its signature may take longer
//! than what the call asks for.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::auth::Caller;
use crate::domain::clock::Millis;

/// Tokens of a generation: about 2 MiB in both.
const GENERATION_MAX: usize = 4_096;

/// What of a token is remembered: nobody can sign in with it.
type Name = [u8; 32];

/// Tokens that were accepted with the same keys and rules.
#[derive(Default)]
pub(super) struct Remembered {
    generations: Mutex<Generations>,
}

/// Those that come again are in one of both, without anybody counting who came last.
#[derive(Default)]
struct Generations {
    new: HashMap<Name, Accepted>,
    old: HashMap<Name, Accepted>,
}

struct Accepted {
    since: Millis,
    caller: Caller,
}

impl Remembered {
    /// Whose token this is, if it was accepted and has not expired; with `check`, whose result is remembered. It is
    /// asked again about the moment a token expires, and should the clock go back.
    pub fn or<E>(
        &self,
        token: &str,
        now: Millis,
        check: impl FnOnce() -> Result<Caller, E>,
    ) -> Result<Caller, E> {
        let name = Sha256::digest(token).into();
        if let Some(caller) = self.lock().caller(&name, now) {
            return Ok(caller);
        }
        let caller = check()?;
        let accepted = Accepted {
            since: now,
            caller: caller.clone(),
        };
        self.lock().put(name, accepted);
        Ok(caller)
    }

    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn caller(&self, name: &Name, now: Millis) -> Option<Caller> {
        let accepted = self.new.get(name).or_else(|| self.old.get(name))?;
        let counts = accepted.since <= now && now < accepted.caller.expires;
        counts.then(|| accepted.caller.clone())
    }

    fn put(&mut self, name: Name, accepted: Accepted) {
        if self.new.len() >= GENERATION_MAX {
            self.old = mem::take(&mut self.new);
        }
        self.new.insert(name, accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::UserId;
    use crate::domain::standing::Subscription;

    const EXPIRES: Millis = Millis(2_000);

    /// Whether a token has to be checked.
    fn is_checked(remembered: &Remembered, token: &str, now: i64) -> bool {
        let mut checked = false;
        let caller = Caller {
            user: UserId::new(token).expect("a user"),
            expires: EXPIRES,
            subscription: Subscription::Free,
        };
        let told = remembered.or(token, Millis(now), || {
            checked = true;
            Ok::<_, ()>(caller.clone())
        });
        assert_eq!(told, Ok(caller));
        checked
    }

    #[test]
    fn what_was_accepted_counts_from_then_until_it_expires() {
        let remembered = Remembered::default();
        assert!(is_checked(&remembered, "mia", 1_000));
        assert!(is_checked(&remembered, "leo", 1_000));
        assert!(!is_checked(&remembered, "mia", 1_000));
        assert!(!is_checked(&remembered, "mia", EXPIRES.0 - 1));
        assert!(is_checked(&remembered, "mia", EXPIRES.0));
        assert!(is_checked(&remembered, "leo", 999), "the clock went back");
    }

    #[test]
    fn what_was_refused_is_not_remembered() {
        let remembered = Remembered::default();
        let refused = remembered.or("mia", Millis(1_000), || Err("no"));
        assert_eq!(refused, Err("no"));
        assert!(is_checked(&remembered, "mia", 1_000));
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let remembered = Remembered::default();
        for user in 0..3 * GENERATION_MAX {
            is_checked(&remembered, &format!("user-{user}"), 1_000);
        }
        let generations = remembered.lock();
        let sizes = [generations.new.len(), generations.old.len()];
        drop(generations);
        assert_eq!(sizes, [GENERATION_MAX; 2]);
        let last = format!("user-{}", GENERATION_MAX + 1);
        assert!(!is_checked(&remembered, &last, 1_000));
        assert!(is_checked(&remembered, "user-1", 1_000));
    }
}
