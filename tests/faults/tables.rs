//! What the real tables hold of a user, as the oracle of the simulation looks at it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::conflict::{
    Conflict, ConflictId, ContentId, Kind, LosingSide, Settled, Settlement,
};
use ironflow_sync::domain::cursor::{Binding, Cursor, CursorKey};
use ironflow_sync::domain::decide::{Resolution, Rule};
use ironflow_sync::domain::entity::{Content, Document, EntityKey, EntityType, MutationId, Stored};
use ironflow_sync::domain::plan::{Cause, NewVersion, Reason};
use ironflow_sync::domain::scope::{DeviceId, Scope};
use ironflow_sync::domain::version::{Revision, Version};
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::sim::catalog::catalog;
use crate::sim::memory::{Memory, Row as Kept};

const VERSIONS: &str = "
    select entity_type, entity_id, version, revision, data::text, resolution, device_id, mutation_id, edit_time,
        updated_at
    from entity_versions where scope = $1
    union all
    select entity_type, entity_id, version, revision, data::text, resolution, device_id, mutation_id, edit_time,
        updated_at
    from entities where scope = $1
    order by entity_type, entity_id, version";
const LIBRARY: &str = "
    select entity_type, entity_id, version, revision, data::text, resolution, device_id, mutation_id, edit_time,
        updated_at
    from entities where scope = 'library'";
const SIDES: &str = "
    select entity_type, entity_id, mutation_id, content_id, conflict_id, device_id, base_version, server_version,
        data::text, edit_time, received_at
    from losing_sides where scope = $1";
const CONFLICTS: &str = "
    select entity_type, entity_id, conflict_id, other_id, device_id, mutation_id, base_version, server_version,
        rule, policy, asked, open, opened_at, settlement, settled_by, settled_at, settled_version
    from conflicts where scope = $1";
const STATE: &str = "select epoch, cursor_key from service_state";
const SCOPE: &str = "select revision, open_conflicts, entities from scopes where scope = $1";

/// How far these cursors have led, those of another life of the database left aside.
pub async fn reached(sql: &Client, scope: &Scope, cursors: &[String]) -> Revision {
    let state = sql.query_one(STATE, &[]).await.expect("a state");
    let epoch: Uuid = state.get("epoch");
    let key: &[u8] = state.get("cursor_key");
    let key = CursorKey(key.try_into().expect("as long as a key"));
    let binding = Binding {
        scope: scope.clone(),
        types: Vec::new(),
        export: false,
    };
    let cursors = cursors.iter().map(|text| {
        let cursor = Cursor::decode(text, &binding, &key);
        cursor.expect("a cursor of the service")
    });
    let alive = cursors.filter(|cursor| cursor.epoch == epoch);
    alive
        .map(|cursor| cursor.user.after)
        .max()
        .unwrap_or_default()
}

/// Everything there is of a user at one moment. `bases`: which version each edit that was sent is based on, which
/// the tables know of current versions only.
pub async fn read(sql: &Client, scope: &Scope, bases: &HashMap<Uuid, i32>) -> Memory {
    let scope = scope.as_str();
    let mut memory = Memory::new(catalog());
    let snapshot = "begin isolation level repeatable read read only";
    sql.batch_execute(snapshot).await.expect("a transaction");
    for row in sql.query(VERSIONS, &[&scope]).await.expect("versions") {
        let versions = memory.versions.entry(key(&row)).or_default();
        versions.push(kept(&row, bases));
    }
    for row in sql.query(LIBRARY, &[]).await.expect("the library") {
        memory.library.insert(key(&row), stored(&row));
    }
    for row in sql.query(SIDES, &[&scope]).await.expect("sides") {
        let side = side(&row);
        memory.sides.insert((side.key.clone(), side.mutation), side);
    }
    for row in sql.query(CONFLICTS, &[&scope]).await.expect("conflicts") {
        let conflict = conflict(&row);
        memory.conflicts.insert(conflict.id, conflict);
    }
    let counted = sql.query_opt(SCOPE, &[&scope]).await.expect("a scope");
    if let Some(row) = counted {
        memory.revision = Revision::new(row.get("revision"));
        memory.open = row.get("open_conflicts");
        let open = memory.open_conflicts().count();
        assert_eq!(
            usize::try_from(memory.open),
            Ok(open),
            "conflicts are counted"
        );
        let entities: i64 = row.get("entities");
        assert_eq!(
            usize::try_from(entities),
            Ok(memory.versions.len()),
            "entities are counted"
        );
    }
    sql.batch_execute("commit").await.expect("an end");
    memory
}

fn key(row: &Row) -> EntityKey {
    EntityKey {
        entity_type: EntityType::new(row.get("entity_type")).expect("a type"),
        entity_id: row.get("entity_id"),
    }
}

fn kept(row: &Row, bases: &HashMap<Uuid, i32>) -> Kept {
    let mutation: Uuid = row.get("mutation_id");
    let resolution: &str = row.get("resolution");
    let resolution = Resolution::ALL.into_iter().find(|r| r.name() == resolution);
    let new = NewVersion {
        version: version(row, "version"),
        revision: Revision::new(row.get("revision")),
        document: document(row),
        foreign_version: Version::NONE,
        edit_time: millis(row, "edit_time"),
        clock_offset_ms: 0,
        began_at: None,
        base: bases.get(&mutation).copied().and_then(Version::new),
        mutation: MutationId(mutation),
        resolution: resolution.expect("a resolution"),
        reason: Reason {
            cause: Cause::Push,
            rule: None,
            policy: None,
        },
    };
    Kept {
        new,
        device: device(row, "device_id"),
        at: millis(row, "updated_at"),
    }
}

fn stored(row: &Row) -> Stored {
    Stored {
        version: version(row, "version"),
        content: document(row).map_or(Content::Tombstone, Content::Live),
        device: device(row, "device_id"),
        device_label: None,
        foreign_version: Version::NONE,
        base: None,
        mutation: MutationId(row.get("mutation_id")),
        merged: false,
        edit_time: millis(row, "edit_time"),
        clock_offset_ms: 0,
        updated_at: millis(row, "updated_at"),
    }
}

fn side(row: &Row) -> LosingSide {
    LosingSide {
        key: key(row),
        mutation: MutationId(row.get("mutation_id")),
        content: ContentId(row.get("content_id")),
        conflict: ConflictId(row.get("conflict_id")),
        device: device(row, "device_id"),
        base: version(row, "base_version"),
        server_version: version(row, "server_version"),
        document: document(row),
        edit_time: millis(row, "edit_time"),
        received_at: millis(row, "received_at"),
    }
}

fn conflict(row: &Row) -> Conflict {
    let settlement: Option<&str> = row.get("settlement");
    let other: Option<Uuid> = row.get("other_id");
    let rule: Option<i16> = row.get("rule");
    Conflict {
        id: ConflictId(row.get("conflict_id")),
        kind: other.map_or(Kind::Edit, |of| Kind::Duplicate { of }),
        key: key(row),
        device: device(row, "device_id"),
        mutation: MutationId(row.get("mutation_id")),
        base: version(row, "base_version"),
        server_version: version(row, "server_version"),
        rule: rule.and_then(Rule::of_number),
        policy: row.get("policy"),
        asked: row.get("asked"),
        opened_at: millis(row, "opened_at"),
        settled: settlement.map(|name| Settled {
            settlement: Settlement::ALL
                .into_iter()
                .find(|settlement| settlement.name() == name)
                .expect("a settlement"),
            by: device(row, "settled_by"),
            at: millis(row, "settled_at"),
            version: version(row, "settled_version"),
        }),
    }
}

fn document(row: &Row) -> Option<Arc<Document>> {
    let data: Option<String> = row.get("data");
    data.map(|text| Arc::new(Document::from_store(text)))
}

fn version(row: &Row, column: &str) -> Version {
    Version::new(row.get(column)).expect("not negative")
}

fn device(row: &Row, column: &str) -> DeviceId {
    DeviceId::new(row.get(column)).expect("a device id")
}

fn millis(row: &Row, column: &str) -> Millis {
    let time: SystemTime = row.get(column);
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    Millis(since.expect("after 1970").as_millis() as i64)
}
