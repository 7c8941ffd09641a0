//! One batch in one transaction: lock the scope, read what the batch names, write the plan.
//!
//! The number of statements does not depend on the size of the batch; each takes whole columns.

mod conflicts;
mod decision;
mod read;
mod rows;
mod uncontested;
mod versions;

pub(super) use read::READ_ENTITIES;
pub(super) use rows::{content, stored};
pub use uncontested::{Offer, Writer, Written};

use conflicts::{KEEP_SIDES, WRITE_CONFLICTS};
use futures_util::future::try_join4;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use versions::{INSERT_ENTITIES, INSERT_VERSIONS, KEEP_SUPERSEDED, UPDATE_ENTITIES};

use super::Store;
use super::columns::{system_time, unexpected};
use super::device::{DeviceInfo, RECORD_DEVICE};
use super::erasure::READ_ERASURE;
use super::session::{Parameters, Session};
use crate::domain::clock::Millis;
use crate::domain::plan::Plan;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::BatchMark;
use crate::domain::version::Revision;
use crate::error::{CallError, Fault, Refusal};

const LOCK_SCOPE: &str = include_str!("sql/lock_scope.sql");
const CREATE_SCOPE: &str = include_str!("sql/create_scope.sql");
const ADVANCE_SCOPE: &str = include_str!("sql/advance_scope.sql");

/// All that may write what a plan says, in the order it is written.
const WRITES: [&str; 8] = [
    KEEP_SUPERSEDED,
    UPDATE_ENTITIES,
    INSERT_ENTITIES,
    INSERT_VERSIONS,
    KEEP_SIDES,
    WRITE_CONFLICTS,
    ADVANCE_SCOPE,
    RECORD_DEVICE,
];

/// A batch under way: a transaction, and the lock of its scope. Dropped before its end it leaves no trace.
pub struct Batch<'a> {
    session: Session,
    scope: &'a Scope,
    revision: Revision,
    /// Entities of the scope, deleted ones included.
    entities: i64,
    /// Whether any conflict of the scope is open.
    conflicts_open: bool,
}

/// Who writes a batch, and when.
pub struct Author<'a> {
    /// The device that sent it.
    pub device: &'a DeviceId,
    /// What it says of itself.
    pub info: &'a DeviceInfo,
    /// The server's clock.
    pub now: Millis,
    /// Devices the scope may have.
    pub devices_max: i64,
    /// Which of its batches this is; `None`: it does not count them.
    pub mark: Option<BatchMark>,
}

/// Whether the device of a batch is one of its scope's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is, and the batch is written.
    Known,
    /// It would be one too many, and nothing is written.
    OneTooMany,
}

impl Store {
    /// Begins a batch: waits for the lock of the scope, which it makes if need be. Refused if the account was
    /// deleted, also while this waited.
    pub async fn begin<'a>(&self, scope: &'a Scope) -> Result<Batch<'a>, CallError> {
        let session = self.session().await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&scope.as_str()];
        let first = [LOCK_SCOPE, READ_ERASURE].map(|sql| (sql, parameters.as_slice()));
        let [mut locked, mut erased] = session.start(scope, first).await?;
        if locked.is_empty() && erased.is_empty() {
            session.execute(CREATE_SCOPE, &parameters).await?;
            locked = session.query(LOCK_SCOPE, &parameters).await?;
            erased = session.query(READ_ERASURE, &parameters).await?;
        }
        if !erased.is_empty() {
            session.rollback().await?;
            return Err(Refusal::AccountDeleted.into());
        }
        let no_row = || Fault::Defect("the scope has no row".into(), None);
        let locked = locked.first().ok_or_else(no_row)?;
        Ok(Batch::locked(session, scope, locked)?)
    }

    /// Waits for the lock of a scope as it is, whatever became of its account; `None`: it has no row.
    pub(super) async fn lock<'a>(&self, scope: &'a Scope) -> Result<Option<Batch<'a>>, Fault> {
        let session = self.session().await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&scope.as_str()];
        let lock = (LOCK_SCOPE, parameters.as_slice());
        let [locked] = session.start(scope, [lock]).await?;
        match locked.first() {
            Some(locked) => Ok(Some(Batch::locked(session, scope, locked)?)),
            None => {
                session.rollback().await?;
                Ok(None)
            }
        }
    }
}

impl<'a> Batch<'a> {
    fn locked(session: Session, scope: &'a Scope, row: &Row) -> Result<Self, Fault> {
        let open_conflicts: i32 = row.try_get("open_conflicts")?;
        Ok(Self {
            session,
            scope,
            revision: Revision::new(row.try_get("revision")?),
            entities: row.try_get("entities")?,
            conflicts_open: open_conflicts > 0,
        })
    }
}

impl Batch<'_> {
    /// The last revision given out in the scope before this batch.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many more entities the scope may hold.
    pub fn room(&self, entities_max: usize) -> usize {
        let held = usize::try_from(self.entities).unwrap_or_default();
        entities_max.saturating_sub(held)
    }

    /// Whose data.
    pub(super) fn scope(&self) -> &Scope {
        self.scope
    }

    /// Writes what a plan says and commits: all of it, or nothing. Nothing, too, if the scope may not
    /// have so many devices.
    ///
    /// The lock already makes sure that it fits what is stored. The statements say so once
    /// more, and a count that is off ends the batch without a trace.
    pub async fn write(self, plan: &Plan, author: &Author<'_>) -> Result<Recorded, Fault> {
        let changes = plan.last_revision != self.revision || !plan.inbox.is_empty();
        let new = plan.writes.iter().filter(|write| write.replaces.is_none());
        let advance: [&(dyn ToSql + Sync); 6] = [
            &self.scope.as_str(),
            &self.revision.number(),
            &plan.last_revision.number(),
            &(new.count() as i64),
            &plan.inbox.opened,
            &!plan.inbox.conflicts.is_empty(),
        ];
        let info = author.info;
        let record: [&(dyn ToSql + Sync); 10] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &info.label,
            &info.platform,
            &info.app_version,
            &info.pending_count,
            &system_time(author.now),
            &author.devices_max,
            &author.mark.map(|mark| mark.number.number()),
            &author.mark.map(|mark| mark.digest),
        ];
        // One round trip for all of them: what is prepared is sent by the first poll, in this order.
        self.session.prepare_all(&WRITES).await?;
        let (.., recorded) = try_join4(
            self.write_versions(&plan.writes, author),
            self.write_inbox(&plan.inbox, author),
            self.run(ADVANCE_SCOPE, &advance, usize::from(changes)),
            self.query(RECORD_DEVICE, &record),
        )
        .await?;
        let known = recorded.first().ok_or_else(|| unexpected("known"))?;
        if known.try_get("known")? {
            self.commit().await?;
            Ok(Recorded::Known)
        } else {
            self.discard().await?;
            Ok(Recorded::OneTooMany)
        }
    }

    /// Moves the scope on without a change, and commits what was touched: whoever watches looks again.
    pub(super) async fn nudge(self) -> Result<Revision, Fault> {
        let moved = self.revision.after(1);
        let advance: [&(dyn ToSql + Sync); 6] = [
            &self.scope.as_str(),
            &self.revision.number(),
            &moved.number(),
            &0_i64,
            &0_i32,
            &false,
        ];
        self.run(ADVANCE_SCOPE, &advance, 1).await?;
        self.commit().await?;
        Ok(moved)
    }

    /// Ends a batch that is refused: it leaves no trace. The error to answer.
    pub async fn refuse(self, refusal: impl Into<Refusal>) -> CallError {
        match self.discard().await {
            Ok(()) => refusal.into().into(),
            Err(fault) => fault.into(),
        }
    }

    /// Ends a batch that shall leave no trace.
    pub async fn discard(self) -> Result<(), Fault> {
        self.session.rollback().await
    }

    /// Commits what was written or touched.
    pub async fn commit(self) -> Result<(), Fault> {
        self.session.commit().await
    }

    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn touch(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Fault> {
        self.session.execute(sql, parameters).await
    }

    /// Runs a statement that must touch exactly `rows` rows; with none to touch it is left out.
    async fn run(&self, sql: &str, parameters: Parameters<'_>, rows: usize) -> Result<(), Fault> {
        if rows == 0 {
            return Ok(());
        }
        let touched = self.touch(sql, parameters).await?;
        if touched == rows as u64 {
            return Ok(());
        }
        let purpose = sql.lines().next().unwrap_or_default();
        Err(Fault::Defect(
            format!("touched {touched} rows instead of {rows}: {purpose}"),
            None,
        ))
    }
}
