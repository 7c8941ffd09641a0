//! What checks write: entities under fresh ids, of types of the built-in catalog.

use ironflow_sync::grpc::proto::SyncItem;
use serde_json::{Value, json};
use uuid::Uuid;

/// An entity type that checks use, and the policy they count on.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How the built-in catalog settles its conflicts.
    pub policy: &'static str,
}

const fn kind(name: &'static str, policy: &'static str) -> Kind {
    Kind { name, policy }
}

/// The person is asked.
pub const WORKOUT: Kind = kind("workout", "ask");
/// The person is asked; and two that begin at the same time are possibly one.
pub const SESSION: Kind = kind("workout_session", "ask");
/// The later edit wins.
pub const SETTINGS: Kind = kind("user_settings", "last_write_wins");
/// The later edit wins. For pages: no other check writes it.
pub const SUPERSET: Kind = kind("superset", "last_write_wins");
/// Fields merge, overlaps go to the later edit.
pub const EXERCISE: Kind = kind("custom_exercise", "merge_fields");
/// Fields merge, overlaps are asked about.
pub const LOG: Kind = kind("exercise_log", "merge_fields");
/// Keys are united, the larger number stays.
pub const VOLUME: Kind = kind("volume", "merge_max");
/// Each day from where it was edited later.
pub const RECOVERY: Kind = kind("recovery", "latest_per_key");
/// The same for everybody, written by the operator.
pub const DEFINITION: Kind = kind("exercise_definition", "server_authoritative");
/// Only pulled by name.
pub const SAMPLES: Kind = kind("metric_sample_set", "last_write_wins");

/// An entity of a check.
#[derive(Clone)]
pub struct Record {
    /// Its type.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
}

impl Record {
    /// An edit of it, based on a version (0: none).
    pub fn put(&self, base: i32, data: &Value) -> SyncItem {
        self.put_bytes(base, data.to_string())
    }

    /// An edit whose data is these bytes, JSON or not.
    pub fn put_bytes(&self, base: i32, data: impl Into<Vec<u8>>) -> SyncItem {
        SyncItem {
            entity_type: self.kind.name.to_owned(),
            entity_id: self.id.to_string(),
            operation: "update".to_owned(),
            data: data.into(),
            version: base,
            mutation_id: Uuid::new_v4().to_string(),
            ..SyncItem::default()
        }
    }

    /// A deletion of it, based on a version.
    pub fn delete(&self, base: i32) -> SyncItem {
        SyncItem {
            operation: "delete".to_owned(),
            ..self.put_bytes(base, "")
        }
    }
}

/// Data that fits every type.
pub fn note(text: &str) -> Value {
    json!({ "conformance": text })
}

/// An edit that the person made then, in milliseconds of the server's clock.
pub fn at(time_ms: i64, item: SyncItem) -> SyncItem {
    SyncItem {
        timestamp: time_ms,
        ..item
    }
}

/// An edit that is written whatever others did meanwhile.
pub fn forced(item: SyncItem) -> SyncItem {
    SyncItem {
        force: true,
        ..item
    }
}

/// An edit that is applied with the rest of its group or not at all.
pub fn grouped(group: &str, item: SyncItem) -> SyncItem {
    SyncItem {
        group_id: group.to_owned(),
        ..item
    }
}
