//! Batches that wait to be settled: each in its scope's line, until it is the scope's turn; then with the lines of
//! other scopes whose turn it is, until somebody gets a place and settles all of them.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::Span;

use super::{PushRequest, PushResponse};
use crate::domain::scope::Scope;
use crate::error::CallError;
use crate::turns::Turn;

/// Batches that are settled together at most..
const BATCHES_MAX: usize = 64;

/// ..and items of one scope's, unless one batch has more: what stands behind them waits no longer than for one full
/// batch..
const ITEMS_MAX: usize = 500;

/// ..and items of several scopes', unless one scope has more: nobody waits long for what others send.
const SHARED_ITEMS_MAX: usize = 64;

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

/// Those who were first in the line of a scope whose turn it is.
pub(super) struct Line {
    pub scope: Scope,
    pub turn: Turn,
    pub waiting: Vec<Waiting>,
}

/// What is settled together.
#[derive(Default)]
struct Room {
    batches: usize,
    items: usize,
}

impl Room {
    /// Takes in a scope's batches and their items; false: they are too many, beside those that it holds.
    fn holds(&mut self, batches: usize, items: usize) -> bool {
        let is_first = self.batches == 0;
        let (batches, items) = (self.batches + batches, self.items + items);
        let fits = is_first || (batches <= BATCHES_MAX && items <= SHARED_ITEMS_MAX);
        if fits {
            *self = Self { batches, items };
        }
        fits
    }
}

#[derive(Default)]
struct State {
    lines: HashMap<Scope, VecDeque<Waiting>>,
    /// The scopes whose turn it is, in the order of their turns.
    ready: VecDeque<Ready>,
    /// How many have joined or become ready.
    counted: u64,
}

struct Ready {
    number: u64,
    scope: Scope,
    turn: Turn,
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

/// A scope that is ready, as seen by the caller who has its turn. Whoever drops it gives the turn back, unless its
/// line is at work.
pub(super) struct Entered {
    lines: Lines,
    number: u64,
}

impl Lines {
    /// Puts a batch at the end of its scope's line.
    pub fn join(&self, request: PushRequest, span: Span) -> Caller {
        let (sender, answer) = oneshot::channel();
        let scope = request.scope.clone();
        let mut state = self.lock();
        let number = state.number();
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

    /// Puts a scope whose turn it is behind those that are ready.
    pub fn enter(&self, scope: &Scope, turn: Turn) -> Entered {
        let mut state = self.lock();
        let number = state.number();
        state.ready.push_back(Ready {
            number,
            scope: scope.clone(),
            turn,
        });
        drop(state);
        Entered {
            lines: self.clone(),
            number,
        }
    }

    /// Takes those who are first in the lines of the scopes that have been ready for longest.
    pub fn take(&self) -> Vec<Line> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        let mut room = Room::default();
        while let Some(next) = state.ready.front() {
            let (its_batches, its_items) = state.first_in_line(&next.scope);
            if !room.holds(its_batches, its_items) {
                break;
            }
            let Some(Ready { scope, turn, .. }) = state.ready.pop_front() else {
                break;
            };
            taken.push(state.draw(scope, turn, its_batches));
        }
        taken
    }

    /// Takes those who are first in the lines of scopes whose turn it still is, if they are so many together, and
    /// their turns with them. It ends where nobody waits in line, or somebody else does, or they are too many to be
    /// settled together; and everywhere if other scopes are ready.
    pub fn go_on(&self, turns: &mut Vec<(Scope, Turn)>, batches_min: usize) -> Vec<Line> {
        let mut state = self.lock();
        if !state.ready.is_empty() {
            return Vec::new();
        }
        let mut room = Room::default();
        let goes_on = |(scope, turn): &(Scope, Turn)| {
            let (batches, items) = state.first_in_line(scope);
            (batches > 0 && !turn.is_wanted() && room.holds(batches, items)).then_some(batches)
        };
        let going: Vec<Option<usize>> = turns.iter().map(goes_on).collect();
        if going.iter().flatten().sum::<usize>() < batches_min {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for ((scope, turn), batches) in mem::take(turns).into_iter().zip(going) {
            match batches {
                Some(batches) => taken.push(state.draw(scope, turn, batches)),
                None => turns.push((scope, turn)),
            }
        }
        taken
    }

    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    /// Where a scope stands among those that are ready: in the order of their numbers.
    fn place(&self, number: u64) -> Option<usize> {
        let found = self
            .ready
            .binary_search_by_key(&number, |ready| ready.number);
        found.ok()
    }

    /// How many batches of a line, from its start, are settled together, and how many items they have.
    fn first_in_line(&self, scope: &Scope) -> (usize, usize) {
        let (mut batches, mut items) = (0, 0);
        for waiting in self.lines.get(scope).into_iter().flatten() {
            let more = items + waiting.request.batch.len();
            if batches == BATCHES_MAX || (batches > 0 && more > ITEMS_MAX) {
                break;
            }
            batches += 1;
            items = more;
        }
        (batches, items)
    }

    /// Takes so many batches from the start of a scope's line.
    fn draw(&mut self, scope: Scope, turn: Turn, batches: usize) -> Line {
        let mut waiting = Vec::new();
        if let Some(line) = self.lines.get_mut(&scope) {
            waiting.extend(line.drain(..batches));
            if line.is_empty() {
                self.lines.remove(&scope);
            }
        }
        Line {
            scope,
            turn,
            waiting,
        }
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

impl Entered {
    /// Whether its line still waits for somebody who settles it.
    pub fn is_waiting(&self) -> bool {
        self.lines.lock().place(self.number).is_some()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.lines.lock();
        let place = state.place(self.number);
        let left = place.and_then(|place| state.ready.remove(place));
        drop(state);
        // Whoever is next in line gets the turn now.
        drop(left);
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
    use crate::turns::Turns;

    fn scope(user: &str) -> Scope {
        Scope::of(&UserId::new(user).expect("a user"))
    }

    fn request(user: &str, items: usize) -> PushRequest {
        let submission = Submission {
            group: None,
            item: Err(Rejection::new(RejectionCode::InvalidData, "data")),
        };
        PushRequest {
            scope: scope(user),
            device: DeviceId::new("phone").expect("a device"),
            info: DeviceInfo::default(),
            batch: vec![submission; items],
            mark: None,
            gate: Gate::default(),
            validate_only: false,
            now: Millis(0),
        }
    }

    /// Lines in which nobody waits for a turn.
    #[derive(Default)]
    struct Hall {
        lines: Lines,
        turns: Turns,
    }

    impl Hall {
        fn join(&self, user: &str, items: usize) -> Caller {
            self.lines.join(request(user, items), Span::none())
        }

        async fn enter(&self, user: &str) -> Entered {
            let turn = self.turns.take(&scope(user)).await.expect("a turn");
            self.lines.enter(&scope(user), turn)
        }

        /// How many items the batches have that are taken now, by scope.
        fn take(&self) -> Vec<Vec<usize>> {
            let sizes = |line: Line| {
                let batches = line.waiting.iter();
                batches.map(|one| one.request.batch.len()).collect()
            };
            self.lines.take().into_iter().map(sizes).collect()
        }

        fn is_empty(&self) -> bool {
            let state = self.lines.lock();
            state.lines.is_empty() && state.ready.is_empty()
        }
    }

    #[tokio::test]
    async fn of_a_scope_those_who_are_first_are_taken_up_to_a_full_batch_and_one_batch_in_any_case()
    {
        let hall = Hall::default();
        let _callers = [600, 200, 300, 1].map(|items| hall.join("mia", items));
        for taken in [vec![600], vec![200, 300], vec![1], vec![]] {
            let _entered = hall.enter("mia").await;
            assert_eq!(hall.take(), [taken]);
        }
        assert!(hall.is_empty());
        let _callers = [0; 65].map(|items| hall.join("mia", items));
        let _entered = hall.enter("mia").await;
        assert_eq!(hall.take()[0].len(), BATCHES_MAX);
    }

    #[tokio::test]
    async fn scopes_are_taken_together_in_the_order_of_their_turns_unless_they_have_much() {
        let hall = Hall::default();
        let sizes = [
            ("mia", 40),
            ("leo", 24),
            ("ben", 1),
            ("ida", 65),
            ("kim", 1),
        ];
        let callers = sizes.map(|(user, items)| hall.join(user, items));
        let mut entered = Vec::new();
        for (user, _) in sizes {
            entered.push(hall.enter(user).await);
        }
        assert_eq!(hall.take(), [[40], [24]]);
        assert!(!entered[1].is_waiting() && entered[2].is_waiting());
        assert_eq!(hall.take(), [[1]]);
        assert_eq!(hall.take(), [[65]]);
        assert_eq!(hall.take(), [[1]]);
        assert_eq!(hall.take(), [[0; 0]; 0]);
        drop(callers);
        assert!(hall.is_empty());
    }

    #[tokio::test]
    async fn who_has_come_meanwhile_is_next_unless_another_scope_is_ready() {
        let hall = Hall::default();
        let (_first, _entered) = (hall.join("mia", 1), hall.enter("mia").await);
        let turns = |lines: Vec<Line>| {
            let turns = lines.into_iter().map(|line| (line.scope, line.turn));
            turns.collect::<Vec<_>>()
        };
        let mut mine = turns(hall.lines.take());
        let _callers = [2, 3].map(|items| hall.join("mia", items));
        assert!(hall.lines.go_on(&mut mine, 3).is_empty(), "too few");
        let lines = hall.lines.go_on(&mut mine, 2);
        assert_eq!(lines[0].waiting.len(), 2);
        assert!(mine.is_empty(), "it goes with them");
        let _late = hall.join("mia", 4);
        let _leo = (hall.join("leo", 1), hall.enter("leo").await);
        let mut mine = turns(lines);
        assert!(hall.lines.go_on(&mut mine, 1).is_empty());
        assert_eq!(mine.len(), 1, "it is still there");
        drop(mine);
        assert_eq!(hall.take(), [[1]]);
        let _entered = hall.enter("mia").await;
        let mut mine = turns(hall.lines.take());
        assert!(hall.lines.go_on(&mut mine, 1).is_empty());
        drop(mine);
        drop(hall.enter("mia").await);
        assert!(hall.is_empty());
    }

    #[tokio::test]
    async fn of_several_scopes_no_more_go_on_than_are_taken_together() {
        let hall = Hall::default();
        let mut entered = Vec::new();
        let mut callers = Vec::new();
        for user in ["mia", "leo", "ben"] {
            callers.push(hall.join(user, 1));
            entered.push(hall.enter(user).await);
        }
        let turns = hall.lines.take().into_iter();
        let mut turns = turns.map(|line| (line.scope, line.turn)).collect();
        callers.extend(
            [("mia", 40), ("leo", 25), ("ben", 24)].map(|(user, items)| hall.join(user, items)),
        );
        let lines = hall.lines.go_on(&mut turns, 1);
        let sizes = lines.iter().map(|line| line.waiting[0].request.batch.len());
        assert_eq!(sizes.collect::<Vec<_>>(), [40, 24]);
        // Leo's turn is somebody's who sees to it, once it ends.
        drop(turns);
        let _entered = hall.enter("leo").await;
        assert_eq!(hall.take(), [[25]]);
    }

    #[tokio::test]
    async fn who_hangs_up_leaves_nothing_behind_unless_it_is_at_work() {
        let hall = Hall::default();
        drop(hall.join("mia", 1));
        assert!(hall.is_empty());
        let (first, second) = (hall.join("mia", 1), hall.join("mia", 2));
        drop(hall.enter("mia").await);
        assert_eq!(hall.take(), [[0; 0]; 0], "the turn was given back");
        let entered = hall.enter("mia").await;
        drop(first);
        assert_eq!(hall.take(), [[2]]);
        assert!(!second.leave(), "it is at work");
        drop((second, entered));
        assert!(hall.is_empty());
    }
}
