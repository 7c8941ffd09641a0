//! What decides whether a device of a user may do what it asks for.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Store;
use super::batch::Batch;
use super::columns::{millis, optional_millis, system_time, unexpected};
use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::{BatchMark, BatchNumber, Standing, Subscription};
use crate::domain::version::Revision;
use crate::error::{CallError, Fault};

pub(super) const READ_STANDING: &str = include_str!("sql/read_standing.sql");
const REVOKE_DEVICE: &str = include_str!("sql/revoke_device.sql");
const SET_ACCOUNT: &str = include_str!("sql/set_account.sql");
const READ_ACCOUNT: &str = include_str!("sql/read_account.sql");
const ALLOW_DEVICE: &str = include_str!("sql/allow_device.sql");

/// A device that is revoked.
#[derive(Debug, Clone, Copy)]
pub struct Revoked {
    /// Since when.
    pub at: Millis,
    /// Where its user's scope has got to by it.
    pub revision: Revision,
}

impl Store {
    /// How a device of a user stands.
    pub async fn read_standing(&self, scope: &Scope, device: &DeviceId) -> Result<Standing, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&scope.as_str(), &device.as_str()];
        let row = self.ask_opt(scope, READ_STANDING, &parameters).await?;
        standing(&row.ok_or_else(|| unexpected("revoked_at"))?)
    }

    /// Revokes a device, and moves its user's scope on, so that whoever watches looks again. `None`: the
    /// user has no such device.
    pub async fn revoke_device(
        &self,
        scope: &Scope,
        device: &DeviceId,
        now: Millis,
    ) -> Result<Option<Revoked>, CallError> {
        let batch = self.begin(scope).await?;
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&scope.as_str(), &device.as_str(), &system_time(now)];
        let rows = batch.query(REVOKE_DEVICE, &parameters).await?;
        let revoked = match rows.first() {
            Some(row) => Some(Revoked {
                at: millis(row, "revoked_at")?,
                revision: batch.nudge().await?,
            }),
            None => {
                batch.discard().await?;
                None
            }
        };
        Ok(revoked)
    }

    /// Says what a user has paid for, and moves their scope on, so that whoever watches looks again.
    pub async fn set_account(
        &self,
        scope: &Scope,
        paid: Subscription,
        now: Millis,
    ) -> Result<(), CallError> {
        let batch = self.begin(scope).await?;
        let (plan, until) = match paid {
            Subscription::Free => ("free", None),
            Subscription::Premium { until } => ("premium", until),
        };
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &scope.as_str(),
            &plan,
            &until.map(system_time),
            &system_time(now),
        ];
        batch.touch(SET_ACCOUNT, &parameters).await?;
        batch.nudge().await?;
        Ok(())
    }

    /// What a user has paid for.
    pub async fn read_account(&self, scope: &Scope) -> Result<Subscription, Fault> {
        let row = self
            .ask_opt(scope, READ_ACCOUNT, &[&scope.as_str()])
            .await?;
        row.as_ref().map_or(Ok(Subscription::Free), subscription)
    }

    /// Takes the revocation of a device back; false: the user has no such device.
    pub async fn allow_device(&self, scope: &Scope, device: &DeviceId) -> Result<bool, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&scope.as_str(), &device.as_str()];
        Ok(self.tell(scope, ALLOW_DEVICE, &parameters).await? > 0)
    }
}

impl Batch<'_> {
    /// How a device of the scope's user stands, under the lock: what has been decided about it by now
    /// counts for this batch.
    pub async fn read_standing(&self, device: &DeviceId) -> Result<Standing, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.scope().as_str(), &device.as_str()];
        let rows = self.query(READ_STANDING, &parameters).await?;
        standing(rows.first().ok_or_else(|| unexpected("revoked_at"))?)
    }
}

pub(super) fn standing(row: &Row) -> Result<Standing, Fault> {
    let number: Option<i64> = row.try_get("batch_number")?;
    let digest = row.try_get("batch_digest")?;
    let last_batch = match (number.and_then(BatchNumber::new), digest) {
        (Some(number), Some(digest)) => Some(BatchMark { number, digest }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(unexpected("batch_digest")),
    };
    Ok(Standing {
        erased: row.try_get("erased")?,
        revoked_at: optional_millis(row, "revoked_at")?,
        last_batch,
        account: subscription(row)?,
    })
}

/// What is paid for, by the columns of an account, if there is one.
pub(super) fn subscription(row: &Row) -> Result<Subscription, Fault> {
    let plan: Option<&str> = row.try_get("plan")?;
    match plan {
        Some("premium") => Ok(Subscription::Premium {
            until: optional_millis(row, "expires_at")?,
        }),
        Some("free") | None => Ok(Subscription::Free),
        Some(_) => Err(unexpected("plan")),
    }
}
