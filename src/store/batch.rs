//! One batch in one transaction: lock the scope, read what the batch names, write the plan.
//!
//! The number of statements does not depend on the size of the batch; each takes whole columns.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{millis, ordinal, parsed, system_time, unexpected, version};
use super::device::{DeviceInfo, RECORD_DEVICE};
use crate::domain::clock::Millis;
use crate::domain::decide::{Resolution, Written};
use crate::domain::entity::{Content, Document, EntityKey, Stored};
use crate::domain::item::Item;
use crate::domain::plan::{EntityWrite, NewVersion, Snapshot};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::Revision;
use crate::error::Fault;

const LOCK_SCOPE: &str = include_str!("sql/lock_scope.sql");
const CREATE_SCOPE: &str = include_str!("sql/create_scope.sql");
const READ_ENTITIES: &str = include_str!("sql/read_entities.sql");
const READ_WRITTEN: &str = include_str!("sql/read_written.sql");
const KEEP_SUPERSEDED: &str = include_str!("sql/keep_superseded.sql");
const INSERT_VERSIONS: &str = include_str!("sql/insert_versions.sql");
const INSERT_ENTITIES: &str = include_str!("sql/insert_entities.sql");
const UPDATE_ENTITIES: &str = include_str!("sql/update_entities.sql");
const ADVANCE_SCOPE: &str = include_str!("sql/advance_scope.sql");

/// Bytes of data read for one batch. An answer holds less, so whatever lies beyond could not be shown
/// anyway; and a small batch that names large entities can not fill the memory.
const READ_BYTES_MAX: i64 = 8 * 1024 * 1024;

/// A connection taken from the pool for one batch. Unless the batch ends well the connection is
/// closed, so none goes back to the pool in a state somebody would have to think about.
pub struct Connection {
    client: Option<Object>,
}

/// A batch under way: a transaction, and the lock of its scope.
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    scope: &'a Scope,
    revision: Revision,
}

/// Who writes a batch, and when.
pub struct Author<'a> {
    /// The device that sent it.
    pub device: &'a DeviceId,
    /// What it says of itself.
    pub info: &'a DeviceInfo,
    /// The server's clock.
    pub now: Millis,
}

impl Store {
    /// A connection for one batch.
    pub async fn connection(&self) -> Result<Connection, Fault> {
        let client = Some(self.client().await?);
        Ok(Connection { client })
    }
}

impl Connection {
    /// Begins a transaction and waits for the lock of the scope, which it makes if need be.
    pub async fn begin<'a>(&'a mut self, scope: &'a Scope) -> Result<Batch<'a>, Fault> {
        let client = self
            .client
            .as_mut()
            .ok_or_else(|| Fault::Defect("the connection was used up".into(), None))?;
        let transaction = client.transaction().await?;
        let lock = transaction.prepare_cached(LOCK_SCOPE).await?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&scope.as_str()];
        let mut locked = transaction.query_opt(&lock, &parameters).await?;
        if locked.is_none() {
            let create = transaction.prepare_cached(CREATE_SCOPE).await?;
            transaction.execute(&create, &parameters).await?;
            locked = transaction.query_opt(&lock, &parameters).await?;
        }
        let locked = locked.ok_or_else(|| Fault::Defect("the scope has no row".into(), None))?;
        let revision = Revision::new(locked.try_get("revision")?);
        Ok(Batch {
            transaction,
            scope,
            revision,
        })
    }

    /// Gives the connection back to the pool, once its batch has ended well.
    pub fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Batch<'_> {
    /// Reads what the items name, as it is under the lock.
    pub async fn read(&self, items: &[&Item]) -> Result<Snapshot, Fault> {
        let read_entities = self.transaction.prepare_cached(READ_ENTITIES).await?;
        let read_written = self.transaction.prepare_cached(READ_WRITTEN).await?;
        let scope = self.scope.as_str();
        let named = Named::by(items);
        let entities: [&(dyn ToSql + Sync); 5] = [
            &scope,
            &entity_types(&named.keys),
            &entity_ids(&named.keys),
            &named.bases,
            &READ_BYTES_MAX,
        ];
        let keys: Vec<&EntityKey> = items.iter().map(|item| &item.key).collect();
        let mutations: Vec<Uuid> = items.iter().map(|item| item.mutation.0).collect();
        let written: [&(dyn ToSql + Sync); 4] =
            [&scope, &entity_types(&keys), &entity_ids(&keys), &mutations];
        let (entities, written) = tokio::try_join!(
            self.transaction.query(&read_entities, &entities),
            self.transaction.query(&read_written, &written),
        )?;
        Ok(Snapshot {
            revision: self.revision,
            entities: entities
                .iter()
                .map(|row| Ok((of_ordinal(&named.keys, row)?.clone(), stored(row)?)))
                .collect::<Result<_, Fault>>()?,
            written: written
                .iter()
                .map(|row| {
                    let item: &Item = of_ordinal(items, row)?;
                    Ok(((item.key.clone(), item.mutation), written_before(row)?))
                })
                .collect::<Result<_, Fault>>()?,
        })
    }

    /// Writes what a plan says and commits: all of it, or nothing. Returns the scope's revision then.
    ///
    /// The lock already makes sure that it fits what is stored. The statements say so once
    /// more, and a count that is off ends the batch without a trace.
    pub async fn write(
        self,
        writes: &[EntityWrite],
        author: &Author<'_>,
    ) -> Result<Revision, Fault> {
        let revision = match writes {
            [] => self.revision,
            _ => self.write_versions(writes, author).await?,
        };
        let record = self.transaction.prepare_cached(RECORD_DEVICE).await?;
        let info = author.info;
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &info.label,
            &info.platform,
            &info.app_version,
            &info.pending_count,
            &system_time(author.now),
        ];
        self.transaction.execute(&record, &parameters).await?;
        self.transaction.commit().await?;
        Ok(revision)
    }

    /// Ends a batch that shall leave no trace.
    pub async fn discard(self) -> Result<(), Fault> {
        Ok(self.transaction.rollback().await?)
    }

    async fn write_versions(
        &self,
        writes: &[EntityWrite],
        author: &Author<'_>,
    ) -> Result<Revision, Fault> {
        let mut inserted = Columns::default();
        let mut updated = Columns::default();
        let mut passed = Columns::default();
        for write in writes {
            let Some((current, before)) = write.versions.split_last() else {
                return Err(Fault::Defect("a write without a version".into(), None));
            };
            for version in before {
                passed.push(write, version);
            }
            match write.replaces {
                Some(_) => updated.push(write, current),
                None => inserted.push(write, current),
            }
        }
        let author: [&(dyn ToSql + Sync); 3] = [
            &self.scope.as_str(),
            &author.device.as_str(),
            &system_time(author.now),
        ];
        let replaced: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &updated.entity_type,
            &updated.entity_id,
            &updated.replaces,
        ];
        self.run(KEEP_SUPERSEDED, &replaced, updated.len()).await?;
        let parameters = [&author[..], &updated.all()].concat();
        self.run(UPDATE_ENTITIES, &parameters, updated.len())
            .await?;
        let parameters = [&author[..], &inserted.all()[..9]].concat();
        self.run(INSERT_ENTITIES, &parameters, inserted.len())
            .await?;
        let parameters = [&author[..], &passed.all()[..8]].concat();
        self.run(INSERT_VERSIONS, &parameters, passed.len()).await?;
        let versions = inserted.len() + updated.len() + passed.len();
        let last = self.revision.after(versions);
        let advance: [&(dyn ToSql + Sync); 4] = [
            &self.scope.as_str(),
            &self.revision.number(),
            &last.number(),
            &(inserted.len() as i64),
        ];
        self.run(ADVANCE_SCOPE, &advance, 1).await?;
        Ok(last)
    }

    /// Runs a statement that must touch exactly `rows` rows; with none to touch it is left out.
    async fn run(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        rows: usize,
    ) -> Result<(), Fault> {
        if rows == 0 {
            return Ok(());
        }
        let statement = self.transaction.prepare_cached(sql).await?;
        let touched = self.transaction.execute(&statement, parameters).await?;
        if touched == rows as u64 {
            return Ok(());
        }
        let purpose = sql.lines().next().unwrap_or_default();
        Err(Fault::Defect(
            format!("touched {touched} rows instead of {rows}: {purpose}"),
            None,
        ))
    }
}

/// The entities a batch names, each once, and the base version all its items share (-1: differ).
struct Named<'a> {
    keys: Vec<&'a EntityKey>,
    bases: Vec<i32>,
}

impl<'a> Named<'a> {
    fn by(items: &[&'a Item]) -> Self {
        const DIFFER: i32 = -1;
        let mut named = Self {
            keys: Vec::new(),
            bases: Vec::new(),
        };
        let mut places: HashMap<&EntityKey, usize> = HashMap::new();
        for item in items {
            let base = item.base.number();
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

/// Versions as columns, the way `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    entity_type: Vec<&'a str>,
    entity_id: Vec<Uuid>,
    version: Vec<i32>,
    revision: Vec<i64>,
    data: Vec<Option<&'a str>>,
    resolution: Vec<&'static str>,
    mutation_id: Vec<Uuid>,
    edit_time: Vec<SystemTime>,
    foreign_version: Vec<i32>,
    replaces: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, write: &'a EntityWrite, new: &'a NewVersion) {
        self.entity_type.push(write.key.entity_type.as_str());
        self.entity_id.push(write.key.entity_id);
        self.version.push(new.version.number());
        self.revision.push(new.revision.number());
        self.data.push(new.document.as_ref().map(|d| d.text()));
        self.resolution.push(resolution_name(new.resolution));
        self.mutation_id.push(new.mutation.0);
        self.edit_time.push(system_time(new.edit_time));
        self.foreign_version.push(new.foreign_version.number());
        self.replaces
            .push(write.replaces.unwrap_or_default().number());
    }

    fn len(&self) -> usize {
        self.version.len()
    }

    /// All columns in the order the statements take them; each takes a prefix.
    fn all(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.entity_type,
            &self.entity_id,
            &self.version,
            &self.revision,
            &self.data,
            &self.resolution,
            &self.mutation_id,
            &self.edit_time,
            &self.foreign_version,
            &self.replaces,
        ]
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

fn stored(row: &Row) -> Result<Stored, Fault> {
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
        updated_at: millis(row, "updated_at")?,
    })
}

fn written_before(row: &Row) -> Result<Written, Fault> {
    Ok(Written {
        version: version(row, "version")?,
        resolution: parsed(row, "resolution", resolution)?,
        at: millis(row, "updated_at")?,
    })
}

fn resolution_name(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Applied => "applied",
        Resolution::ClientWon => "client_won",
        Resolution::Resurrected => "resurrected",
    }
}

fn resolution(name: &str) -> Option<Resolution> {
    [
        Resolution::Applied,
        Resolution::ClientWon,
        Resolution::Resurrected,
    ]
    .into_iter()
    .find(|resolution| resolution_name(*resolution) == name)
}
