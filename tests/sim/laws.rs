//! Laws of what the server holds, by itself and beside what it has answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironflow_sync::grpc::proto::{Resolution, SyncItem, SyncResult};

use super::catalog::entity_key;
use super::memory::{Memory, Row};
use super::oracle::writes;
use crate::domain::conflict::Kind;
use crate::domain::decide::Resolution as Wrote;
use crate::domain::entity::{Content, Document, EntityKey, Stored};
use crate::domain::json::Json;
use crate::domain::version::Version;

/// What the server holds at the end of a life.
pub struct Tables<'a> {
    pub memory: &'a Memory,
    /// It was restored from a backup, in this life or before.
    pub restored: bool,
}

pub fn document(stored: &Stored) -> Option<Arc<Document>> {
    match &stored.content {
        Content::Live(document) => Some(document.clone()),
        Content::Tombstone | Content::NotLoaded | Content::Withheld => None,
    }
}

/// Whether the bytes of a message mean what a document does.
pub fn means_the_same(data: &[u8], document: &Document) -> bool {
    data == document.text().as_bytes()
        || Json::from_device(data).is_ok_and(|json| Some(&json) == document.json())
}

impl Tables<'_> {
    fn rows(&self, key: &EntityKey) -> &[Row] {
        self.memory.versions.get(key).map_or(&[], Vec::as_slice)
    }

    fn row(&self, key: &EntityKey, version: i32) -> Option<&Row> {
        let mut rows = self.rows(key).iter();
        rows.find(|row| row.new.version.number() == version)
    }

    /// Promise 1: what an item wants is a version, or a side that lost.
    pub fn holds_somewhere(&self, item: &SyncItem) -> bool {
        let key = entity_key(&(item.entity_type.clone(), item.entity_id.clone()));
        if self.memory.library.contains_key(&key) {
            return true;
        }
        let is_it = |held: Option<&Arc<Document>>| wants(item, held.map(Arc::as_ref));
        let mut rows = self.rows(&key).iter();
        let mut sides = self.memory.sides.values().filter(|side| side.key == key);
        rows.any(|row| is_it(row.new.document.as_ref()))
            || sides.any(|side| is_it(side.document.as_ref()))
    }
}

/// Whether an item wants its entity to hold this.
fn wants(item: &SyncItem, held: Option<&Document>) -> bool {
    match (item.operation.as_str(), held) {
        ("delete", held) => held.is_none(),
        (_, Some(held)) => means_the_same(&item.data, held),
        (_, None) => false,
    }
}

/// Promises 6, 7 and 9, and what merges keep.
pub fn of_versions(tables: &Tables<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut revisions = BTreeSet::new();
    for (key, rows) in &tables.memory.versions {
        let mut before = 0;
        let mut last_revision = 0;
        for row in rows {
            let (version, revision) = (row.new.version.number(), row.new.revision.number());
            let base = row.new.base.map_or(version - 1, Version::number);
            let ahead = base > before && base == version - 1;
            if version != before + 1 && !(ahead && (tables.restored || before == 0)) {
                found.push(format!("{key:?}: version {version} after {before}"));
            }
            if base >= version {
                found.push(format!("{key:?}: version {version} is based on {base}"));
            }
            if !revisions.insert(revision) || revision <= last_revision {
                found.push(format!("{key:?}: revision {revision} twice or backwards"));
            }
            if row.new.edit_time > row.at {
                found.push(format!("{key:?}: version {version} is from the future"));
            }
            if row.new.resolution == Wrote::Merged {
                found.extend(dropped(tables, key, row, before));
            }
            (before, last_revision) = (version, revision);
        }
    }
    found
}

/// A key that a merge has dropped though one side set it and neither took it away.
fn dropped(tables: &Tables<'_>, key: &EntityKey, row: &Row, before: i32) -> Option<String> {
    let fields = |document: Option<&Arc<Document>>| match document?.json()? {
        Json::Object(fields) => Some(
            fields
                .keys()
                .map(ToString::to_string)
                .collect::<BTreeSet<String>>(),
        ),
        _ => None,
    };
    let merged = fields(row.new.document.as_ref())?;
    let server = fields(tables.row(key, before)?.new.document.as_ref())?;
    let side = tables.memory.sides.get(&(key.clone(), row.new.mutation))?;
    let client = fields(side.document.as_ref())?;
    let base = row.new.base.and_then(|base| tables.row(key, base.number()));
    let base = base.and_then(|base| fields(base.new.document.as_ref()));
    let mut base = base.unwrap_or_default();
    // What the device sent before on the same base, under whatever id, it may have taken away itself.
    let before = tables.memory.sides.values();
    let before = before.filter(|before| &before.key == key && before.base == side.base);
    base.extend(
        before
            .filter_map(|side| fields(side.document.as_ref()))
            .flatten(),
    );
    let both = server.intersection(&client);
    let new = server.symmetric_difference(&client);
    let new = new.filter(|field| !base.contains(*field));
    let lost = both.chain(new).find(|field| !merged.contains(*field))?;
    Some(format!("{key:?}: a merge has dropped {lost:?}"))
}

/// Promise 5, and one open conflict per entity and device.
pub fn of_conflicts(tables: &Tables<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = BTreeSet::new();
    for conflict in tables.memory.conflicts.values() {
        if conflict.kind != Kind::Edit || tables.memory.library.contains_key(&conflict.key) {
            continue;
        }
        let device = conflict.device.as_str().to_owned();
        if conflict.settled.is_none() && !open.insert((conflict.key.clone(), device)) {
            found.push(format!("two open conflicts of one device: {conflict:?}"));
        }
        let others = tables.rows(&conflict.key).iter().any(|row| {
            let version = row.new.version;
            row.device != conflict.device
                && version > conflict.base
                && version <= conflict.server_version
        });
        // A restored server may have forgotten the others.
        if !others && !tables.restored {
            found.push(format!("a device conflicts with itself: {conflict:?}"));
        }
    }
    found
}

/// Promises 1, 2 and 4: every answer that was ever given.
pub fn of_answers(tables: &Tables<'_>, answers: &[(SyncItem, SyncResult)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut first: BTreeMap<(&str, &str), &SyncResult> = BTreeMap::new();
    for (item, result) in answers {
        let key = entity_key(&(item.entity_type.clone(), item.entity_id.clone()));
        if !tables.memory.library.contains_key(&key) {
            found.extend(untrue(tables, &key, item, result));
        }
        let edit = (item.entity_id.as_str(), item.mutation_id.as_str());
        if let Some(first) = first.get(&edit) {
            if !same(first, result) {
                found.push(format!("first {first:?}, asked again {result:?}"));
            }
        } else if writes(result) && is_writer(tables, &key, item, result) {
            first.insert(edit, result);
        }
    }
    found
}

/// Whether the version an answer names was written by its item: a merge may be one that was there already.
fn is_writer(tables: &Tables<'_>, key: &EntityKey, item: &SyncItem, result: &SyncResult) -> bool {
    let row = tables.row(key, result.server_version);
    row.is_some_and(|row| row.new.mutation.0.to_string() == item.mutation_id)
}

/// JSON that was stored is written in another way than it came.
fn same(first: &SyncResult, again: &SyncResult) -> bool {
    let said = |result: &SyncResult| {
        (
            result.status,
            result.resolution,
            result.server_version,
            result.server_deleted,
            Json::from_device(&result.server_data).ok(),
        )
    };
    said(first) == said(again)
}

/// Whether a version that was nobody's conflict goes over another device's, which its edit did not start from:
/// neither rule 3 nor rule 5 allow that, and rule 7 only where that is a deletion.
fn overwrites(tables: &Tables<'_>, key: &EntityKey, item: &SyncItem, row: Option<&Row>) -> bool {
    let Some(row) = row else { return false };
    let unseen = |other: &&Row| {
        other.new.version.number() > item.version && other.new.version < row.new.version
    };
    let unseen: Vec<&Row> = tables.rows(key).iter().filter(unseen).collect();
    let own = |other: &Row| other.device == row.device;
    let same_base = |last: &Row| last.new.base.map(Version::number) == Some(item.version);
    // A merge of the edit before it has something of others that this one has not.
    let merged = |last: &&Row| same_base(last) && last.new.resolution == Wrote::Merged;
    if unseen.last().is_some_and(merged) {
        return true;
    }
    if unseen.iter().all(|other| own(other)) {
        return false;
    }
    // Rule 5 also goes on from the device's own edit on the same base, which met the others.
    let goes_on =
        |last: &Row| own(last) && last.new.base.map(Version::number) == Some(item.version);
    let last = unseen.last();
    !last.is_some_and(|last| goes_on(last) || last.new.document.is_none())
}

/// What is not as the answer says.
fn untrue(
    tables: &Tables<'_>,
    key: &EntityKey,
    item: &SyncItem,
    result: &SyncResult,
) -> Option<String> {
    let row = tables.row(key, result.server_version);
    let held = row.map(|row| row.new.document.as_deref());
    let wrong = |what: &str| Some(format!("{what}: {item:?} {result:?}"));
    match result.resolution() {
        Resolution::Applied | Resolution::ClientWon | Resolution::Resurrected => {
            if !is_writer(tables, key, item, result) {
                return wrong("the version is another edit's");
            }
            if result.resolution() != Resolution::ClientWon && overwrites(tables, key, item, row) {
                return wrong("it goes over what its device has not seen");
            }
            match held {
                Some(held) if wants(item, held) => None,
                Some(_) | None => wrong("SUCCESS, and the server holds something else"),
            }
        }
        Resolution::Unchanged => match held {
            Some(held) if wants(item, held) => None,
            // There was nothing to delete.
            Some(_) | None if item.operation == "delete" && result.server_timestamp == 0 => None,
            Some(_) | None => wrong("UNCHANGED, and the server holds something else"),
        },
        Resolution::Merged | Resolution::ServerWon | Resolution::NeedsUser => {
            let shown = match held {
                Some(Some(held)) => means_the_same(&result.server_data, held),
                Some(None) => result.server_deleted,
                None => false,
            };
            if !shown {
                return wrong("CONFLICT, and the copy is not that version");
            }
            let kept = result.conflict.as_ref();
            let kept = kept.is_some_and(|detail| !detail.conflict_id.is_empty());
            match kept && !tables.holds_somewhere(item) {
                true => wrong("the side that lost is lost"),
                false => None,
            }
        }
        Resolution::Unspecified => None,
    }
}
