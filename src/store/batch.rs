//! One batch in one transaction: lock the scope, read what the batch names, write the plan.
//!
//! The number of statements does not depend on the size of the batch; each takes whole columns.

mod conflicts;
mod decision;
mod read;
mod rows;
mod versions;

pub(super) use read::READ_ENTITIES;
pub(super) use rows::{content, stored};

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::types::ToSql;

use super::Store;
use super::columns::system_time;
use super::device::{DeviceInfo, RECORD_DEVICE};
use crate::domain::clock::Millis;
use crate::domain::plan::Plan;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Revision;
use crate::error::Fault;

const LOCK_SCOPE: &str = include_str!("sql/lock_scope.sql");
const CREATE_SCOPE: &str = include_str!("sql/create_scope.sql");
const ADVANCE_SCOPE: &str = include_str!("sql/advance_scope.sql");

/// A connection taken from the pool for one batch. Unless the batch ends well the connection is
/// closed, so none goes back to the pool in a state somebody would have to think about.
pub struct Connection {
    client: Option<Object>,
}

/// A batch under way: a transaction, and the lock of its scope.
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    scope: &'a Scope,
    revision: Revision,
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
}

impl Store {
    /// A connection for one batch.
    pub async fn connection(&self) -> Result<Connection, Fault> {
        let client = Some(self.client().await?);
        Ok(Connection { client })
    }
}

impl Connection {
    /// Begins a transaction and waits for the lock of the scope, which it makes if need be.
    pub async fn begin<'a>(&'a mut self, scope: &'a Scope) -> Result<Batch<'a>, Fault> {
        let client = self
            .client
            .as_mut()
            .ok_or_else(|| Fault::Defect("the connection was used up".into(), None))?;
        let transaction = client.transaction().await?;
        let lock = transaction.prepare_cached(LOCK_SCOPE).await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&scope.as_str()];
        let mut locked = transaction.query_opt(&lock, &parameters).await?;
        if locked.is_none() {
            let create = transaction.prepare_cached(CREATE_SCOPE).await?;
            transaction.execute(&create, &parameters).await?;
            locked = transaction.query_opt(&lock, &parameters).await?;
        }
        let locked = locked.ok_or_else(|| Fault::Defect("the scope has no row".into(), None))?;
        let open_conflicts: i32 = locked.try_get("open_conflicts")?;
        Ok(Batch {
            transaction,
            scope,
            revision: Revision::new(locked.try_get("revision")?),
            conflicts_open: open_conflicts > 0,
        })
    }

    /// Gives the connection back to the pool, once its batch has ended well.
    pub fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Batch<'_> {
    /// The last revision given out in the scope before this batch.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Writes what a plan says and commits: all of it, or nothing.
    ///
    /// The lock already makes sure that it fits what is stored. The statements say so once
    /// more, and a count that is off ends the batch without a trace.
    pub async fn write(self, plan: &Plan, author: &Author<'_>) -> Result<(), Fault> {
        if plan.last_revision != self.revision || !plan.inbox.is_empty() {
            self.write_versions(&plan.writes, author).await?;
            self.write_inbox(&plan.inbox, author).await?;
            let new = plan.writes.iter().filter(|write| write.replaces.is_none());
            let advance: [&(dyn ToSql + Sync); 6] = [
                &self.scope.as_str(),
                &self.revision.number(),
                &plan.last_revision.number(),
                &(new.count() as i64),
                &plan.inbox.opened,
                &!plan.inbox.conflicts.is_empty(),
            ];
            self.run(ADVANCE_SCOPE, &advance, 1).await?;
        }
        let record = self.transaction.prepare_cached(RECORD_DEVICE).await?;
        let info = author.info;
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &info.label,
            &info.platform,
            &info.app_version,
            &info.pending_count,
            &system_time(author.now),
        ];
        self.transaction.execute(&record, &parameters).await?;
        self.transaction.commit().await?;
        Ok(())
    }

    /// Ends a batch that shall leave no trace.
    pub async fn discard(self) -> Result<(), Fault> {
        Ok(self.transaction.rollback().await?)
    }

    /// Commits what was touched.
    pub(super) async fn commit(self) -> Result<(), Fault> {
        Ok(self.transaction.commit().await?)
    }

    /// Runs a statement and returns how many rows it touched.
    pub(super) async fn touch(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.execute(&statement, parameters).await?)
    }

    /// Runs a statement that must touch exactly `rows` rows; with none to touch it is left out.
    async fn run(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        rows: usize,
    ) -> Result<(), Fault> {
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
