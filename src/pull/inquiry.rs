//! Devices that ask whether there may be anything new: all that wait are asked for together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::domain::scope::{DeviceId, Scope};
use crate::error::Refusal;
use crate::places::{Places, Work};
use crate::store::Store;
use crate::store::news::News;

/// Devices that are asked for together at most.
const TOGETHER_MAX: usize = 64;

/// Questions under way at once: while they are, those who come gather for the next.
const QUESTIONS_MAX: usize = 2;

/// Asks for devices. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Inquiry {
    store: Store,
    places: Places,
    tasks: TaskTracker,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    /// In the order of asking.
    waiting: VecDeque<Waiting>,
    /// Tasks that ask for those who wait, until nobody does.
    asking: usize,
}

struct Waiting {
    device: (Scope, DeviceId),
    answer: oneshot::Sender<News>,
}

impl Inquiry {
    /// Asks `store`, in `places` and on `tasks`.
    pub fn new(store: Store, places: Places, tasks: TaskTracker) -> Self {
        Self {
            store,
            places,
            tasks,
            line: Arc::default(),
        }
    }

    /// Where a device's scopes stand, at a moment after this was called; `None`: the store did not tell, and will
    /// tell why when a page is read. Waits no longer than for a place.
    pub async fn ask(&self, scope: &Scope, device: &DeviceId) -> Result<Option<News>, Refusal> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            device: (scope.clone(), device.clone()),
            answer: sender,
        };
        if self.lock().join(waiting) {
            self.tasks.spawn(self.clone().ask_for_all());
        }
        Ok(self.places.soon(answer).await?.ok())
    }

    /// Asks for those who wait, until nobody does.
    async fn ask_for_all(self) {
        loop {
            let Some(together) = self.lock().take() else {
                return;
            };
            // If it does not finish, those have no answer. Others shall.
            let _ = self.tasks.spawn(self.clone().ask_for(together)).await;
        }
    }

    async fn ask_for(self, together: Vec<Waiting>) {
        let (devices, answers): (Vec<_>, Vec<_>) = together
            .into_iter()
            .map(|waiting| (waiting.device, waiting.answer))
            .unzip();
        // What is asked for anybody counts as the library's.
        let _place = self.places.take(&Scope::library(), Work::Other).await;
        let told = self.store.look_for_news(&devices).await;
        for (answer, news) in answers.into_iter().zip(told.into_iter().flatten()) {
            // Who has gone needs none.
            drop(answer.send(news));
        }
    }

    /// Nothing is ever left half-done under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Puts a device at the end; whether one more has to ask.
    fn join(&mut self, waiting: Waiting) -> bool {
        // Who has gone takes no room.
        self.waiting.retain(|before| !before.answer.is_closed());
        self.waiting.push_back(waiting);
        let more = self.asking < QUESTIONS_MAX;
        self.asking += usize::from(more);
        more
    }

    /// Takes those who have waited for longest; `None`: nobody waits, and whoever asked for them has done so.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut together = Vec::new();
        while together.len() < TOGETHER_MAX
            && let Some(next) = self.waiting.pop_front()
        {
            if !next.answer.is_closed() {
                together.push(next);
            }
        }
        if together.is_empty() {
            self.asking -= 1;
            return None;
        }
        Some(together)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::UserId;

    fn waiting(user: &str) -> (Waiting, oneshot::Receiver<News>) {
        let (answer, receiver) = oneshot::channel();
        let scope = Scope::of(&UserId::new(user).expect("a user"));
        let device = DeviceId::new("phone").expect("a device");
        let device = (scope, device);
        (Waiting { device, answer }, receiver)
    }

    #[test]
    fn those_who_wait_are_taken_together_in_their_order_and_who_has_gone_is_left_out() {
        let mut line = Line::default();
        let users: Vec<String> = (0..=TOGETHER_MAX + 1)
            .map(|i| format!("user-{i}"))
            .collect();
        let mut receivers = Vec::new();
        for user in &users {
            let (waiting, receiver) = waiting(user);
            line.join(waiting);
            receivers.push(receiver);
        }
        drop(receivers.remove(1));
        let taken = |line: &mut Line| -> Option<Vec<String>> {
            let together = line.take()?;
            let scopes = together.iter().map(|one| one.device.0.as_str().to_owned());
            Some(scopes.collect())
        };
        let first = taken(&mut line).expect("some wait");
        assert_eq!(first.len(), TOGETHER_MAX);
        assert_eq!(first[..2], ["user/user-0", "user/user-2"]);
        assert_eq!(taken(&mut line).expect("one waits").len(), 1);
        assert_eq!(taken(&mut line), None);
    }

    #[test]
    fn some_ask_and_there_is_always_one_for_who_joins() {
        let mut line = Line::default();
        let (waiting, receivers): (Vec<_>, Vec<_>) = ["mia", "leo", "zoe", "ben"]
            .map(waiting)
            .into_iter()
            .unzip();
        let begun: Vec<bool> = waiting.into_iter().map(|one| line.join(one)).collect();
        assert_eq!(begun, [true, true, false, false]);
        assert_eq!(line.take().map(|together| together.len()), Some(4));
        // Both find nobody, and are gone.
        assert!(line.take().is_none());
        assert!(line.take().is_none());
        assert!(line.join(self::waiting("ida").0));
        drop(receivers);
    }
}
