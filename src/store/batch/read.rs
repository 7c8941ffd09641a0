//! Reading what a batch names, as it is under the lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::columns::{millis, ordinal, system_time, unexpected, version};
use super::super::conflict::conflict;
use super::super::session::Parameters;
use super::Batch;
use super::rows::{content_within_bounds, stored, written_before};
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId, ContentId, Kept, Kind, side_beside};
use crate::domain::decide::Written;
use crate::domain::entity::{Content, EntityKey, MutationId, Stored};
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
/// cannot fill the memory.
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
            self.read_kept_by(&names, device),
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
        let more: [&(dyn ToSql + Sync); 2] = [&named.bases, &bytes_max];
        let rows = self
            .query_by_key(READ_ENTITIES, scope, &named.keys, &more)
            .await?;
        rows.iter()
            .map(|row| Ok((of_ordinal(&named.keys, row)?.clone(), stored(row)?)))
            .collect()
    }

    /// What edits have written before.
    pub(super) async fn read_written_by(
        &self,
        edits: &[(&EntityKey, MutationId)],
    ) -> Result<HashMap<(EntityKey, MutationId), Written>, Fault> {
        let (keys, mutations) = columns(edits);
        let more: [&(dyn ToSql + Sync); 2] = [&mutations, &READ_BYTES_MAX];
        let rows = self
            .query_by_key(READ_WRITTEN, self.scope, &keys, &more)
            .await?;
        rows.iter()
            .map(|row| Ok((of_edit(edits, row)?, written_before(row)?)))
            .collect()
    }

    /// Which edits of a device are kept as losing sides.
    pub(super) async fn read_kept_by(
        &self,
        edits: &[(&EntityKey, MutationId)],
        device: &DeviceId,
    ) -> Result<HashMap<(EntityKey, MutationId), Kept>, Fault> {
        let (keys, mutations) = columns(edits);
        let own: Vec<Uuid> = edits
            .iter()
            .map(|(key, mutation)| ConflictId::opened_by(&Kind::Edit, key, *mutation, device).0)
            .collect();
        let rows = self
            .query_by_key(READ_KEPT, self.scope, &keys, &[&mutations, &own])
            .await?;
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
        let keys: Vec<&EntityKey> = wanted.bases.iter().map(|(key, _)| *key).collect();
        let versions: Vec<i32> = wanted.bases.iter().map(|base| base.1.number()).collect();
        let more: [&(dyn ToSql + Sync); 2] = [&versions, &READ_BYTES_MAX];
        let rows = self
            .query_by_key(READ_BASES, self.scope, &keys, &more)
            .await?;
        let mut bases = HashMap::new();
        for row in &rows {
            let base = wanted.bases.get(ordinal(row)?);
            let (key, version) = base.ok_or_else(|| unexpected("ordinal"))?;
            if let Some(content) = content_within_bounds(row)? {
                bases.insert(((*key).clone(), *version), content);
            }
        }
        Ok(bases)
    }

    async fn read_own_sides(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<EntityKey, Content>, Fault> {
        let (keys, mutations) = columns(&wanted.own_sides);
        let more: [&(dyn ToSql + Sync); 2] = [&mutations, &READ_BYTES_MAX];
        let rows = self
            .query_by_key(READ_OWN_SIDES, self.scope, &keys, &more)
            .await?;
        let mut sides = HashMap::new();
        for row in &rows {
            if let Some(content) = content_within_bounds(row)? {
                sides.insert(of_ordinal(&keys, row)?.clone(), content);
            }
        }
        Ok(sides)
    }

    async fn read_neighbours(
        &self,
        wanted: &Wanted<'_>,
    ) -> Result<HashMap<EntityKey, Vec<(Uuid, Millis)>>, Fault> {
        let keys: Vec<&EntityKey> = wanted.new.iter().map(|new| new.key).collect();
        let times = |pick: fn(&Newcomer<'_>) -> Millis| -> Vec<SystemTime> {
            wanted
                .new
                .iter()
                .map(|new| system_time(pick(new)))
                .collect()
        };
        let (from, began_at, until) = (
            times(|new| new.from),
            times(|new| new.began_at),
            times(|new| new.until),
        );
        let more: [&(dyn ToSql + Sync); 3] = [&from, &began_at, &until];
        let rows = self
            .query_by_key(READ_NEIGHBOURS, self.scope, &keys, &more)
            .await?;
        let mut neighbours: HashMap<EntityKey, Vec<(Uuid, Millis)>> = HashMap::new();
        for row in &rows {
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
        let device = device.as_str();
        let rows = self
            .query_by_key(READ_OPEN, self.scope, &named.keys, &[&device])
            .await?;
        rows.iter().map(conflict).collect()
    }

    /// Asks about entities: their scope, types and ids, and `more` beside each or for all. About none,
    /// nothing is asked.
    async fn query_by_key(
        &self,
        sql: &str,
        scope: &Scope,
        keys: &[&EntityKey],
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let scope = scope.as_str();
        let types: Vec<&str> = keys.iter().map(|key| key.entity_type.as_str()).collect();
        let ids: Vec<Uuid> = keys.iter().map(|key| key.entity_id).collect();
        let named: [&(dyn ToSql + Sync); 3] = [&scope, &types, &ids];
        self.query(sql, &[&named, more].concat()).await
    }

    /// Runs a statement that reads.
    pub(in crate::store) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        self.session.query(sql, parameters).await
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

/// What the row is about.
fn of_ordinal<'a, T>(all: &[&'a T], row: &Row) -> Result<&'a T, Fault> {
    all.get(ordinal(row)?)
        .copied()
        .ok_or_else(|| unexpected("ordinal"))
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
