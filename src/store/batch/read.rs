//! Reading what a batch names, as it is under the lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::columns::{
    millis, ordinal, parsed, resolution, system_time, unexpected, version,
};
use super::super::conflict::conflict;
use super::Batch;
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId, Kept};
use crate::domain::decide::{Merged, Written};
use crate::domain::entity::{Content, Document, EntityKey, MutationId, Stored};
use crate::domain::item::Item;
use crate::domain::plan::{Snapshot, Wanted};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Version;
use crate::error::Fault;

pub(in crate::store) const READ_ENTITIES: &str = include_str!("../sql/read_entities.sql");
const READ_WRITTEN: &str = include_str!("../sql/read_written.sql");
const READ_BASES: &str = include_str!("../sql/read_bases.sql");
const READ_KEPT: &str = include_str!("../sql/read_kept.sql");
const READ_OPEN: &str = include_str!("../sql/read_open.sql");
const READ_NEIGHBOURS: &str = include_str!("../sql/read_neighbours.sql");

/// Bytes of data read for one batch, and once more for what its items started from. An answer holds
/// less, so whatever lies beyond could not be shown anyway; and a small batch that names large entities
/// can not fill the memory.
const READ_BYTES_MAX: i64 = 8 * 1024 * 1024;

impl Batch<'_> {
    /// Reads what the items of a device need to be decided.
    pub async fn read(
        &self,
        items: &[&Item],
        device: &DeviceId,
        catalog: &Catalog,
    ) -> Result<Snapshot, Fault> {
        let (shared, own): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.read_only);
        let library = Scope::library();
        let (own_named, shared_named) = (Named::by(&own), Named::by(&shared));
        let own_edits = edits(&own);
        let (mut entities, written, shared) = tokio::try_join!(
            self.read_named(self.scope, &own_named),
            self.read_written_by(&own_edits),
            self.read_named(&library, &shared_named),
        )?;
        entities.extend(shared);
        let mut snapshot = Snapshot {
            revision: self.revision,
            entities,
            written,
            ..Snapshot::default()
        };
        let wanted = snapshot.wanted(items, catalog);
        let contested = edits(&wanted.contested);
        let (bases, kept, neighbours) = tokio::try_join!(
            self.read_bases(&wanted),
            self.read_kept_by(&contested),
            self.read_neighbours(&wanted),
        )?;
        snapshot.bases = bases;
        snapshot.kept = kept;
        snapshot.neighbours = neighbours;
        if self.conflicts_open {
            snapshot.open = self.read_open(&own_named, device).await?;
        }
        Ok(snapshot)
    }

    /// The entities that exist.
    pub(super) async fn read_named(
        &self,
        scope: &Scope,
        named: &Named<'_>,
    ) -> Result<HashMap<EntityKey, Stored>, Fault> {
        if named.keys.is_empty() {
            return Ok(HashMap::new());
        }
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope.as_str(),
            &entity_types(&named.keys),
            &entity_ids(&named.keys),
            &named.bases,
            &READ_BYTES_MAX,
        ];
        let rows = self.query(READ_ENTITIES, &parameters).await?;
        rows.iter()
            .map(|row| Ok((of_ordinal(&named.keys, row)?.clone(), stored(row)?)))
            .collect()
    }

    /// What edits have written before.
    pub(super) async fn read_written_by(
        &self,
        edits: &[(&EntityKey, MutationId)],
    ) -> Result<HashMap<(EntityKey, MutationId), Written>, Fault> {
        if edits.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.query_edits(READ_WRITTEN, edits).await?;
        rows.iter()
            .map(|row| Ok((of_edit(edits, row)?, written_before(row)?)))
            .collect()
    }

    /// Which edits are kept as losing sides.
    pub(super) async fn read_kept_by(
        &self,
        edits: &[(&EntityKey, MutationId)],
    ) -> Result<HashMap<(EntityKey, MutationId), Kept>, Fault> {
        if edits.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.query_edits(READ_KEPT, edits).await?;
        rows.iter()
            .map(|row| {
                let kept = Kept {
                    conflict: ConflictId(row.try_get("conflict_id")?),
                    open: row.try_get("open")?,
                    asked: row.try_get("asked")?,
                };
                Ok((of_edit(edits, row)?, kept))
            })
            .collect()
    }

    async fn read_bases(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<(EntityKey, Version), Content>, Fault> {
        if wanted.bases.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<&EntityKey> = wanted.bases.iter().map(|(key, _)| *key).collect();
        let versions: Vec<i32> = wanted.bases.iter().map(|base| base.1.number()).collect();
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &versions,
            &READ_BYTES_MAX,
        ];
        let rows = self.query(READ_BASES, &parameters).await?;
        let mut bases = HashMap::new();
        for row in &rows {
            let base = wanted.bases.get(ordinal(row)?);
            let (key, version) = base.ok_or_else(|| unexpected("ordinal"))?;
            if let Some(content) = base_content(row)? {
                bases.insert(((*key).clone(), *version), content);
            }
        }
        Ok(bases)
    }

    async fn read_neighbours(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<EntityKey, Vec<(Uuid, Millis)>>, Fault> {
        let mut neighbours: HashMap<EntityKey, Vec<(Uuid, Millis)>> = HashMap::new();
        if wanted.new.is_empty() {
            return Ok(neighbours);
        }
        let keys: Vec<&EntityKey> = wanted.new.iter().map(|(key, ..)| *key).collect();
        let times = |pick: fn(&(&EntityKey, Millis, Millis)) -> Millis| -> Vec<SystemTime> {
            wanted
                .new
                .iter()
                .map(|new| system_time(pick(new)))
                .collect()
        };
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &times(|new| new.1),
            &times(|new| new.2),
        ];
        for row in &self.query(READ_NEIGHBOURS, &parameters).await? {
            let key = of_ordinal(&keys, row)?.clone();
            let neighbour = (row.try_get("entity_id")?, millis(row, "began_at")?);
            neighbours.entry(key).or_default().push(neighbour);
        }
        Ok(neighbours)
    }

    /// The open conflicts about entities: of the device's own edits, and duplicates.
    pub(super) async fn read_open(
        &self,
        named: &Named<'_>,
        device: &DeviceId,
    ) -> Result<Vec<Conflict>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &device.as_str(),
            &entity_types(&named.keys),
            &entity_ids(&named.keys),
        ];
        let rows = self.query(READ_OPEN, &parameters).await?;
        rows.iter().map(conflict).collect()
    }

    async fn query_edits(
        &self,
        sql: &str,
        edits: &[(&EntityKey, MutationId)],
    ) -> Result<Vec<Row>, Fault> {
        let keys: Vec<&EntityKey> = edits.iter().map(|(key, _)| *key).collect();
        let mutations: Vec<Uuid> = edits.iter().map(|(_, mutation)| mutation.0).collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &mutations,
        ];
        self.query(sql, &parameters).await
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.transaction.prepare_cached(sql).await?;
        Ok(self.transaction.query(&statement, parameters).await?)
    }
}

fn edits<'a>(items: &[&'a Item]) -> Vec<(&'a EntityKey, MutationId)> {
    items
        .iter()
        .map(|item| (&item.key, item.mutation))
        .collect()
}

fn of_edit(
    edits: &[(&EntityKey, MutationId)],
    row: &Row,
) -> Result<(EntityKey, MutationId), Fault> {
    let edit = edits.get(ordinal(row)?);
    let (key, mutation) = edit.ok_or_else(|| unexpected("ordinal"))?;
    Ok(((*key).clone(), *mutation))
}

/// What a version held; `None`: retention has removed it.
fn base_content(row: &Row) -> Result<Option<Content>, Fault> {
    if row.try_get("deleted")? {
        return Ok(Some(Content::Tombstone));
    }
    if row.try_get("withheld")? {
        return Ok(Some(Content::Withheld));
    }
    let data: Option<String> = row.try_get("data")?;
    Ok(data.map(|text| Content::Live(Arc::new(Document::from_store(text)))))
}

/// Entities, each once, and the base version all their items share; -1: they differ, or the data is
/// wanted in any case.
pub(super) struct Named<'a> {
    keys: Vec<&'a EntityKey>,
    bases: Vec<i32>,
}

/// No version is this: the data is read.
const DIFFER: i32 = -1;

impl<'a> Named<'a> {
    /// Entities whose data is wanted in any case.
    pub(super) fn whole(keys: &[&'a EntityKey]) -> Self {
        Self {
            keys: keys.to_vec(),
            bases: vec![DIFFER; keys.len()],
        }
    }

    fn by(items: &[&'a Item]) -> Self {
        let mut named = Self {
            keys: Vec::new(),
            bases: Vec::new(),
        };
        let mut places: HashMap<&EntityKey, usize> = HashMap::new();
        for item in items {
            let base = match item.read_only {
                true => DIFFER,
                false => item.base.number(),
            };
            match places.entry(&item.key) {
                Entry::Vacant(place) => {
                    place.insert(named.keys.len());
                    named.keys.push(&item.key);
                    named.bases.push(base);
                }
                Entry::Occupied(place) if named.bases[*place.get()] != base => {
                    named.bases[*place.get()] = DIFFER;
                }
                Entry::Occupied(_) => (),
            }
        }
        named
    }
}

fn entity_types<'a>(keys: &[&'a EntityKey]) -> Vec<&'a str> {
    keys.iter().map(|key| key.entity_type.as_str()).collect()
}

fn entity_ids(keys: &[&EntityKey]) -> Vec<Uuid> {
    keys.iter().map(|key| key.entity_id).collect()
}

/// What the row is about.
fn of_ordinal<'a, T>(all: &[&'a T], row: &Row) -> Result<&'a T, Fault> {
    all.get(ordinal(row)?)
        .copied()
        .ok_or_else(|| unexpected("ordinal"))
}

/// A row of [`READ_ENTITIES`].
pub(in crate::store) fn stored(row: &Row) -> Result<Stored, Fault> {
    let deleted: bool = row.try_get("deleted")?;
    let data: Option<String> = row.try_get("data")?;
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
        edit_time: millis(row, "edit_time")?,
        clock_offset_ms: row.try_get("clock_offset_ms")?,
        updated_at: millis(row, "updated_at")?,
    })
}

fn written_before(row: &Row) -> Result<Written, Fault> {
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
    })
}
