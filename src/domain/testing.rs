//! Short ways to write items and entities, for the tests of the domain.

use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::entity::{Content, Document, EntityKey, EntityType, MutationId, Stored};
use super::item::{Change, Item};
use super::json::Json;
use super::scope::DeviceId;
use super::version::Version;

/// The server's clock.
pub(super) const NOW: Millis = Millis(1_700_000_000_000);

pub(super) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("a device id")
}

pub(super) fn version(number: i32) -> Version {
    Version::new(number).expect("a version")
}

/// The workout with this number.
pub(super) fn key(number: u128) -> EntityKey {
    EntityKey {
        entity_type: EntityType::new("workout").expect("a type"),
        entity_id: Uuid::from_u128(number),
    }
}

pub(super) fn document(json: &str) -> Arc<Document> {
    let read = Json::from_device(json.as_bytes()).expect("valid JSON");
    Arc::new(Document::from_device(json.to_owned(), read))
}

/// What a test wants an item to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// `{"title": ..}`
    Put(&'static str),
    Delete,
}

pub(super) fn content(edit: Edit) -> Content {
    match edit {
        Edit::Put(title) => Content::Live(document(&format!("{{\"title\":\"{title}\"}}"))),
        Edit::Delete => Content::Tombstone,
    }
}

/// An edit of workout 1, made now, with a mutation id of its own.
pub(super) fn item(edit: Edit, base: i32) -> Item {
    Item {
        key: key(1),
        change: match content(edit) {
            Content::Live(document) => Change::Put(document),
            Content::Tombstone | Content::NotLoaded | Content::Withheld => Change::Delete,
        },
        base: version(base),
        edit_time: NOW,
        mutation: MutationId(Uuid::from_u128(7)),
        force: false,
        clock_offset_ms: 0,
        read_only: false,
    }
}

/// Workout 1 as written by the phone a minute ago, with nobody else before it.
pub(super) fn stored(edit: Edit, at: i32) -> Stored {
    Stored {
        version: version(at),
        content: content(edit),
        device: device("phone"),
        device_label: Some("Mia's phone".to_owned()),
        foreign_version: Version::NONE,
        base: None,
        mutation: MutationId(Uuid::from_u128(6)),
        merged: false,
        edit_time: Millis(NOW.0 - 60_000),
        clock_offset_ms: 0,
        updated_at: Millis(NOW.0 - 60_000),
    }
}
