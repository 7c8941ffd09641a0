//! What the server keeps: entities, their content and who wrote it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::clock::Millis;
use super::json::{Json, shorten_numbers};
use super::scope::{DeviceId, LogName};
use super::version::Version;

/// Longest entity type in bytes.
pub const ENTITY_TYPE_BYTES_MAX: usize = 64;

/// The kind of an entity: 1-64 lower-case letters, digits and underscores, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityType(String);

impl EntityType {
    /// An entity type; `None` if the text is not one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= ENTITY_TYPE_BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an entity within a scope. The same id under another type is another entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    /// The kind of the entity.
    pub entity_type: EntityType,
    /// The id its first device gave it.
    pub entity_id: Uuid,
}

impl EntityKey {
    /// The entity in logs: its id, which devices make up, and with it whatever they like.
    pub fn log_name(&self) -> LogName {
        LogName::of(&self.entity_id.to_string())
    }
}

/// The identity of one edit. It writes at most one version of an entity (promise 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutationId(pub Uuid);

/// The JSON of an entity: its text, and its meaning once somebody asks.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    /// `None` inside: the store holds something this reader refuses, so it equals nothing.
    json: OnceLock<Option<Json>>,
}

impl PartialEq for Document {
    /// Whether both mean the same, however they are written.
    fn eq(&self, other: &Self) -> bool {
        self.same_as(other)
    }
}

impl Document {
    /// A document a device sent, already read.
    pub fn from_device(text: String, json: Json) -> Self {
        Self {
            text,
            json: OnceLock::from(Some(json)),
        }
    }

    /// A document made here, as by a merge: written compactly.
    pub fn from_json(json: Json) -> Self {
        Self::from_device(json.to_text(), json)
    }

    /// A document the store wrote out. Its overlong numbers are shortened, so that whatever
    /// a device may push it may push again after reading it back.
    pub fn from_store(text: String) -> Self {
        Self {
            text: shorten_numbers(text),
            json: OnceLock::new(),
        }
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether both mean the same, however they are written.
    pub fn same_as(&self, other: &Self) -> bool {
        self.text == other.text || (self.json().is_some() && self.json() == other.json())
    }

    /// What the text means, read at the first call; `None` if the store holds something the
    /// strict reader refuses.
    pub fn json(&self) -> Option<&Json> {
        self.json
            .get_or_init(|| Json::from_store(&self.text).ok())
            .as_ref()
    }
}

/// What an entity holds at one version. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Content {
    /// Its data.
    Live(Arc<Document>),
    /// Its data, which the store was not asked for: every item of the batch that names the
    /// entity is based on its version, so no rule looks at the data.
    NotLoaded,
    /// Its data, of which there was more than one batch may read: the item is put off.
    Withheld,
    /// The entity is deleted.
    Tombstone,
}

impl Content {
    /// Whether this is a tombstone.
    pub fn is_tombstone(&self) -> bool {
        matches!(self, Self::Tombstone)
    }
}

/// An entity as the store holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its current version, at least 1.
    pub version: Version,
    /// What it holds.
    pub content: Content,
    /// The device that wrote the current version.
    pub device: DeviceId,
    /// What that device is called, if it ever said.
    pub device_label: Option<String>,
    /// The newest version that another device than `device` wrote; [`Version::NONE`] if none
    /// did. So "every version after b was written by this device" (rule 5) needs no history.
    pub foreign_version: Version,
    /// The base of the edit that became the current version; `None` if no edit of a device did.
    pub base: Option<Version>,
    /// Which edit that was.
    pub mutation: MutationId,
    /// The current version is a merge.
    pub merged: bool,
    /// The edit time behind the current version.
    pub edit_time: Millis,
    /// What was added to the times of that device's clock to get the server's.
    pub clock_offset_ms: i64,
    /// When the server wrote the current version.
    pub updated_at: Millis,
}
