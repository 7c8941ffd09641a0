//! What rows read for a batch say.

use std::sync::Arc;

use tokio_postgres::Row;

use super::super::columns::{millis, parsed, resolution, version};
use crate::domain::decide::{Merged, Written};
use crate::domain::entity::{Content, Document, MutationId, Stored};
use crate::domain::scope::DeviceId;
use crate::domain::version::Version;
use crate::error::Fault;

/// What a version held; `None`: retention has removed it. With the columns `deleted` and `data`.
pub(in crate::store) fn content(row: &Row) -> Result<Option<Content>, Fault> {
    let data: Option<String> = row.try_get("data")?;
    Ok(match data {
        Some(text) => Some(Content::Live(Arc::new(Document::from_store(text)))),
        None if row.try_get("deleted")? => Some(Content::Tombstone),
        None => None,
    })
}

/// Likewise, of which there may have been more than one batch may read (column `withheld`).
pub(super) fn content_within_bounds(row: &Row) -> Result<Option<Content>, Fault> {
    match row.try_get("withheld")? {
        true => Ok(Some(Content::Withheld)),
        false => content(row),
    }
}

/// A row of [`super::read::READ_ENTITIES`].
pub(in crate::store) fn stored(row: &Row) -> Result<Stored, Fault> {
    let deleted: bool = row.try_get("deleted")?;
    let data: Option<String> = row.try_get("data")?;
    let base: Option<i32> = row.try_get("base_version")?;
    Ok(Stored {
        version: version(row, "version")?,
        content: match data {
            _ if deleted => Content::Tombstone,
            _ if row.try_get("withheld")? => Content::Withheld,
            Some(text) => Content::Live(Arc::new(Document::from_store(text))),
            None => Content::NotLoaded,
        },
        device: parsed(row, "device_id", DeviceId::new)?,
        device_label: row.try_get("device_label")?,
        foreign_version: version(row, "foreign_version")?,
        base: base.and_then(Version::new),
        mutation: MutationId(row.try_get("mutation_id")?),
        merged: row.try_get("merged")?,
        edit_time: millis(row, "edit_time")?,
        clock_offset_ms: row.try_get("clock_offset_ms")?,
        updated_at: millis(row, "updated_at")?,
    })
}

pub(super) fn written_before(row: &Row) -> Result<Written, Fault> {
    let data: Option<String> = row.try_get("data")?;
    Ok(Written {
        version: version(row, "version")?,
        resolution: parsed(row, "resolution", resolution)?,
        at: millis(row, "updated_at")?,
        merged: match data {
            Some(text) => Some(Merged {
                document: Arc::new(Document::from_store(text)),
                edit_time: millis(row, "edit_time")?,
            }),
            None => None,
        },
        withheld: row.try_get("withheld")?,
    })
}
