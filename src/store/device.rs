//! The installations of an app a user calls from.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Store;
use super::columns::{millis, optional_millis, parsed, system_time, unexpected};
use super::erasure::REGISTRY_LOCK;
use super::session::Behalf;
use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Revision;
use crate::error::Fault;

const RECORD_SEEN: &str = include_str!("sql/record_seen.sql");
const SHARE_REGISTRY: &str = include_str!("sql/share_registry.sql");
const READ_DEVICES: &str = include_str!("sql/read_devices.sql");
const COUNT_WAITING: &str = include_str!("sql/count_waiting.sql");

/// Remembers the device of a batch.
pub(super) const RECORD_DEVICE: &str = include_str!("sql/record_device.sql");

/// What a device says of itself. `None`: nothing this time, what is known stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What a person would call it.
    pub label: Option<String>,
    /// Its operating system.
    pub platform: Option<String>,
    /// The version of the app.
    pub app_version: Option<String>,
    /// Items it still has queued.
    pub pending_count: Option<i32>,
}

/// A device that was here.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whose device.
    pub scope: Scope,
    /// Which.
    pub device: DeviceId,
    /// When.
    pub at: Millis,
    /// Up to which revision of its user's scope it has everything; `None`: it did not pull.
    pub pulled: Option<Revision>,
}

/// A device as the registry knows it.
#[derive(Debug)]
pub struct KnownDevice {
    /// Its id.
    pub device: DeviceId,
    /// What it said of itself when it last pushed.
    pub info: DeviceInfo,
    /// When it was last seen.
    pub last_seen: Millis,
    /// Since when it is revoked.
    pub revoked_at: Option<Millis>,
}

/// What waits for a device.
#[derive(Debug)]
pub struct Waiting {
    /// When the device was last seen; `None`: never.
    pub last_seen: Option<Millis>,
    /// How many entities others have changed since it pulled, as far as was counted.
    pub changes: i64,
    /// How many conflicts wait for the person.
    pub open_conflicts: i32,
}

impl Store {
    /// Remembers that devices were here; each device once. Of a user who has so many, no new ones; of a
    /// deleted account, none.
    pub async fn record_seen(&self, seen: &[Seen], devices_max: usize) -> Result<(), Fault> {
        let pulled = |seen: &Seen| seen.pulled.map(Revision::number);
        let devices_max = i64::try_from(devices_max).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &seen
                .iter()
                .map(|seen| seen.scope.as_str())
                .collect::<Vec<_>>(),
            &seen
                .iter()
                .map(|seen| seen.device.as_str())
                .collect::<Vec<_>>(),
            &seen
                .iter()
                .map(|seen| system_time(seen.at))
                .collect::<Vec<_>>(),
            &seen.iter().map(pulled).collect::<Vec<_>>(),
            &devices_max,
        ];
        let session = self.session().await?;
        let registry: [&(dyn ToSql + Sync); 1] = [&REGISTRY_LOCK];
        let share = (SHARE_REGISTRY, registry.as_slice());
        session.start(Behalf::Keeper, [share]).await?;
        session.execute(RECORD_SEEN, &parameters).await?;
        session.commit().await
    }

    /// The devices of a user, the one seen last first.
    pub async fn read_devices(&self, scope: &Scope, limit: i64) -> Result<Vec<KnownDevice>, Fault> {
        let rows = self
            .ask(scope, READ_DEVICES, &[&scope.as_str(), &limit])
            .await?;
        rows.iter().map(known_device).collect()
    }

    /// What waits for a device; counting stops at `limit`.
    pub async fn count_waiting(
        &self,
        scope: &Scope,
        device: &DeviceId,
        limit: i64,
    ) -> Result<Waiting, Fault> {
        let parameters: [&(dyn ToSql + Sync); 3] = [&scope.as_str(), &device.as_str(), &limit];
        let row = self.ask_opt(scope, COUNT_WAITING, &parameters).await?;
        let row = row.ok_or_else(|| unexpected("waiting"))?;
        Ok(Waiting {
            last_seen: optional_millis(&row, "last_seen_at")?,
            changes: row.try_get("waiting")?,
            open_conflicts: row.try_get("open_conflicts")?,
        })
    }
}

pub(super) fn known_device(row: &Row) -> Result<KnownDevice, Fault> {
    Ok(KnownDevice {
        device: parsed(row, "device_id", DeviceId::new)?,
        info: DeviceInfo {
            label: row.try_get("label")?,
            platform: row.try_get("platform")?,
            app_version: row.try_get("app_version")?,
            pending_count: row.try_get("pending_count")?,
        },
        last_seen: millis(row, "last_seen_at")?,
        revoked_at: optional_millis(row, "revoked_at")?,
    })
}
