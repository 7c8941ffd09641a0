//! Reading the conflict inbox.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Store;
use super::batch::{READ_ENTITIES, content, stored};
use super::columns::{entity_key, millis, optional_millis, parsed, revision, unexpected, version};
use super::conflict::conflict;
use super::session::Behalf;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId, ContentId, LosingSide};
use crate::domain::entity::{Content, Document, EntityKey, EntityType, MutationId, Stored};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::{Revision, Version};
use crate::error::{CallError, Fault};

const LIST_CONFLICTS: &str = include_str!("sql/list_conflicts.sql");
const COUNT_OPEN: &str = include_str!("sql/count_open.sql");
const FIND_CONFLICT: &str = include_str!("sql/find_conflict.sql");
const FOLLOW_CONFLICTS: &str = include_str!("sql/follow_conflicts.sql");
const READ_SIDES: &str = include_str!("sql/read_sides.sql");
const MEASURE_CONFLICTS: &str = include_str!("sql/measure_conflicts.sql");
const READ_VERSION: &str = include_str!("sql/read_version.sql");

/// Which conflicts to list.
#[derive(Debug, Clone)]
pub struct ConflictQuery {
    /// Whose.
    pub scope: Scope,
    /// The open ones; false: the settled ones.
    pub open: bool,
    /// Only of this type.
    pub entity_type: Option<EntityType>,
    /// Only those that changed before this revision.
    pub before: Option<Revision>,
    /// How many at most.
    pub limit: i64,
}

/// A page of conflicts.
#[derive(Debug)]
pub struct ConflictPage {
    /// Each with the label of its device, the one that changed last first.
    pub conflicts: Vec<(Conflict, Option<String>)>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Revision>,
    /// How many conflicts wait for the person.
    pub open: i32,
}

/// A losing side, with what its device is called.
#[derive(Debug)]
pub struct LabelledSide {
    /// The side; without its data where there was too much to tell.
    pub side: LosingSide,
    /// It deletes the entity.
    pub deleted: bool,
    /// What its device is called.
    pub device_label: Option<String>,
}

/// A stretch of a scope's order of changes, to read the conflict inbox by.
#[derive(Debug, Clone, Copy)]
pub struct InboxStretch {
    /// Behind this revision..
    pub after: Revision,
    /// ..up to this one.
    pub until: Revision,
    /// Up to here only open conflicts count: the device begins, settled ones are nothing to it.
    pub began_at: Revision,
}

/// The conflicts that wait for a person, of all users together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingConflicts {
    /// How many.
    pub open: i64,
    /// When the oldest was opened; `None`: there is none.
    pub oldest: Option<Millis>,
}

impl Store {
    /// Counts the conflicts that wait for a person, at most `limit`.
    pub async fn measure_conflicts(&self, limit: i64) -> Result<WaitingConflicts, Fault> {
        let row = self
            .ask_opt(Behalf::Keeper, MEASURE_CONFLICTS, &[&limit])
            .await?;
        let row = row.ok_or_else(|| unexpected("open"))?;
        Ok(WaitingConflicts {
            open: row.try_get("open")?,
            oldest: optional_millis(&row, "oldest_at")?,
        })
    }

    /// Reads a page of conflicts.
    pub async fn list_conflicts(&self, query: &ConflictQuery) -> Result<ConflictPage, CallError> {
        let scope = query.scope.as_str();
        let one_more = query.limit + 1;
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope,
            &query.open,
            &query.entity_type.as_ref().map(EntityType::as_str),
            &query.before.map_or(i64::MAX, Revision::number),
            &one_more,
        ];
        let scope_parameter: [&(dyn ToSql + Sync); 1] = [&scope];
        let (mut rows, open) = tokio::try_join!(
            self.ask_account(&query.scope, LIST_CONFLICTS, &parameters),
            async { Ok(self.ask(&query.scope, COUNT_OPEN, &scope_parameter).await?) },
        )?;
        let more = rows.len() > query.limit as usize;
        rows.truncate(query.limit as usize);
        let last = rows.last().filter(|_| more);
        Ok(ConflictPage {
            next: last.map(|row| revision(row, "revision")).transpose()?,
            conflicts: rows.iter().map(labelled).collect::<Result<_, Fault>>()?,
            open: match open.first() {
                Some(row) => row.try_get("open_conflicts").map_err(Fault::from)?,
                None => 0,
            },
        })
    }

    /// Reads one conflict, with the label of its device.
    pub async fn find_conflict(
        &self,
        scope: &Scope,
        id: ConflictId,
    ) -> Result<Option<(Conflict, Option<String>)>, CallError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&scope.as_str(), &id.0];
        let rows = self.ask_account(scope, FIND_CONFLICT, &parameters).await?;
        Ok(rows.first().map(labelled).transpose()?)
    }

    /// Reads how the inbox has changed within a stretch, in order.
    pub async fn follow_conflicts(
        &self,
        scope: &Scope,
        stretch: InboxStretch,
        limit: i64,
    ) -> Result<Vec<(Revision, Conflict)>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope.as_str(),
            &stretch.after.number(),
            &stretch.until.number(),
            &stretch.began_at.number(),
            &limit,
        ];
        let rows = self.ask(scope, FOLLOW_CONFLICTS, &parameters).await?;
        rows.iter()
            .map(|row| Ok((revision(row, "revision")?, conflict(row)?)))
            .collect()
    }

    /// Reads the losing sides of a conflict: `current` and then the newest. Data beyond about a mebibyte is
    /// left out, but not that of the first.
    pub async fn read_sides(
        &self,
        scope: &Scope,
        id: ConflictId,
        current: MutationId,
        limit: i64,
    ) -> Result<Vec<LabelledSide>, Fault> {
        const BYTES_MAX: i64 = 1024 * 1024;
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&scope.as_str(), &id.0, &current.0, &limit, &BYTES_MAX];
        let rows = self.ask(scope, READ_SIDES, &parameters).await?;
        rows.iter().map(side).collect()
    }

    /// Reads what an entity holds now.
    pub async fn read_current(
        &self,
        scope: &Scope,
        key: &EntityKey,
    ) -> Result<Option<Stored>, Fault> {
        /// No version is this: the data is read.
        const ANY: [i32; 1] = [-1];
        let (entity_types, entity_ids) = ([key.entity_type.as_str()], [key.entity_id]);
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope.as_str(),
            &entity_types.as_slice(),
            &entity_ids.as_slice(),
            &ANY.as_slice(),
            &i64::MAX,
        ];
        let row = self.ask_opt(scope, READ_ENTITIES, &parameters).await?;
        row.as_ref().map(stored).transpose()
    }

    /// Reads what an entity held at a version; `None`: there is no such version, or retention has removed
    /// its data.
    pub async fn read_content(
        &self,
        scope: &Scope,
        key: &EntityKey,
        version: Version,
    ) -> Result<Option<Content>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &scope.as_str(),
            &key.entity_type.as_str(),
            &key.entity_id,
            &version.number(),
        ];
        let Some(row) = self.ask_opt(scope, READ_VERSION, &parameters).await? else {
            return Ok(None);
        };
        content(&row)
    }
}

pub(super) fn labelled(row: &Row) -> Result<(Conflict, Option<String>), Fault> {
    Ok((conflict(row)?, row.try_get("device_label")?))
}

pub(super) fn side(row: &Row) -> Result<LabelledSide, Fault> {
    let data: Option<String> = row.try_get("data")?;
    let side = LosingSide {
        key: entity_key(row)?,
        mutation: MutationId(row.try_get("mutation_id")?),
        conflict: ConflictId(row.try_get("conflict_id")?),
        device: parsed(row, "device_id", DeviceId::new)?,
        base: version(row, "base_version")?,
        server_version: version(row, "server_version")?,
        content: ContentId(row.try_get("content_id")?),
        document: data.map(|text| Arc::new(Document::from_store(text))),
        edit_time: millis(row, "edit_time")?,
        received_at: millis(row, "received_at")?,
    };
    Ok(LabelledSide {
        side,
        deleted: row.try_get("deleted")?,
        device_label: row.try_get("device_label")?,
    })
}
