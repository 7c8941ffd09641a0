//! Reading what entities held before.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{
    cause, entity_key, millis, parsed, resolution, revision, rule, unexpected, version,
};
use crate::domain::clock::Millis;
use crate::domain::conflict::ConflictId;
use crate::domain::decide::{Resolution, Rule};
use crate::domain::entity::{Document, EntityKey, EntityType, MutationId};
use crate::domain::plan::Cause;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::{Revision, Version};
use crate::error::{CallError, Fault};

const LIST_VERSIONS: &str = include_str!("sql/list_versions.sql");
const LIST_DELETED: &str = include_str!("sql/list_deleted.sql");

/// Data a page of a history or of the recycle bin shows: a call holds little more in memory.
const PAGE_BYTES_MAX: i64 = 1024 * 1024;

/// Deleted entities looked at for one page: looking for a rare type costs no more than this.
const DELETED_LOOKED_AT_MAX: i64 = 1_000;

/// A place in the history of an entity: a version, or a losing side behind the version it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryPlace {
    /// The version.
    pub version: Version,
    /// The losing side; `None`: the version itself.
    pub side: Option<MutationId>,
}

/// Which part of a history to list.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// Where the versions are kept.
    pub versions_in: Scope,
    /// Where the losing sides are kept.
    pub sides_in: Scope,
    /// The entity.
    pub key: EntityKey,
    /// Only what is older than this.
    pub behind: Option<HistoryPlace>,
    /// How many entries at most.
    pub limit: i64,
}

/// A page of the history of an entity.
#[derive(Debug)]
pub struct HistoryPage {
    /// The newest first; behind each version the losing sides that met it.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<HistoryPlace>,
}

/// A version, or what a device sent and lost with.
#[derive(Debug)]
pub struct HistoryEntry {
    /// Which of the two.
    pub kind: EntryKind,
    /// The version; of a losing side, the one it met.
    pub version: Version,
    /// It deleted the entity, or would have.
    pub deleted: bool,
    /// Its data; `None` for a deletion, and if retention has removed it.
    pub document: Option<Document>,
    /// Who wrote or sent it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server wrote or received it.
    pub updated_at: Millis,
    /// The edit.
    pub mutation: MutationId,
}

/// What an entry of a history is.
#[derive(Debug)]
pub enum EntryKind {
    /// A version, and why it was written.
    Version {
        /// It is what the entity holds now.
        current: bool,
        /// How it was settled.
        resolution: Resolution,
        /// What made it.
        cause: Cause,
        /// The rule that decided; `None`: from before this was kept.
        rule: Option<Rule>,
        /// The policy, for rule 9.
        policy: Option<String>,
    },
    /// A losing side, kept with its conflict.
    LosingSide(ConflictId),
}

/// Which part of the recycle bin to list.
#[derive(Debug, Clone)]
pub struct DeletedQuery {
    /// Whose.
    pub scope: Scope,
    /// Only of this type.
    pub entity_type: Option<EntityType>,
    /// Only what was deleted before this revision.
    pub before: Option<Revision>,
    /// How many at most.
    pub limit: i64,
}

/// A page of the recycle bin. It may be empty although there is more.
#[derive(Debug)]
pub struct DeletedPage {
    /// The one deleted last first.
    pub entities: Vec<DeletedEntity>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Revision>,
}

/// A deleted entity.
#[derive(Debug)]
pub struct DeletedEntity {
    /// Which one.
    pub key: EntityKey,
    /// The version of the tombstone.
    pub version: Version,
    /// Who deleted it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// When the deletion was made.
    pub edit_time: Millis,
    /// When the server deleted it.
    pub deleted_at: Millis,
    /// The last version that was no deletion; `None`: there is none.
    pub last_version: Option<Version>,
    /// Its data; `None` if retention has removed it.
    pub last_document: Option<Document>,
}

impl Store {
    /// Reads a page of the history of an entity, of at most about 1 MiB; one entry always fits.
    pub async fn list_versions(&self, query: &HistoryQuery) -> Result<HistoryPage, CallError> {
        let side = query.behind.and_then(|place| place.side);
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &query.versions_in.as_str(),
            &query.sides_in.as_str(),
            &query.key.entity_type.as_str(),
            &query.key.entity_id,
            &query.behind.map(|place| place.version.number()),
            &side.map(|side| side.0),
            &query.limit,
            &PAGE_BYTES_MAX,
        ];
        let rows = self
            .ask_account(&query.sides_in, LIST_VERSIONS, &parameters)
            .await?;
        let mut entries = Vec::new();
        let mut more = false;
        for row in &rows {
            match row.try_get("shown").map_err(Fault::from)? {
                true => entries.push(history_entry(row)?),
                false => more = true,
            }
        }
        let last = entries.last().filter(|_| more);
        let next = last.map(HistoryEntry::place);
        Ok(HistoryPage { entries, next })
    }

    /// Reads a page of the recycle bin, of at most about 1 MiB; one entity always fits.
    pub async fn list_deleted(&self, query: &DeletedQuery) -> Result<DeletedPage, CallError> {
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &query.scope.as_str(),
            &query.entity_type.as_ref().map(EntityType::as_str),
            &query.before.map(Revision::number),
            &query.limit,
            &PAGE_BYTES_MAX,
            &DELETED_LOOKED_AT_MAX,
        ];
        let rows = self
            .ask_account(&query.scope, LIST_DELETED, &parameters)
            .await?;
        let mut entities = Vec::new();
        let mut more = rows.len() as i64 == DELETED_LOOKED_AT_MAX;
        let mut passed = None;
        for row in &rows {
            let seen = |column| row.try_get(column).map_err(Fault::from);
            match (seen("shown")?, seen("wanted")?) {
                (true, _) => entities.push(deleted_entity(row)?),
                // Of another type.
                (false, false) => (),
                // The page is full: the next one begins with it.
                (false, true) => {
                    more = true;
                    break;
                }
            }
            passed = Some(revision(row, "revision")?);
        }
        let next = passed.filter(|_| more);
        Ok(DeletedPage { entities, next })
    }
}

impl HistoryEntry {
    fn place(&self) -> HistoryPlace {
        HistoryPlace {
            version: self.version,
            side: match self.kind {
                EntryKind::Version { .. } => None,
                EntryKind::LosingSide(_) => Some(self.mutation),
            },
        }
    }
}

fn history_entry(row: &Row) -> Result<HistoryEntry, Fault> {
    let data: Option<String> = row.try_get("data")?;
    let conflict: Option<Uuid> = row.try_get("conflict_id")?;
    let kind = match row.try_get("losing_side")? {
        true => {
            let id = conflict.ok_or_else(|| unexpected("conflict_id"))?;
            EntryKind::LosingSide(ConflictId(id))
        }
        false => version_kind(row)?,
    };
    Ok(HistoryEntry {
        kind,
        version: version(row, "version")?,
        deleted: row.try_get("deleted")?,
        document: data.map(Document::from_store),
        device: parsed(row, "device_id", DeviceId::new)?,
        device_label: row.try_get("device_label")?,
        edit_time: millis(row, "edit_time")?,
        updated_at: millis(row, "updated_at")?,
        mutation: MutationId(row.try_get("mutation_id")?),
    })
}

fn version_kind(row: &Row) -> Result<EntryKind, Fault> {
    Ok(EntryKind::Version {
        current: row.try_get("current")?,
        resolution: parsed(row, "resolution", resolution)?,
        cause: parsed(row, "cause", cause)?,
        rule: rule(row)?,
        policy: row.try_get("policy")?,
    })
}

fn deleted_entity(row: &Row) -> Result<DeletedEntity, Fault> {
    let last_version: Option<i32> = row.try_get("last_version")?;
    let last_data: Option<String> = row.try_get("last_data")?;
    Ok(DeletedEntity {
        key: entity_key(row)?,
        version: version(row, "version")?,
        device: parsed(row, "device_id", DeviceId::new)?,
        device_label: row.try_get("device_label")?,
        edit_time: millis(row, "edit_time")?,
        deleted_at: millis(row, "updated_at")?,
        last_version: last_version
            .map(|number| Version::new(number).ok_or_else(|| unexpected("last_version")))
            .transpose()?,
        last_document: last_data.map(Document::from_store),
    })
}
