//! Catch up from a cursor, then follow, on one stream.
//!
//! The stream holds no backlog. A signal says "there may be more", the store supplies the data, and
//! nothing is read before the reader of the stream asks for it: a slow reader costs one page.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Span, field};

use crate::domain::clock::Millis;
use crate::domain::conflict::Conflict;
use crate::domain::scope::Scope;
use crate::domain::standing::SubscriptionState;
use crate::error::{CallError, Fault, Refusal};
use crate::feed::{Feed, Subscription};
use crate::metrics::Metrics;
use crate::pull::{CONFLICTS_AT_ONCE, Pull, PullRequest};
use crate::store::inbox::InboxStretch;
use crate::store::page::EntityRow;
use crate::trace::traced;

/// How often a read is tried again while the store is out of reach, and about how long each wait is,
/// before the device is told to come back.
const RETRIES_MAX: u32 = 10;
const RETRY_DELAY_MS: u64 = 500;

/// Longest time that is waited for.
const TIMER_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What happens on a watch.
#[derive(Debug)]
pub enum Event {
    /// Entities changed.
    Changes {
        /// At their newest versions, in order.
        entities: Vec<EntityRow>,
        /// Where to go on.
        cursor: String,
    },
    /// An entry of the conflict inbox was opened, changed or closed.
    Conflict(Conflict),
    /// Everything that existed when the watch began has been sent.
    CaughtUp {
        /// Where to go on.
        cursor: String,
    },
    /// Nothing happened for a while.
    Heartbeat {
        /// Where to go on.
        cursor: String,
    },
}

/// Opens watches. Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    pull: Pull,
    feed: Feed,
    metrics: Metrics,
    heartbeat_interval: Duration,
    stop: CancellationToken,
}

impl Watch {
    /// Watches read with `pull`, are woken by `feed`, counted in `metrics`, and end with `stop`.
    pub fn new(
        pull: Pull,
        feed: Feed,
        metrics: Metrics,
        heartbeat_interval: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self {
            pull,
            feed,
            metrics,
            heartbeat_interval,
            stop,
        }
    }

    /// Everything after the request's cursor, and then what happens, until the token `expires`.
    /// `clock` is asked for the time of each read. The last item is the error that ended the stream; a fault
    /// is logged.
    pub fn follow(
        self,
        request: PullRequest,
        expires: Duration,
        clock: fn() -> Millis,
    ) -> impl Stream<Item = Result<Event, CallError>> + Send {
        // Subscribed before anything is read: what commits in between is signalled.
        let library = self.feed.subscribe(&Scope::library());
        let user = self.feed.subscribe(&request.scope);
        let span = traced(tracing::info_span!(
            "watch",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
            pages = field::Empty,
            duration_ms = field::Empty,
        ));
        let begun = Instant::now();
        self.metrics.watch_began();
        let following = Following {
            span,
            begun,
            pages: 0,
            // A token may be valid for longer than a timer can wait.
            expires: begun + expires.min(TIMER_MAX),
            lapses: None,
            watch: self,
            request,
            clock,
            library,
            user,
            last_event: begun,
            woken: None,
            may_have_more: true,
            caught_up: false,
            inbox: None,
            conflicts: VecDeque::new(),
            changes: Vec::new(),
        };
        // Boxed, as is what it does while it reads: one that waits takes little, and most wait.
        stream::unfold(Some(Box::new(following)), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(event) => Some((Ok(event), Some(following))),
                Err(error) => {
                    following.span.in_scope(|| error.report_fault());
                    Some((Err(error), None))
                }
            }
        })
    }
}

/// A watch under way.
struct Following {
    span: Span,
    begun: Instant,
    /// Pages read so far.
    pages: u64,
    watch: Watch,
    request: PullRequest,
    clock: fn() -> Millis,
    library: Subscription,
    user: Subscription,
    expires: Instant,
    /// When the subscription ends, as far as is known: then it is looked at again.
    lapses: Option<Instant>,
    /// When the reader last got something.
    last_event: Instant,
    /// When it was woken for what it has not handed over yet.
    woken: Option<Instant>,
    may_have_more: bool,
    caught_up: bool,
    /// Where the inbox has changed within the page that was read, and has not been looked at yet.
    inbox: Option<InboxStretch>,
    /// What was found there and not sent yet: at most [`CONFLICTS_AT_ONCE`].
    conflicts: VecDeque<Conflict>,
    /// The entities of that page. They are sent behind its conflicts, since their cursor is past both.
    changes: Vec<EntityRow>,
}

impl Following {
    async fn next(&mut self) -> Result<Event, CallError> {
        let stop = self.watch.stop.clone();
        let expires = self.expires;
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Refusal::ShuttingDown.into()),
            () = sleep_until(expires) => Err(Refusal::TokenExpired.into()),
            event = self.next_event() => {
                self.last_event = Instant::now();
                event
            }
        }
    }

    async fn next_event(&mut self) -> Result<Event, CallError> {
        loop {
            if let Some(conflict) = self.conflicts.pop_front() {
                self.hand_over();
                return Ok(Event::Conflict(conflict));
            }
            if let Some(stretch) = self.inbox {
                Box::pin(self.read_inbox(stretch)).await?;
                continue;
            }
            let cursor = self.request.cursor.clone();
            if !self.changes.is_empty() {
                self.hand_over();
                let entities = std::mem::take(&mut self.changes);
                return Ok(Event::Changes { entities, cursor });
            }
            if self.may_have_more {
                Box::pin(self.read()).await?;
                continue;
            }
            if !self.caught_up {
                self.caught_up = true;
                return Ok(Event::CaughtUp { cursor });
            }
            let heartbeat = self.last_event + self.watch.heartbeat_interval;
            tokio::select! {
                () = reached(self.lapses) => self.may_have_more = true,
                () = self.library.moved() => self.wake(),
                () = self.user.moved() => self.wake(),
                () = sleep_until(heartbeat) => {
                    self.watch.pull.saw(&self.request, None, (self.clock)());
                    return Ok(Event::Heartbeat { cursor });
                }
            }
        }
    }

    fn wake(&mut self) {
        self.watch.metrics.watch_woken();
        self.woken = Some(Instant::now());
        self.may_have_more = true;
    }

    /// Notes how long after it was woken the first of what is new is handed over.
    fn hand_over(&mut self) {
        if let Some(woken) = self.woken.take() {
            self.watch.metrics.delivered(woken.elapsed());
        }
    }

    /// Reads the next page and moves on behind it.
    async fn read(&mut self) -> Result<(), CallError> {
        let now = self.clock;
        let pull = &self.watch.pull;
        let page = patiently(async || {
            // Who was away for a moment has missed nothing; who was woken has. What it is refused for a page
            // tells, which waits for its place.
            if self.pages == 0
                && let Ok(Some(page)) = pull.unchanged(&self.request, now()).await
            {
                return Ok(page);
            }
            pull.streamed_page(&self.request, now()).await
        });
        let page = page.await?;
        self.lapses = match page.subscription {
            SubscriptionState::Active { until: Some(at) } => {
                let left = Duration::from_millis(at.0.saturating_sub(now().0).max(0) as u64);
                Some(Instant::now() + left.min(TIMER_MAX))
            }
            SubscriptionState::NotRequired
            | SubscriptionState::Active { until: None }
            | SubscriptionState::Expired { .. }
            | SubscriptionState::Missing => None,
        };
        self.pages += 1;
        // What the device counted when it called; it goes on pushing while it watches.
        self.request.batches = None;
        self.request.cursor = page.cursor;
        self.may_have_more = page.has_more;
        self.changes = page.entities;
        self.inbox = page.inbox;
        if !page.has_more {
            let [library, user] = page.reached;
            self.library.saw(library);
            self.user.saw(user);
        }
        Ok(())
    }

    /// Reads the next of what has changed in the inbox.
    async fn read_inbox(&mut self, stretch: InboxStretch) -> Result<(), CallError> {
        let found = patiently(|| self.watch.pull.streamed_inbox(&self.request, stretch));
        let found = found.await?;
        let last = found.last().map(|(revision, _)| *revision);
        self.inbox = last
            .filter(|_| found.len() == CONFLICTS_AT_ONCE)
            .map(|after| InboxStretch { after, ..stretch });
        self.conflicts = found.into_iter().map(|(_, conflict)| conflict).collect();
        Ok(())
    }
}

/// Waits for a time; without one, for good.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Reads something, patiently while the store is out of reach: it will be back sooner than all its
/// watchers.
async fn patiently<T, F>(mut read: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut tries = 0;
    loop {
        match read().await {
            Err(CallError::Failed(Fault::Unavailable(_))) if tries < RETRIES_MAX => {
                tries += 1;
                let delay_ms = fastrand::u64(RETRY_DELAY_MS / 2..RETRY_DELAY_MS * 3 / 2);
                sleep(Duration::from_millis(delay_ms)).await;
            }
            result => return result,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.watch.metrics.watch_ended();
        let duration_ms = self.begun.elapsed().as_millis() as u64;
        self.span
            .record("pages", self.pages)
            .record("duration_ms", duration_ms);
        self.span.in_scope(|| tracing::info!("watch ended"));
    }
}
