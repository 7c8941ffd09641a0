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
use crate::domain::conflict::{Conflict, ConflictId, ContentId, Kept, side_beside};
use crate::domain::decide::{Merged, Written};
use crate::domain::entity::{Content, Document, EntityKey, MutationId, Stored};
use crate::domain::item::Item;
use crate::domain::plan::{Newcomer, Snapshot, Wanted};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Version;
use crate::error::Fault;

pub(in crate::store) const READ_ENTITIES: &str = include_str!("../sql/read_entities.sql");
const READ_WRITTEN: &str = include_str!("../sql/read_written.sql");
const READ_BASES: &str = include_str!("../sql/read_bases.sql");
const READ_OWN_SIDES: &str = include_str!("../sql/read_own_sides.sql");
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
            self.read_named(self.scope, &own_named, READ_BYTES_MAX),
            self.read_written_by(&own_edits),
            self.read_named(&library, &shared_named, READ_BYTES_MAX),
        )?;
        entities.extend(shared);
        let mut snapshot = Snapshot {
            revision: self.revision,
            entities,
            written,
            ..Snapshot::default()
        };
        let wanted = snapshot.wanted(items, device, catalog);
        let names = kept_names(&wanted.contested);
        let (bases, own_sides, kept, neighbours) = tokio::try_join!(
            self.read_bases(&wanted),
            self.read_own_sides(&wanted),
            self.read_kept_by(&names),
            self.read_neighbours(&wanted),
        )?;
        snapshot.bases = bases;
        snapshot.own_sides = own_sides;
        snapshot.kept = kept;
        snapshot.neighbours = neighbours;
        if self.conflicts_open {
            snapshot.open = self.read_open(&own_named, device).await?;
        }
        Ok(snapshot)
    }

    /// The entities that exist; with so many bytes of data at most.
    pub(super) async fn read_named(
        &self,
        scope: &Scope,
        named: &Named<'_>,
        bytes_max: i64,
    ) -> Result<HashMap<EntityKey, Stored>, Fault> {
        if named.keys.is_empty() {
            return Ok(HashMap::new());
        }
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &scope.as_str(),
            &entity_types(&named.keys),
            &entity_ids(&named.keys),
            &named.bases,
            &bytes_max,
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
        let (keys, mutations) = columns(edits);
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &mutations,
            &READ_BYTES_MAX,
        ];
        let rows = self.query(READ_WRITTEN, &parameters).await?;
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
        let (keys, mutations) = columns(edits);
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &mutations,
        ];
        let rows = self.query(READ_KEPT, &parameters).await?;
        rows.iter()
            .map(|row| {
                let kept = Kept {
                    content: ContentId(row.try_get("content_id")?),
                    server_version: version(row, "server_version")?,
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

    async fn read_own_sides(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<EntityKey, Content>, Fault> {
        if wanted.own_sides.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<&EntityKey> = wanted.own_sides.iter().map(|(key, _)| *key).collect();
        let mutations: Vec<Uuid> = wanted.own_sides.iter().map(|(_, m)| m.0).collect();
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &mutations,
            &READ_BYTES_MAX,
        ];
        let mut sides = HashMap::new();
        for row in &self.query(READ_OWN_SIDES, &parameters).await? {
            if let Some(content) = base_content(row)? {
                sides.insert(of_ordinal(&keys, row)?.clone(), content);
            }
        }
        Ok(sides)
    }

    async fn read_neighbours(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<EntityKey, Vec<(Uuid, Millis)>>, Fault> {
        let mut neighbours: HashMap<EntityKey, Vec<(Uuid, Millis)>> = HashMap::new();
        if wanted.new.is_empty() {
            return Ok(neighbours);
        }
        let keys: Vec<&EntityKey> = wanted.new.iter().map(|new| new.key).collect();
        let times = |pick: fn(&Newcomer<'_>) -> Millis| -> Vec<SystemTime> {
            wanted
                .new
                .iter()
                .map(|new| system_time(pick(new)))
                .collect()
        };
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &self.scope.as_str(),
            &entity_types(&keys),
            &entity_ids(&keys),
            &times(|new| new.from),
            &times(|new| new.began_at),
            &times(|new| new.until),
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

fn columns<'a>(edits: &[(&'a EntityKey, MutationId)]) -> (Vec<&'a EntityKey>, Vec<Uuid>) {
    edits
        .iter()
        .map(|(key, mutation)| (*key, mutation.0))
        .unzip()
}

/// The names items may be kept by as losing sides: their edits, and those beside them.
fn kept_names<'a>(items: &[&'a Item]) -> Vec<(&'a EntityKey, MutationId)> {
    let beside = items.iter().map(|item| {
        let content = ContentId::of(item.change.document());
        (&item.key, side_beside(item.mutation, content))
    });
    edits(items).into_iter().chain(beside).collect()
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
        withheld: row.try_get("withheld")?,
    })
}
