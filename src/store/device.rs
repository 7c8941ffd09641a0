//! The installations of an app a user calls from.

use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{millis, optional_millis, ordinal, parsed, system_time, unexpected};
use super::erasure::REGISTRY_LOCK;
use super::session::{Behalf, Session};
use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Revision;
use crate::error::Fault;

const RECORD_SEEN: &str = include_str!("sql/record_seen.sql");
const SHARE_REGISTRY: &str = include_str!("sql/share_registry.sql");
const LOCK_DEVICES: &str = include_str!("sql/lock_devices.sql");
const RECORD_ERRORS: &str = include_str!("sql/record_errors.sql");
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

/// Different errors of a device that are kept: the latest.
pub const ERRORS_KEPT: usize = 5;

/// An error a device was told of, as the registry keeps it and commands show it. Times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When it was last told.
    pub last_time: i64,
    /// When it was first told.
    pub first_time: i64,
    /// How often.
    pub count: i64,
    /// The code of an item's error, or the reason a call was refused for.
    pub code: String,
    /// What it was told. Nothing of what was sent.
    pub message: String,
    /// The type of the entity it was about; `None`: the whole call.
    pub entity_type: Option<String>,
    /// The entity it was about.
    pub entity_id: Option<Uuid>,
}

impl LastError {
    /// Whether both are the same, told again.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.code, &self.entity_type, self.entity_id)
            == (&other.code, &other.entity_type, other.entity_id)
    }
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
    /// deleted account, none. Those that somebody else was writing are left, and returned.
    pub async fn record_seen(&self, seen: &[Seen], devices_max: usize) -> Result<Vec<Seen>, Fault> {
        let session = self.session().await?;
        let registry: [&(dyn ToSql + Sync); 1] = [&REGISTRY_LOCK];
        let share = (SHARE_REGISTRY, registry.as_slice());
        session.start(Behalf::Keeper, [share]).await?;
        let devices = seen.iter().map(|seen| (&seen.scope, &seen.device));
        let busy = lock_devices(&session, devices).await?;
        let (left, seen): (Vec<_>, Vec<_>) = seen.iter().zip(busy).partition(|(_, busy)| *busy);
        let seen: Vec<&Seen> = seen.into_iter().map(|(seen, _)| seen).collect();
        let pulled = |seen: &&Seen| seen.pulled.map(Revision::number);
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
        session.execute(RECORD_SEEN, &parameters).await?;
        session.commit().await?;
        Ok(left.into_iter().map(|(seen, _)| seen.clone()).collect())
    }

    /// Adds to the last errors of devices, each device once: the latest [`ERRORS_KEPT`] of each stay. Devices that
    /// are not known, or that somebody else is writing, are left out.
    pub async fn record_errors(
        &self,
        errors: &[((Scope, DeviceId), Vec<LastError>)],
    ) -> Result<(), Fault> {
        if errors.is_empty() {
            return Ok(());
        }
        let session = self.session().await?;
        session.start(Behalf::Keeper, []).await?;
        let devices = errors.iter().map(|((scope, device), _)| (scope, device));
        let busy = lock_devices(&session, devices).await?;
        let free = || errors.iter().zip(&busy).filter(|(_, busy)| !**busy);
        let lists: Result<Vec<String>, _> = free()
            .map(|((_, errors), _)| serde_json::to_string(errors))
            .collect();
        let lists = lists.map_err(|error| Fault::Defect("errors".into(), Some(error.into())))?;
        let scopes: Vec<&str> = free().map(|(((scope, _), _), _)| scope.as_str()).collect();
        let devices: Vec<&str> = free()
            .map(|(((_, device), _), _)| device.as_str())
            .collect();
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&scopes, &devices, &lists, &(ERRORS_KEPT as i64)];
        session.execute(RECORD_ERRORS, &parameters).await?;
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

/// Locks devices until the transaction ends: of each whether somebody else has locked it.
async fn lock_devices<'a>(
    session: &Session,
    devices: impl Iterator<Item = (&'a Scope, &'a DeviceId)>,
) -> Result<Vec<bool>, Fault> {
    let (scopes, devices): (Vec<&str>, Vec<&str>) = devices
        .map(|(scope, device)| (scope.as_str(), device.as_str()))
        .unzip();
    let mut busy = vec![false; scopes.len()];
    for row in session.query(LOCK_DEVICES, &[&scopes, &devices]).await? {
        let place = busy.get_mut(ordinal(&row)?);
        *place.ok_or_else(|| unexpected("ordinal"))? = true;
    }
    Ok(busy)
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
