//! Deleting accounts: the mark that outlives the rows, and the rows in small steps.
//!
//! Once the mark is there nothing of the account is told any more and nothing written, though its rows may
//! take a while to go.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Store;
use super::columns::{millis, revision, system_time, unexpected};
use super::export::{Counts, counts};
use super::session::{Behalf, Parameters};
use crate::domain::clock::Millis;
use crate::domain::scope::Scope;
use crate::domain::version::Revision;
use crate::error::{CallError, Fault, Refusal};

pub(super) const READ_ERASURE: &str = include_str!("sql/read_erasure.sql");
const MARK_ERASED: &str = include_str!("sql/mark_erased.sql");
const ERASE_ROWS: &str = include_str!("sql/erase_rows.sql");
const ERASE_SCOPE: &str = include_str!("sql/erase_scope.sql");
const OWN_REGISTRY: &str = include_str!("sql/own_registry.sql");
const LIST_ERASURES: &str = include_str!("sql/list_erasures.sql");
const REMEMBER_ERASURES: &str = include_str!("sql/remember_erasures.sql");
const FIND_ERASURE: &str = include_str!("sql/find_erasure.sql");
const FORGET_ERASURE: &str = include_str!("sql/forget_erasure.sql");
const REOPEN_SCOPE: &str = include_str!("sql/reopen_scope.sql");

/// Which advisory lock those who write devices of many scopes share. Any number will do, as long as it never
/// changes.
pub(super) const REGISTRY_LOCK: i64 = 0x1F0D_5EE4;

/// SHA-256 of a scope.
pub type ScopeDigest = [u8; 32];

/// The mark of a deleted account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Which.
    pub digest: ScopeDigest,
    /// When it was deleted.
    pub erased_at: Millis,
    /// The last revision of its scope.
    pub revision: Revision,
}

/// What one step of a deletion did.
#[derive(Debug, Clone, Copy)]
pub struct ErasedSome {
    /// Rows that went.
    pub counts: Counts,
    /// Nothing is left.
    pub finished: bool,
}

impl Store {
    /// Asks one thing about an account that was not deleted. One round trip; what it finds is looked at only
    /// if there is no mark behind it.
    pub(super) async fn ask_account(
        &self,
        scope: &Scope,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, CallError> {
        let name = scope.as_str();
        let own: [&(dyn ToSql + Sync); 1] = [&name];
        let questions = [(sql, parameters), (READ_ERASURE, own.as_slice())];
        let session = self.session().await?;
        let [rows, erased] = session.ask(scope, questions).await?;
        match erased.is_empty() {
            true => Ok(rows),
            false => Err(Refusal::AccountDeleted.into()),
        }
    }

    /// Whether an account was deleted.
    pub async fn is_erased(&self, scope: &Scope) -> Result<bool, Fault> {
        let row = self
            .ask_opt(scope, READ_ERASURE, &[&scope.as_str()])
            .await?;
        Ok(row.is_some())
    }

    /// Marks an account as deleted: from now on it tells and takes nothing. The revision its watchers are to
    /// be told of; `None`: it was marked before.
    pub async fn mark_erased(&self, scope: &Scope, now: Millis) -> Result<Option<Revision>, Fault> {
        let batch = match self.begin(scope).await {
            Ok(batch) => batch,
            // Marked before: `begin` refuses nothing else.
            Err(CallError::Refused(_)) => return Ok(None),
            Err(CallError::Failed(fault)) => return Err(fault),
        };
        let last = batch.revision().after(1);
        let mark: [&(dyn ToSql + Sync); 3] = [&scope.as_str(), &system_time(now), &last.number()];
        batch.touch(MARK_ERASED, &mark).await?;
        Ok(Some(batch.nudge().await?))
    }

    /// Deletes rows of an account that is marked, at most `rows_max` of each table; to be called until it has
    /// finished. The scope's own row is the last, so what is left can be found.
    pub async fn erase_some(&self, scope: &Scope, rows_max: i64) -> Result<ErasedSome, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&scope.as_str(), &rows_max];
        let Some(batch) = self.lock(scope).await? else {
            return Ok(ErasedSome {
                counts: Counts::default(),
                finished: true,
            });
        };
        // It may have been opened again while this waited: then there is nothing to erase.
        if batch
            .query(READ_ERASURE, &parameters[..1])
            .await?
            .is_empty()
        {
            batch.discard().await?;
            return Ok(ErasedSome {
                counts: Counts::default(),
                finished: true,
            });
        }
        let mut gone = erased(&batch.query(ERASE_ROWS, &parameters).await?)?;
        let mut finished = gone.all() == 0;
        if finished {
            // Devices may have been written without the lock of the scope. Behind this none are any more.
            batch.query(OWN_REGISTRY, &[&REGISTRY_LOCK]).await?;
            gone = erased(&batch.query(ERASE_ROWS, &parameters).await?)?;
            finished = gone.devices < rows_max;
        }
        if finished {
            batch.touch(ERASE_SCOPE, &parameters[..1]).await?;
        }
        batch.commit().await?;
        Ok(ErasedSome {
            counts: gone,
            finished,
        })
    }

    /// A page of all marks, by digest.
    pub async fn list_erasures(
        &self,
        after: Option<&ScopeDigest>,
        limit: i64,
    ) -> Result<Vec<Erasure>, Fault> {
        let after = after.map(ScopeDigest::as_slice).unwrap_or_default();
        let parameters: [&(dyn ToSql + Sync); 2] = [&after, &limit];
        let rows = self.ask(Behalf::Keeper, LIST_ERASURES, &parameters).await?;
        rows.iter().map(erasure).collect()
    }

    /// Puts marks back that a backup did not have, as the operator; how many were missing.
    pub async fn remember_erasures(&self, erasures: &[Erasure]) -> Result<u64, Fault> {
        let digests: Vec<&[u8]> = erasures.iter().map(|e| e.digest.as_slice()).collect();
        let times: Vec<_> = erasures.iter().map(|e| system_time(e.erased_at)).collect();
        let revisions: Vec<i64> = erasures.iter().map(|e| e.revision.number()).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&digests, &times, &revisions];
        let owner = self.owner().await?;
        Ok(owner.execute(REMEMBER_ERASURES, &parameters).await?)
    }

    /// Opens an account again that was deleted and has no rows left, as the operator; false: it is not marked.
    pub async fn reopen(&self, scope: &Scope) -> Result<bool, Fault> {
        let session = self.session().await?;
        let name = scope.as_str();
        let own: [&(dyn ToSql + Sync); 1] = [&name];
        let question = (FIND_ERASURE, own.as_slice());
        let [found] = session.start(Behalf::Owner(scope), [question]).await?;
        let Some(mark) = found.first() else {
            session.rollback().await?;
            return Ok(false);
        };
        // The scope's row first, which locks it: whoever still erases waits, and finds no mark.
        let last: i64 = mark.try_get("revision")?;
        session.execute(REOPEN_SCOPE, &[&name, &last]).await?;
        let forgotten = session.execute(FORGET_ERASURE, &own).await?;
        session.commit().await?;
        Ok(forgotten == 1)
    }
}

fn erased(rows: &[Row]) -> Result<Counts, Fault> {
    counts(rows.first().ok_or_else(|| unexpected("devices"))?)
}

fn erasure(row: &Row) -> Result<Erasure, Fault> {
    let digest: &[u8] = row.try_get("scope_digest")?;
    Ok(Erasure {
        digest: digest.try_into().map_err(|_| unexpected("scope_digest"))?,
        erased_at: millis(row, "erased_at")?,
        revision: revision(row, "revision")?,
    })
}
