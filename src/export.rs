//! Everything there is of a user, as records, for the user to take along.
//!
//! There is no backlog: a page is read when its reader wants the next record, and a slow reader costs one
//! page. An export is no snapshot: the revision in its first record tells what it has for certain.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::clock::Millis;
use crate::domain::conflict::Conflict;
use crate::domain::entity::MutationId;
use crate::domain::scope::{DeviceId, Scope, UserId};
use crate::domain::version::Version;
use crate::error::{CallError, Refusal};
use crate::places::Places;
use crate::store::Store;
use crate::store::export::{Account, Counts, ExportPlace, ExportedDevice, ExportedVersion};
use crate::store::inbox::LabelledSide;

/// One record of an export.
#[derive(Debug)]
pub enum Record {
    /// Whose export it is. The first.
    Account {
        /// The user.
        user: UserId,
        /// When the export began.
        at: Millis,
        /// What was there then.
        account: Account,
    },
    /// A device.
    Device(ExportedDevice),
    /// An entity at its current version.
    Entity(ExportedVersion),
    /// A superseded version.
    OldVersion(ExportedVersion),
    /// What a device sent and the server does not hold as a version.
    LosingSide(LabelledSide),
    /// A conflict.
    Conflict(Conflict),
    /// Everything has been told, so many records of each kind. The last.
    Done(Counts),
}

/// What comes next.
#[derive(Debug)]
enum Next {
    Account,
    Devices(Option<DeviceId>),
    Entities(ExportPlace<()>),
    OldVersions(ExportPlace<Version>),
    LosingSides(ExportPlace<MutationId>),
    Conflicts(Uuid),
    End,
}

/// An export under way.
pub struct Export {
    store: Store,
    user: UserId,
    scope: Scope,
    now: Millis,
    next: Next,
    /// The rest of the page that was read last.
    page: VecDeque<Record>,
    counts: Counts,
}

impl Export {
    /// An export of what a store has of a user. `now`: the server's clock.
    pub fn new(store: Store, user: UserId, now: Millis) -> Self {
        Self {
            scope: Scope::of(&user),
            store,
            user,
            now,
            next: Next::Account,
            page: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The next record; `None` behind the last.
    pub async fn record(&mut self) -> Result<Option<Record>, CallError> {
        loop {
            if let Some(record) = self.page.pop_front() {
                return Ok(Some(record));
            }
            if matches!(self.next, Next::End) {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// The next record, its page read as a stream reads.
    async fn streamed_record(
        mut self,
        places: &Places,
    ) -> (Result<Option<Record>, CallError>, Option<Self>) {
        if let Some(record) = self.page.pop_front() {
            return (Ok(Some(record)), Some(self));
        }
        let scope = self.scope.clone();
        let read = async move {
            let record = self.record().await;
            (record, self)
        };
        match places.work(scope, read).await {
            Ok((record, export)) => (record, Some(export)),
            Err(fault) => (Err(fault.into()), None),
        }
    }

    /// The records as a stream, read in `places`, until the token expires, which is after `valid`, or until
    /// `stop`. The last item is the error that ended it, if one did.
    pub fn stream(
        self,
        places: Places,
        valid: Duration,
        stop: CancellationToken,
    ) -> impl Stream<Item = Result<Record, CallError>> + Send {
        // A token may be valid for longer than a timer can wait.
        let expires = Instant::now() + valid.min(Duration::from_secs(365 * 24 * 3600));
        stream::unfold(Some(self), move |export| {
            let (stop, places) = (stop.clone(), places.clone());
            async move {
                let export: Self = export?;
                let (record, export) = tokio::select! {
                    biased;
                    () = stop.cancelled() => (Err(Refusal::ShuttingDown.into()), None),
                    () = sleep_until(expires) => (Err(Refusal::TokenExpired.into()), None),
                    read = export.streamed_record(&places) => read,
                };
                match record {
                    Ok(record) => record.map(|record| (Ok(record), export)),
                    Err(error) => Some((Err(error), None)),
                }
            }
        })
    }

    /// Reads the next page, and moves on behind it. An empty one is the end of its kind.
    async fn read(&mut self) -> Result<(), CallError> {
        let (store, scope) = (&self.store, &self.scope);
        let counts = &mut self.counts;
        self.next = match &self.next {
            Next::Account => {
                if store.is_erased(scope).await? {
                    return Err(Refusal::AccountDeleted.into());
                }
                let account = store.count_account(scope).await?;
                self.page.push_back(Record::Account {
                    user: self.user.clone(),
                    at: self.now,
                    account,
                });
                Next::Devices(None)
            }
            Next::Devices(behind) => {
                let page = store.export_devices(scope, behind.as_ref()).await?;
                counts.devices += page.len() as i64;
                let last = page.last().map(|last| last.known.device.clone());
                self.page.extend(page.into_iter().map(Record::Device));
                match last {
                    Some(last) => Next::Devices(Some(last)),
                    None => Next::Entities(ExportPlace::first(())),
                }
            }
            Next::Entities(behind) => {
                let page = store.export_entities(scope, behind).await?;
                counts.entities += page.len() as i64;
                let last = page.last().map(|last| ExportPlace::behind(&last.key, ()));
                self.page.extend(page.into_iter().map(Record::Entity));
                match last {
                    Some(last) => Next::Entities(last),
                    None => Next::OldVersions(ExportPlace::first(Version::NONE)),
                }
            }
            Next::OldVersions(behind) => {
                let page = store.export_versions(scope, behind).await?;
                counts.old_versions += page.len() as i64;
                let place = |last: &ExportedVersion| ExportPlace::behind(&last.key, last.version);
                let last = page.last().map(place);
                self.page.extend(page.into_iter().map(Record::OldVersion));
                match last {
                    Some(last) => Next::OldVersions(last),
                    None => Next::LosingSides(ExportPlace::first(MutationId(Uuid::nil()))),
                }
            }
            Next::LosingSides(behind) => {
                let page = store.export_sides(scope, behind).await?;
                counts.losing_sides += page.len() as i64;
                let place =
                    |last: &LabelledSide| ExportPlace::behind(&last.side.key, last.side.mutation);
                let last = page.last().map(place);
                self.page.extend(page.into_iter().map(Record::LosingSide));
                match last {
                    Some(last) => Next::LosingSides(last),
                    None => Next::Conflicts(Uuid::nil()),
                }
            }
            Next::Conflicts(behind) => {
                let page = store.export_conflicts(scope, *behind).await?;
                counts.conflicts += page.len() as i64;
                let last = page.last().map(|last| last.id.0);
                self.page.extend(page.into_iter().map(Record::Conflict));
                match last {
                    Some(last) => Next::Conflicts(last),
                    None => {
                        self.page.push_back(Record::Done(*counts));
                        Next::End
                    }
                }
            }
            Next::End => Next::End,
        };
        Ok(())
    }
}
