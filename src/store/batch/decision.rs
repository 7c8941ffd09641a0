//! Reading what a person decides about.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::conflict::conflict;
use super::Batch;
use super::read::Named;
use super::rows::content;
use crate::domain::conflict::{Conflict, ConflictId, Kind};
use crate::domain::entity::{Content, Document, EntityKey, MutationId};
use crate::domain::plan::Snapshot;
use crate::domain::resolve::Held;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Version;
use crate::error::Fault;

const READ_CONFLICT: &str = include_str!("../sql/read_conflict.sql");
const READ_VERSION: &str = include_str!("../sql/read_version.sql");
const READ_SIDE: &str = include_str!("../sql/read_side.sql");

impl Batch<'_> {
    /// A conflict, and the data of the losing side that counts now (`None`: it deletes the entity).
    pub async fn read_conflict(
        &self,
        id: ConflictId,
    ) -> Result<Option<(Conflict, Option<Arc<Document>>)>, Fault> {
        let rows = self
            .query(READ_CONFLICT, &[&self.scope.as_str(), &id.0])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let side: Option<String> = row.try_get("side")?;
        let side = side.map(|text| Arc::new(Document::from_store(text)));
        let conflict = conflict(row)?;
        let waits = conflict.kind == Kind::Edit && conflict.settled.is_none();
        if waits && !row.try_get::<_, bool>("side_found")? {
            return Err(Fault::Defect("an open conflict has no side".into(), None));
        }
        Ok(Some((conflict, side)))
    }

    /// What an entity held at a version; `None`: there is no such version.
    pub async fn read_version(
        &self,
        key: &EntityKey,
        version: Version,
    ) -> Result<Option<Held>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &key.entity_type.as_str(),
            &key.entity_id,
            &version.number(),
        ];
        held(&self.query(READ_VERSION, &parameters).await?)
    }

    /// What a device sent and lost with; `None`: there is no such side.
    pub async fn read_side(
        &self,
        key: &EntityKey,
        mutation: MutationId,
    ) -> Result<Option<Held>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &key.entity_type.as_str(),
            &key.entity_id,
            &mutation.0,
        ];
        held(&self.query(READ_SIDE, &parameters).await?)
    }

    /// Entities of a scope with their data (all of it: they are two at most), what this decision has done
    /// to them before, and their open conflicts.
    pub async fn read_whole(
        &self,
        scope: &Scope,
        keys: &[&EntityKey],
        mutation: MutationId,
        device: &DeviceId,
    ) -> Result<Snapshot, Fault> {
        let edits: Vec<(&EntityKey, MutationId)> =
            keys.iter().map(|key| (*key, mutation)).collect();
        let named = Named::whole(keys);
        let (entities, written, kept) = tokio::try_join!(
            self.read_named(scope, &named, i64::MAX),
            self.read_written_by(&edits),
            self.read_kept_by(&edits, device),
        )?;
        let open = match self.conflicts_open {
            true => self.read_open(&named, device).await?,
            false => Vec::new(),
        };
        Ok(Snapshot {
            revision: self.revision,
            entities,
            written,
            kept,
            open,
            ..Snapshot::default()
        })
    }
}

fn held(rows: &[Row]) -> Result<Option<Held>, Fault> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(match content(row)? {
        Some(Content::Live(document)) => Held::Content(Some(document)),
        Some(Content::Tombstone) => Held::Content(None),
        Some(Content::NotLoaded | Content::Withheld) | None => Held::Gone,
    }))
}
