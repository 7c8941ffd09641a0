//! Reading everything there is of a user, page by page in the order of the primary keys.
//!
//! A page is one statement in a transaction of its own, bounded in rows and bytes, so a reader may take as
//! long as they like. Pages together are no snapshot: what is written meanwhile may or may not be in them.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{
    cause, entity_key, millis, optional_millis, parsed, resolution, revision, rule, unexpected,
    version,
};
use super::conflict::conflict;
use super::device::{KnownDevice, LastError, known_device};
use super::inbox::{LabelledSide, side};
use super::session::Parameters;
use super::standing::subscription;
use crate::domain::clock::Millis;
use crate::domain::conflict::Conflict;
use crate::domain::decide::{Resolution, Rule};
use crate::domain::entity::{Document, EntityKey, MutationId};
use crate::domain::plan::Cause;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::Subscription;
use crate::domain::version::{Revision, Version};
use crate::error::{CallError, Fault};

const COUNT_ACCOUNT: &str = include_str!("sql/count_account.sql");
const EXPORT_DEVICES: &str = include_str!("sql/export_devices.sql");
const EXPORT_ENTITIES: &str = include_str!("sql/export_entities.sql");
const EXPORT_VERSIONS: &str = include_str!("sql/export_versions.sql");
const EXPORT_SIDES: &str = include_str!("sql/export_sides.sql");
const EXPORT_CONFLICTS: &str = include_str!("sql/export_conflicts.sql");

/// Rows of a page: what keeps a page of small ones short.
const PAGE_ROWS: i64 = 500;

/// Data of a page, about: the row that passes it is its last. One row always fits.
const PAGE_BYTES: i64 = 1024 * 1024;

/// How many rows of each kind there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices.
    pub devices: i64,
    /// Entities, tombstones included.
    pub entities: i64,
    /// Superseded versions.
    pub old_versions: i64,
    /// Losing sides.
    pub losing_sides: i64,
    /// Conflicts, open and settled.
    pub conflicts: i64,
}

impl Counts {
    /// How many rows of all kinds.
    pub fn all(self) -> u64 {
        let all =
            self.devices + self.entities + self.old_versions + self.losing_sides + self.conflicts;
        all.unsigned_abs()
    }

    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        Self {
            devices: self.devices + more.devices,
            entities: self.entities + more.entities,
            old_versions: self.old_versions + more.old_versions,
            losing_sides: self.losing_sides + more.losing_sides,
            conflicts: self.conflicts + more.conflicts,
        }
    }
}

/// What there is of a user.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// The last revision given out in their scope; 0: it was never written.
    pub revision: Revision,
    /// How many rows.
    pub counts: Counts,
    /// What is paid for.
    pub paid: Subscription,
}

/// A device with everything that is known of it.
#[derive(Debug)]
pub struct ExportedDevice {
    /// What the registry tells everybody.
    pub known: KnownDevice,
    /// When it was first seen.
    pub first_seen: Millis,
    /// Up to which revision it has everything; `None`: it never pulled.
    pub pulled: Option<Revision>,
    /// Its own count of its batches; 0: it does not count.
    pub batches: i64,
    /// What it was told is wrong, the latest first.
    pub last_errors: Vec<LastError>,
}

/// A version of an entity with everything that is known of it.
#[derive(Debug)]
pub struct ExportedVersion {
    /// The entity.
    pub key: EntityKey,
    /// The version.
    pub version: Version,
    /// Its place in the order of changes.
    pub revision: Revision,
    /// The entity was deleted.
    pub deleted: bool,
    /// Its data; `None` for a deletion, and if retention has removed it.
    pub document: Option<Document>,
    /// Who wrote it.
    pub device: DeviceId,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server wrote it.
    pub updated_at: Millis,
    /// The edit.
    pub mutation: MutationId,
    /// How it was settled.
    pub resolution: Resolution,
    /// What made it.
    pub cause: Cause,
    /// The rule that decided; `None`: from before this was kept.
    pub rule: Option<Rule>,
    /// The policy, for rule 9.
    pub policy: Option<String>,
    /// What is kept of current versions only.
    pub current: Option<CurrentOnly>,
}

/// What is kept of the current version of an entity, and goes when it is superseded.
#[derive(Debug)]
pub struct CurrentOnly {
    /// When the server first wrote the entity.
    pub created_at: Millis,
    /// The base of the edit; `None`: from before this was kept, or by a person's decision.
    pub base: Option<Version>,
    /// The newest version somebody else wrote.
    pub foreign_version: Version,
    /// What was added to the times of the device's clock to get the server's.
    pub clock_offset_ms: i64,
    /// When what the entity tells of began.
    pub began_at: Option<Millis>,
}

/// The place of a version or losing side behind which a page begins.
#[derive(Debug, Clone)]
pub struct ExportPlace<T> {
    entity_type: String,
    entity_id: Uuid,
    rest: T,
}

impl<T> ExportPlace<T> {
    /// Before all of them.
    pub fn first(rest: T) -> Self {
        Self {
            entity_type: String::new(),
            entity_id: Uuid::nil(),
            rest,
        }
    }

    /// Behind a row.
    pub fn behind(key: &EntityKey, rest: T) -> Self {
        Self {
            entity_type: key.entity_type.as_str().to_owned(),
            entity_id: key.entity_id,
            rest,
        }
    }
}

impl Store {
    /// Counts what there is of a user.
    pub async fn count_account(&self, scope: &Scope) -> Result<Account, Fault> {
        let row = self
            .ask_opt(scope, COUNT_ACCOUNT, &[&scope.as_str()])
            .await?;
        let row = row.ok_or_else(|| unexpected("revision"))?;
        Ok(Account {
            revision: revision(&row, "revision")?,
            counts: counts(&row)?,
            paid: subscription(&row)?,
        })
    }

    /// Reads a page of devices, behind one; an empty page: there are no more.
    pub async fn export_devices(
        &self,
        scope: &Scope,
        behind: Option<&DeviceId>,
    ) -> Result<Vec<ExportedDevice>, CallError> {
        let behind = behind.map(DeviceId::as_str).unwrap_or_default();
        let parameters: Parameters<'_> = &[&scope.as_str(), &behind, &PAGE_ROWS];
        let rows = self.ask_account(scope, EXPORT_DEVICES, parameters).await?;
        Ok(rows
            .iter()
            .map(exported_device)
            .collect::<Result<_, Fault>>()?)
    }

    /// Reads a page of entities at their current versions, likewise.
    pub async fn export_entities(
        &self,
        scope: &Scope,
        behind: &ExportPlace<()>,
    ) -> Result<Vec<ExportedVersion>, CallError> {
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope.as_str(),
            &behind.entity_type,
            &behind.entity_id,
            &PAGE_ROWS,
            &PAGE_BYTES,
        ];
        let rows = self
            .ask_account(scope, EXPORT_ENTITIES, &parameters)
            .await?;
        let exported = rows.iter().map(|row| {
            let current = Some(current_only(row)?);
            Ok(ExportedVersion {
                current,
                ..exported_version(row)?
            })
        });
        Ok(exported.collect::<Result<_, Fault>>()?)
    }

    /// Reads a page of superseded versions, likewise.
    pub async fn export_versions(
        &self,
        scope: &Scope,
        behind: &ExportPlace<Version>,
    ) -> Result<Vec<ExportedVersion>, CallError> {
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &scope.as_str(),
            &behind.entity_type,
            &behind.entity_id,
            &behind.rest.number(),
            &PAGE_ROWS,
            &PAGE_BYTES,
        ];
        let rows = self
            .ask_account(scope, EXPORT_VERSIONS, &parameters)
            .await?;
        Ok(rows
            .iter()
            .map(exported_version)
            .collect::<Result<_, Fault>>()?)
    }

    /// Reads a page of losing sides, likewise.
    pub async fn export_sides(
        &self,
        scope: &Scope,
        behind: &ExportPlace<MutationId>,
    ) -> Result<Vec<LabelledSide>, CallError> {
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &scope.as_str(),
            &behind.entity_type,
            &behind.entity_id,
            &behind.rest.0,
            &PAGE_ROWS,
            &PAGE_BYTES,
        ];
        let rows = self.ask_account(scope, EXPORT_SIDES, &parameters).await?;
        Ok(rows.iter().map(side).collect::<Result<_, Fault>>()?)
    }

    /// Reads a page of conflicts, likewise.
    pub async fn export_conflicts(
        &self,
        scope: &Scope,
        behind: Uuid,
    ) -> Result<Vec<Conflict>, CallError> {
        let parameters: Parameters<'_> = &[&scope.as_str(), &behind, &PAGE_ROWS];
        let rows = self
            .ask_account(scope, EXPORT_CONFLICTS, parameters)
            .await?;
        Ok(rows.iter().map(conflict).collect::<Result<_, Fault>>()?)
    }
}

/// A row with a column for each count.
pub(super) fn counts(row: &Row) -> Result<Counts, Fault> {
    Ok(Counts {
        devices: row.try_get("devices")?,
        entities: row.try_get("entities")?,
        old_versions: row.try_get("old_versions")?,
        losing_sides: row.try_get("losing_sides")?,
        conflicts: row.try_get("conflicts")?,
    })
}

fn exported_device(row: &Row) -> Result<ExportedDevice, Fault> {
    let pulled: Option<i64> = row.try_get("pulled_revision")?;
    Ok(ExportedDevice {
        known: known_device(row)?,
        first_seen: millis(row, "first_seen_at")?,
        pulled: pulled.map(Revision::new),
        batches: row.try_get("batch_number")?,
        last_errors: serde_json::from_str(row.try_get("last_errors")?)
            .map_err(|_| unexpected("last_errors"))?,
    })
}

fn exported_version(row: &Row) -> Result<ExportedVersion, Fault> {
    let data: Option<String> = row.try_get("data")?;
    Ok(ExportedVersion {
        key: entity_key(row)?,
        version: version(row, "version")?,
        revision: revision(row, "revision")?,
        deleted: row.try_get("deleted")?,
        document: data.map(Document::from_store),
        device: parsed(row, "device_id", DeviceId::new)?,
        edit_time: millis(row, "edit_time")?,
        updated_at: millis(row, "updated_at")?,
        mutation: MutationId(row.try_get("mutation_id")?),
        resolution: parsed(row, "resolution", resolution)?,
        cause: parsed(row, "cause", cause)?,
        rule: rule(row)?,
        policy: row.try_get("policy")?,
        current: None,
    })
}

fn current_only(row: &Row) -> Result<CurrentOnly, Fault> {
    let base: Option<i32> = row.try_get("base_version")?;
    Ok(CurrentOnly {
        created_at: millis(row, "created_at")?,
        base: base.and_then(Version::new),
        foreign_version: version(row, "foreign_version")?,
        clock_offset_ms: row.try_get("clock_offset_ms")?,
        began_at: optional_millis(row, "began_at")?,
    })
}
