//! The few entities of a simulation: one of each policy, two that may be one thing recorded twice, and the
//! library's.

use std::sync::Arc;

use uuid::Uuid;

use super::device::Key;
use super::server::BEGINNING;
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::entity::{Content, Document, EntityKey, EntityType, MutationId, Stored};
use crate::domain::json::Json;
use crate::domain::scope::DeviceId;
use crate::domain::version::Version;

/// The type of each entity there may be.
pub const ENTITIES: [&str; 12] = [
    "asked", "asked", "latest", "latest", "fields", "fields", "strict", "largest", "days",
    "library", "workout", "workout",
];

/// Those that may be one thing recorded twice.
pub const WORKOUTS: [usize; 2] = [10, 11];

/// The library's entity.
pub const LOADED: usize = 9;

/// The types of a history. The real service reads the same file.
pub const CATALOG: &str = include_str!("catalog.toml");

pub fn catalog() -> Catalog {
    Catalog::parse(CATALOG, &|_| Err("no file".to_owned())).expect("a catalog")
}

/// The entity with this number, as a device names it.
pub fn entity(number: usize) -> Key {
    let id = Uuid::from_u128(0xe0 + number as u128);
    (ENTITIES[number].to_owned(), id.to_string())
}

/// The same, as the core names it.
pub fn entity_key(key: &Key) -> EntityKey {
    EntityKey {
        entity_type: EntityType::new(&key.0).expect("a type"),
        entity_id: Uuid::parse_str(&key.1).expect("an id"),
    }
}

/// What the operator has loaded.
pub fn loaded() -> Option<(EntityKey, Stored)> {
    let text = "{\"name\":\"Squat\"}".to_owned();
    let json = Json::from_device(text.as_bytes()).expect("JSON");
    let stored = Stored {
        version: Version::new(2)?,
        content: Content::Live(Arc::new(Document::from_device(text, json))),
        device: DeviceId::new("operator")?,
        device_label: None,
        foreign_version: Version::NONE,
        base: None,
        mutation: MutationId(Uuid::from_u128(1)),
        merged: false,
        edit_time: Millis(BEGINNING),
        clock_offset_ms: 0,
        updated_at: Millis(BEGINNING),
    };
    Some((entity_key(&entity(LOADED)), stored))
}
