//! Batches that wait for their scope's turn. Whoever gets it settles them all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::Span;

use super::{PushRequest, PushResponse};
use crate::domain::scope::Scope;
use crate::error::CallError;

/// Batches of one turn at most..
const BATCHES_MAX: usize = 64;

/// ..and items of theirs, unless one batch has more: what stands behind them waits no longer than for one full
/// batch.
const ITEMS_MAX: usize = 500;

/// What became of a batch.
pub(super) type Settled = Result<PushResponse, CallError>;

/// A batch that waits, or is at work.
pub(super) struct Waiting {
    /// Which one, of all that have ever waited.
    number: u64,
    pub request: PushRequest,
    /// Of its call.
    pub span: Span,
    /// To its caller, as long as there is one.
    pub answer: oneshot::Sender<Settled>,
}

#[derive(Default)]
struct State {
    lines: HashMap<Scope, VecDeque<Waiting>>,
    /// How many have joined.
    joined: u64,
}

/// The lines of all scopes. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<State>>);

/// A caller in line. Whoever drops it leaves nothing behind, unless their batch is at work.
pub(super) struct Caller {
    lines: Lines,
    scope: Scope,
    number: u64,
    pub answer: oneshot::Receiver<Settled>,
}

impl Lines {
    /// Puts a batch at the end of its scope's line.
    pub fn join(&self, request: PushRequest, span: Span) -> Caller {
        let (sender, answer) = oneshot::channel();
        let scope = request.scope.clone();
        let mut state = self.lock();
        state.joined += 1;
        let number = state.joined;
        let line = state.lines.entry(scope.clone()).or_default();
        line.push_back(Waiting {
            number,
            request,
            span,
            answer: sender,
        });
        drop(state);
        Caller {
            lines: self.clone(),
            scope,
            number,
            answer,
        }
    }

    /// Takes those who are first in line.
    pub fn take(&self, scope: &Scope) -> Vec<Waiting> {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(scope) else {
            return Vec::new();
        };
        let mut items = 0;
        let fitting = line.iter().take(BATCHES_MAX).take_while(|waiting| {
            items += waiting.request.batch.len();
            items <= ITEMS_MAX
        });
        let count = fitting.count().max(1).min(line.len());
        let taken = line.drain(..count).collect();
        if line.is_empty() {
            state.lines.remove(scope);
        }
        taken
    }

    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Takes the batch out of line; false: it is at work, or answered.
    pub fn leave(&self) -> bool {
        let mut state = self.lines.lock();
        let Some(line) = state.lines.get_mut(&self.scope) else {
            return false;
        };
        let place = line
            .iter()
            .position(|waiting| waiting.number == self.number);
        let left = place.and_then(|place| line.remove(place)).is_some();
        if line.is_empty() {
            state.lines.remove(&self.scope);
        }
        left
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Millis;
    use crate::domain::item::{Rejection, RejectionCode, Submission};
    use crate::domain::scope::{DeviceId, UserId};
    use crate::domain::standing::Gate;
    use crate::store::device::DeviceInfo;

    fn scope() -> Scope {
        Scope::of(&UserId::new("mia").expect("a user"))
    }

    fn request(items: usize) -> PushRequest {
        let submission = Submission {
            group: None,
            item: Err(Rejection::new(RejectionCode::InvalidData, "data")),
        };
        PushRequest {
            scope: scope(),
            device: DeviceId::new("phone").expect("a device"),
            info: DeviceInfo::default(),
            batch: vec![submission; items],
            mark: None,
            gate: Gate::default(),
            validate_only: false,
            now: Millis(0),
        }
    }

    fn sizes(taken: &[Waiting]) -> Vec<usize> {
        taken.iter().map(|one| one.request.batch.len()).collect()
    }

    #[test]
    fn a_turn_takes_who_is_first_up_to_a_full_batch_and_one_batch_in_any_case() {
        let lines = Lines::default();
        let _callers = [600, 200, 300, 1].map(|items| lines.join(request(items), Span::none()));
        assert_eq!(sizes(&lines.take(&scope())), [600]);
        assert_eq!(sizes(&lines.take(&scope())), [200, 300]);
        assert_eq!(sizes(&lines.take(&scope())), [1]);
        assert_eq!(sizes(&lines.take(&scope())), [0; 0]);
        assert!(lines.lock().lines.is_empty());
        let _callers = [0; 65].map(|items| lines.join(request(items), Span::none()));
        assert_eq!(lines.take(&scope()).len(), BATCHES_MAX);
    }

    #[test]
    fn who_hangs_up_leaves_nothing_behind_unless_it_is_at_work() {
        let lines = Lines::default();
        let gone = lines.join(request(1), Span::none());
        drop(gone);
        assert!(lines.lock().lines.is_empty());
        let first = lines.join(request(1), Span::none());
        let second = lines.join(request(2), Span::none());
        drop(first);
        let taken = lines.take(&scope());
        assert_eq!(sizes(&taken), [2]);
        assert!(!second.leave(), "it is at work");
        drop(second);
        assert!(lines.lock().lines.is_empty());
    }
}
