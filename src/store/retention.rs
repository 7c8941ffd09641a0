//! What retention asks of Postgres: pages of what is old, oldest first, and removing it.
//!
//! Looking takes no lock. Removing takes the lock of the scope, as a push does, for one short
//! transaction, and looks once more at what an open conflict needs.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{entity_key, parsed, system_time, version};
use super::session::Behalf;
use crate::domain::clock::Millis;
use crate::domain::entity::{EntityKey, EntityType};
use crate::domain::scope::Scope;
use crate::domain::version::Version;
use crate::error::Fault;

const CLAIM_COMPACTION: &str = include_str!("sql/claim_compaction.sql");
const LIST_SCOPES: &str = include_str!("sql/list_scopes.sql");
const READ_OLD_VERSIONS: &str = include_str!("sql/read_old_versions.sql");
const READ_OLD_CONFLICTS: &str = include_str!("sql/read_old_conflicts.sql");
const EMPTY_VERSIONS: &str = include_str!("sql/empty_versions.sql");
const DELETE_SIDES: &str = include_str!("sql/delete_sides.sql");
const DELETE_CONFLICTS: &str = include_str!("sql/delete_conflicts.sql");

/// What is old, for the entities of one type.
#[derive(Debug, Clone, Copy)]
pub struct Cutoff {
    /// Versions written before this may lose their data..
    pub versions_before: Millis,
    /// ..except the newest so many superseded ones of each entity.
    pub versions_min: u32,
    /// All versions of entities deleted before this lose it.
    pub deleted_before: Millis,
    /// Conflicts settled before this go.
    pub conflicts_before: Millis,
}

/// What is old, by type.
#[derive(Debug)]
pub struct Cutoffs {
    types: Vec<String>,
    listed: Vec<Cutoff>,
    unlisted: Cutoff,
    /// Nothing as new as this is old by any of them.
    versions_latest: Millis,
    conflicts_latest: Millis,
}

impl Cutoffs {
    /// The cutoffs of some types, and of all others.
    pub fn new<'a>(
        listed: impl IntoIterator<Item = (&'a EntityType, Cutoff)>,
        unlisted: Cutoff,
    ) -> Self {
        let (types, listed): (Vec<String>, Vec<Cutoff>) = listed
            .into_iter()
            .map(|(entity_type, cutoff)| (entity_type.as_str().to_owned(), cutoff))
            .unzip();
        let latest = |time: fn(&Cutoff) -> Millis| {
            let others = listed.iter().map(time);
            others.fold(time(&unlisted), Millis::max)
        };
        Self {
            versions_latest: latest(|cutoff| cutoff.versions_before.max(cutoff.deleted_before)),
            conflicts_latest: latest(|cutoff| cutoff.conflicts_before),
            types,
            listed,
            unlisted,
        }
    }

    fn by_type<T>(&self, value: impl Fn(&Cutoff) -> T) -> Vec<T> {
        self.listed.iter().map(value).collect()
    }
}

/// A page of what is old.
#[derive(Debug)]
pub struct OldPage<T, P> {
    /// What is to go.
    pub expired: Vec<T>,
    /// How many rows were looked at.
    pub rows: usize,
    /// The last of them; `None`: there was none.
    pub last: Option<P>,
}

/// The place of a version among those that hold data, the oldest first.
#[derive(Debug, Clone)]
pub struct VersionPlace {
    updated_at: SystemTime,
    entity_type: String,
    entity_id: Uuid,
    version: Version,
}

impl VersionPlace {
    /// Before all of them.
    pub const FIRST: Self = Self {
        updated_at: UNIX_EPOCH,
        entity_type: String::new(),
        entity_id: Uuid::nil(),
        version: Version::NONE,
    };
}

/// A conflict and when it was settled, which is its place among the settled ones, the oldest first.
#[derive(Debug, Clone, Copy)]
pub struct ConflictPlace {
    settled_at: SystemTime,
    conflict_id: Uuid,
    sides: u64,
}

impl ConflictPlace {
    /// Before all of them.
    pub const FIRST: Self = Self {
        settled_at: UNIX_EPOCH,
        conflict_id: Uuid::nil(),
        sides: 0,
    };

    /// How many losing sides it had when it was read.
    pub fn sides(&self) -> u64 {
        self.sides
    }
}

/// How many rows went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedConflicts {
    /// Conflicts; none as long as losing sides of them are left.
    pub conflicts: u64,
    /// Losing sides.
    pub sides: u64,
    /// Losing sides are left: to be called again.
    pub more: bool,
}

impl Store {
    /// Whether the compaction of this interval is the caller's to do. With several instances one gets
    /// it; whether it comes to an end is not followed.
    pub async fn claim_compaction(&self, now: Millis, interval_ms: i64) -> Result<bool, Fault> {
        let at = |ms: i64| system_time(Millis(now.0.saturating_add(ms)));
        let parameters: [&(dyn ToSql + Sync); 3] = [&at(0), &at(-interval_ms), &at(interval_ms)];
        let claimed = self.tell(Behalf::Keeper, CLAIM_COMPACTION, &parameters);
        Ok(claimed.await? == 1)
    }

    /// A page of all scopes, by name, and whether the account of each was deleted, so that all of its rows
    /// are to go.
    pub async fn list_scopes(
        &self,
        after: Option<&Scope>,
        limit: i64,
    ) -> Result<Vec<(Scope, bool)>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] =
            [&after.map(Scope::as_str).unwrap_or_default(), &limit];
        let rows = self.ask(Behalf::Keeper, LIST_SCOPES, &parameters).await?;
        rows.iter()
            .map(|row| {
                let scope = parsed(row, "scope", Scope::from_store)?;
                Ok((scope, row.try_get("erased")?))
            })
            .collect()
    }

    /// A page of a scope's old versions that hold data.
    pub async fn read_old_versions(
        &self,
        scope: &Scope,
        after: &VersionPlace,
        cutoffs: &Cutoffs,
        limit: i64,
    ) -> Result<OldPage<(EntityKey, Version), VersionPlace>, Fault> {
        let unlisted = &cutoffs.unlisted;
        let parameters: [&(dyn ToSql + Sync); 14] = [
            &scope.as_str(),
            &after.updated_at,
            &after.entity_type,
            &after.entity_id,
            &after.version.number(),
            &system_time(cutoffs.versions_latest),
            &limit,
            &cutoffs.types,
            &cutoffs.by_type(|cutoff| system_time(cutoff.versions_before)),
            &cutoffs.by_type(|cutoff| i64::from(cutoff.versions_min)),
            &cutoffs.by_type(|cutoff| system_time(cutoff.deleted_before)),
            &system_time(unlisted.versions_before),
            &i64::from(unlisted.versions_min),
            &system_time(unlisted.deleted_before),
        ];
        let rows = self.ask(scope, READ_OLD_VERSIONS, &parameters).await?;
        let mut page = OldPage {
            expired: Vec::new(),
            rows: rows.len(),
            last: None,
        };
        for row in &rows {
            let key = entity_key(row)?;
            let version = version(row, "version")?;
            page.last = Some(VersionPlace {
                updated_at: row.try_get("updated_at")?,
                entity_type: key.entity_type.as_str().to_owned(),
                entity_id: key.entity_id,
                version,
            });
            if row.try_get("expired")? {
                page.expired.push((key, version));
            }
        }
        Ok(page)
    }

    /// Removes the data of versions, but of none that an open conflict needs; how many lost it.
    pub async fn empty_versions(
        &self,
        scope: &Scope,
        versions: &[(EntityKey, Version)],
    ) -> Result<u64, Fault> {
        let types: Vec<&str> = versions.iter().map(|v| v.0.entity_type.as_str()).collect();
        let ids: Vec<Uuid> = versions.iter().map(|v| v.0.entity_id).collect();
        let numbers: Vec<i32> = versions.iter().map(|v| v.1.number()).collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [&scope.as_str(), &types, &ids, &numbers];
        let Some(batch) = self.lock(scope).await? else {
            return Ok(0);
        };
        let emptied = batch.touch(EMPTY_VERSIONS, &parameters).await?;
        batch.commit().await?;
        Ok(emptied)
    }

    /// A page of a scope's settled conflicts.
    pub async fn read_old_conflicts(
        &self,
        scope: &Scope,
        after: &ConflictPlace,
        cutoffs: &Cutoffs,
        limit: i64,
    ) -> Result<OldPage<ConflictPlace, ConflictPlace>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &scope.as_str(),
            &after.settled_at,
            &after.conflict_id,
            &system_time(cutoffs.conflicts_latest),
            &limit,
            &cutoffs.types,
            &cutoffs.by_type(|cutoff| system_time(cutoff.conflicts_before)),
            &system_time(cutoffs.unlisted.conflicts_before),
        ];
        let rows = self.ask(scope, READ_OLD_CONFLICTS, &parameters).await?;
        let mut page = OldPage {
            expired: Vec::new(),
            rows: rows.len(),
            last: None,
        };
        for row in &rows {
            let sides: i64 = row.try_get("sides")?;
            let place = ConflictPlace {
                settled_at: row.try_get("settled_at")?,
                conflict_id: row.try_get("conflict_id")?,
                sides: sides.unsigned_abs(),
            };
            page.last = Some(place);
            if row.try_get("expired")? {
                page.expired.push(place);
            }
        }
        Ok(page)
    }

    /// Deletes settled conflicts and at most `sides_max` of their losing sides; the conflicts only when
    /// none is left. One that was opened again stays.
    pub async fn delete_conflicts(
        &self,
        scope: &Scope,
        conflicts: &[ConflictPlace],
        sides_max: i64,
    ) -> Result<DeletedConflicts, Fault> {
        let ids: Vec<Uuid> = conflicts.iter().map(|c| c.conflict_id).collect();
        let times: Vec<SystemTime> = conflicts.iter().map(|c| c.settled_at).collect();
        let parameters: [&(dyn ToSql + Sync); 4] = [&scope.as_str(), &ids, &times, &sides_max];
        let Some(batch) = self.lock(scope).await? else {
            return Ok(DeletedConflicts {
                conflicts: 0,
                sides: 0,
                more: false,
            });
        };
        let sides = batch.touch(DELETE_SIDES, &parameters).await?;
        let more = i64::try_from(sides).is_ok_and(|sides| sides == sides_max);
        let conflicts = match more {
            true => 0,
            false => batch.touch(DELETE_CONFLICTS, &parameters[..3]).await?,
        };
        batch.commit().await?;
        Ok(DeletedConflicts {
            conflicts,
            sides,
            more,
        })
    }
}
