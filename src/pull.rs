//! One page of what changed after a cursor.

mod inquiry;

use std::sync::Arc;
use std::time::Instant;

use inquiry::Inquiry;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, field};

use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::conflict::Conflict;
use crate::domain::cursor::{Binding, Cursor, CursorKey};
use crate::domain::entity::EntityType;
use crate::domain::page::{CursorProblem, PageEnd, PageQuery, page_end, page_query};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::{BatchNumber, Gate, Standing, SubscriptionState, Wanted, admit};
use crate::domain::version::Revision;
use crate::error::{CallError, Fault, FieldProblem, Refusal};
use crate::metrics::Metrics;
use crate::places::{Places, Work};
use crate::presence::Presence;
use crate::store::Store;
use crate::store::device::Seen;
use crate::store::inbox::InboxStretch;
use crate::store::news::News;
use crate::store::page::{EntityRow, PageLimits, Reader};
use crate::trace::traced;

/// About how many bytes of data a page holds.
const PAGE_BYTES_MAX: i64 = 1024 * 1024;

/// How many changes a page of some types looks through. It bounds what a page costs however rare the
/// types are; such a page may be empty although there is more.
const FILTERED_ROWS_MAX: i64 = 4_000;

/// Entries of the inbox read at once.
pub const CONFLICTS_AT_ONCE: usize = 100;

/// What a device wants to know.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The user's scope; the library comes with it.
    pub scope: Scope,
    /// Who asks.
    pub device: DeviceId,
    /// What the last page gave; empty: from the beginning.
    pub cursor: String,
    /// Only these types; empty: all that are not on-demand.
    pub types: Vec<EntityType>,
    /// How many entities at most.
    pub page_size: i64,
    /// Also what the device wrote itself.
    pub include_own: bool,
    /// The newest schema the app understands; 0: the newest there is.
    pub schema: i32,
    /// How many batches the device has made; `None`: it does not count them, or was asked before.
    pub batches: Option<BatchNumber>,
    /// Read back everything there is.
    pub export: bool,
    /// Whether a subscription is needed.
    pub gate: Gate,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// What changed, in order.
    pub entities: Vec<EntityRow>,
    /// Where the next page begins.
    pub cursor: String,
    /// Whether there is more now.
    pub has_more: bool,
    /// About how many entities are still to come.
    pub remaining: i64,
    /// How far the page got in the library and in the user's scope.
    pub reached: [Revision; 2],
    /// How many conflicts wait for the person.
    pub open_conflicts: i32,
    /// Where the conflict inbox has changed within what the page got past; `None`: nowhere.
    pub inbox: Option<InboxStretch>,
    /// How the reader's subscription stands.
    pub subscription: SubscriptionState,
}

/// Pulls pages. Cheap to clone.
#[derive(Clone)]
pub struct Pull {
    store: Store,
    inquiry: Inquiry,
    catalog: Arc<Catalog>,
    presence: Presence,
    places: Places,
    metrics: Metrics,
    cursor_key: Arc<OnceCell<CursorKey>>,
}

impl Pull {
    /// Pages from `store`, read in `places` and counted in `metrics`, to apps that know `catalog`; who
    /// pulls is told to `presence`. What is read for several is read on `tasks`.
    pub fn new(
        store: Store,
        catalog: Arc<Catalog>,
        presence: Presence,
        places: Places,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            inquiry: Inquiry::new(store.clone(), places.clone(), tasks),
            store,
            catalog,
            presence,
            places,
            metrics,
            cursor_key: Arc::default(),
        }
    }

    /// Reads one page, as a call of its own. A fault is logged.
    pub async fn run(&self, request: &PullRequest, now: Millis) -> Result<Page, CallError> {
        let span = traced(tracing::info_span!(
            "pull",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
            entities = field::Empty,
            has_more = field::Empty,
            duration_ms = field::Empty,
        ));
        let begun = Instant::now();
        let took_ms = || begun.elapsed().as_millis() as u64;
        let work = async {
            if let Some(page) = self.unchanged(request, now).await? {
                tracing::debug!("nothing new");
                return Ok(page);
            }
            let _place = self.places.take_soon(&request.scope, Work::Page).await?;
            let page = self.page(request, now).await?;
            tracing::record_all!(
                Span::current(),
                entities = page.entities.len(),
                has_more = page.has_more,
                duration_ms = took_ms()
            );
            tracing::info!("page read");
            Ok(page)
        };
        let work = async {
            work.await.inspect_err(|error: &CallError| {
                Span::current().record("duration_ms", took_ms());
                error.report_fault();
            })
        };
        work.instrument(span).await
    }

    /// The page of a device for which there is nothing new, as most that ask find; `None`: there may be something, or
    /// another reason to read a page. The caller needs no place: those that ask are asked for together.
    pub async fn unchanged(
        &self,
        request: &PullRequest,
        now: Millis,
    ) -> Result<Option<Page>, CallError> {
        let begun = Instant::now();
        // The first page asks for the key.
        let Some(key) = self.cursor_key.get() else {
            return Ok(None);
        };
        let Some(cursor) = decode(&request.cursor, &binding(request), key)? else {
            return Ok(None);
        };
        let schema = self.catalog.schema(request.schema);
        // In a first sync there is a next page.
        let is_first_sync = cursor.user.after < cursor.user.began_at;
        let is_behind = cursor.schema != schema || cursor.backfill.is_some() || is_first_sync;
        if request.export || is_behind {
            return Ok(None);
        }
        let reached = [cursor.library.after, cursor.user.after];
        let news = self.inquiry.ask(&request.scope, &request.device).await?;
        let still = |news: &News| news.epoch == cursor.epoch && news.reached == reached;
        let Some(news) = news.filter(still) else {
            return Ok(None);
        };
        let subscription = self.admitted(&news.standing, request, now)?;
        self.saw(request, Some(cursor.user.after), now);
        self.metrics.page_read(0, begun.elapsed());
        Ok(Some(Page {
            entities: Vec::new(),
            cursor: request.cursor.clone(),
            has_more: false,
            remaining: 0,
            reached,
            open_conflicts: news.open_conflicts,
            inbox: None,
            subscription,
        }))
    }

    /// Reads one page for a stream, as soon as there is a place for it.
    pub async fn streamed_page(
        &self,
        request: &PullRequest,
        now: Millis,
    ) -> Result<Page, CallError> {
        let (pull, request) = (self.clone(), request.clone());
        let scope = request.scope.clone();
        let read = async move { pull.page(&request, now).await };
        self.places.work(scope, read).await?
    }

    /// Reads how the conflict inbox has changed for a stream, likewise.
    pub async fn streamed_inbox(
        &self,
        request: &PullRequest,
        stretch: InboxStretch,
    ) -> Result<Vec<(Revision, Conflict)>, CallError> {
        let (pull, request) = (self.clone(), request.clone());
        let scope = request.scope.clone();
        let read = async move { pull.inbox(&request, stretch).await };
        self.places.work(scope, read).await?
    }

    /// Reads one page. The caller has a place.
    pub async fn page(&self, request: &PullRequest, now: Millis) -> Result<Page, CallError> {
        let begun = Instant::now();
        let page = self.read(request, now).await?;
        self.metrics.page_read(page.entities.len(), begun.elapsed());
        Ok(page)
    }

    async fn read(&self, request: &PullRequest, now: Millis) -> Result<Page, CallError> {
        let key = self.cursor_key().await?;
        let binding = binding(request);
        let cursor = decode(&request.cursor, &binding, key)?;
        let schema = self.catalog.schema(request.schema);
        let query =
            page_query(cursor.as_ref(), &binding, schema, &self.catalog).map_err(refusal)?;
        let reader = Reader {
            scope: &request.scope,
            device: &request.device,
            include_own: request.include_own || request.export,
        };
        let limits = limits(&query, request.page_size);
        let read = self.store.read_page(&query, reader, limits).await?;
        let subscription = self.admitted(&read.standing, request, now)?;
        let end = page_end(
            &query,
            &read.lanes,
            read.exhausted,
            read.epoch,
            schema,
            cursor.as_ref(),
        );
        let PageEnd {
            cursor: next,
            has_more,
            remaining,
        } = end.map_err(refusal)?;
        // What is exported is not what the device syncs from.
        let pulled = (!request.export).then_some(next.user.after);
        self.saw(request, pulled, now);
        let user = read.lanes.last();
        let before = query
            .lanes
            .last()
            .map(|lane| lane.after)
            .unwrap_or_default();
        let changed = user.is_some_and(|user| user.inbox_revision > before);
        let inbox = changed.then_some(InboxStretch {
            after: before,
            until: next.user.after,
            began_at: next.user.began_at,
        });
        Ok(Page {
            entities: read.entities,
            cursor: next.encode(&binding, key),
            has_more,
            remaining,
            reached: [next.library.after, next.user.after],
            open_conflicts: user.map(|user| user.open_conflicts).unwrap_or_default(),
            inbox,
            subscription,
        })
    }

    /// How the subscription of a device stands that stands like this, if it may read.
    fn admitted(
        &self,
        standing: &Standing,
        request: &PullRequest,
        now: Millis,
    ) -> Result<SubscriptionState, Refusal> {
        let wanted = match request.export {
            true => Wanted::Export,
            false => Wanted::Read(request.batches),
        };
        Ok(admit(standing, wanted, &request.gate, now)?)
    }

    /// Reads how the conflict inbox has changed, at most [`CONFLICTS_AT_ONCE`] entries in order.
    pub async fn inbox(
        &self,
        request: &PullRequest,
        stretch: InboxStretch,
    ) -> Result<Vec<(Revision, Conflict)>, CallError> {
        let limit = CONFLICTS_AT_ONCE as i64;
        let store = &self.store;
        Ok(store
            .follow_conflicts(&request.scope, stretch, limit)
            .await?)
    }

    /// Remembers that a device is there, and how far it has got in its user's scope if it read.
    pub fn saw(&self, request: &PullRequest, pulled: Option<Revision>, now: Millis) {
        self.presence.saw(Seen {
            scope: request.scope.clone(),
            device: request.device.clone(),
            at: now,
            pulled,
        });
    }

    async fn cursor_key(&self) -> Result<&CursorKey, Fault> {
        self.cursor_key
            .get_or_try_init(|| self.store.cursor_key())
            .await
    }
}

fn binding(request: &PullRequest) -> Binding {
    let mut types = request.types.clone();
    types.sort();
    types.dedup();
    Binding {
        scope: request.scope.clone(),
        types,
        export: request.export,
    }
}

fn decode(text: &str, binding: &Binding, key: &CursorKey) -> Result<Option<Cursor>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    Cursor::decode(text, binding, key).map(Some).map_err(|_| {
        invalid_cursor("one this server gave to this user for the same entity_types, or nothing")
    })
}

fn refusal(problem: CursorProblem) -> Refusal {
    match problem {
        CursorProblem::OlderSchema => {
            invalid_cursor("one for this schema_version or an older one, or nothing")
        }
        CursorProblem::Reset => Refusal::CursorReset,
    }
}

fn invalid_cursor(expected: &'static str) -> Refusal {
    let field = "cursor";
    Refusal::Invalid(vec![FieldProblem { field, expected }])
}

fn limits(query: &PageQuery, page_size: i64) -> PageLimits {
    let filtered = query.types.only.is_some() || query.lanes.iter().any(|lane| lane.new_types);
    PageLimits {
        // One more than is shown tells whether there is more.
        rows: if filtered {
            FILTERED_ROWS_MAX
        } else {
            page_size + 1
        },
        entities: page_size,
        bytes: PAGE_BYTES_MAX,
    }
}
