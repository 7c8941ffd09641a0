//! Conflicts as they are kept: the inbox, and the sides that lost (promise 1).

use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::decide::Rule;
use super::entity::{Document, EntityKey, MutationId};
use super::scope::DeviceId;
use super::version::{Revision, Version};

/// Namespace of conflict ids (UUID v5). Never change it: an item that comes again finds its conflict.
const CONFLICTS: Uuid = Uuid::from_u128(0x7d3a_90be_5b1c_4e8f_9c27_c0ff_11c7_ed00);

/// Namespace of content ids (UUID v5). Never change it, for the same reason.
const CONTENTS: Uuid = Uuid::from_u128(0x2c8e_61f0_35b7_4c11_b7de_c0de_57a7_e5ed);

/// Names a conflict within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId(pub Uuid);

impl ConflictId {
    /// The id of the conflict this edit of a device opens: the same however often it comes.
    pub fn opened_by(
        kind: &Kind,
        key: &EntityKey,
        mutation: MutationId,
        device: &DeviceId,
    ) -> Self {
        let other = kind.older_id().unwrap_or_default();
        let identity: [&[u8]; 6] = [
            key.entity_id.as_bytes(),
            mutation.0.as_bytes(),
            other.as_bytes(),
            key.entity_type.as_str().as_bytes(),
            b"/",
            device.as_str().as_bytes(),
        ];
        Self(Uuid::new_v5(&CONFLICTS, &identity.concat()))
    }
}

/// What a conflict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A device's edit against what another wrote.
    Edit,
    /// Two entities that may be the same thing, recorded twice.
    Duplicate {
        /// The older of them.
        of: Uuid,
    },
}

impl Kind {
    /// The older of two possible duplicates.
    pub fn older_id(self) -> Option<Uuid> {
        match self {
            Self::Edit => None,
            Self::Duplicate { of } => Some(of),
        }
    }

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Duplicate { .. } => "duplicate",
        }
    }
}

/// How a conflict was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// A rule or policy kept the server's copy.
    ServerWon,
    /// A policy merged both sides.
    Merged,
    /// A device pushed its choice.
    Pushed,
    /// The person kept the server's copy (of two entities: the older).
    KeepServer,
    /// The person kept the device's side (of two entities: the newer).
    KeepClient,
    /// The person gave the data.
    UseData,
    /// The person kept both entities: they are no duplicates.
    KeepBoth,
}

impl Settlement {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServerWon,
        Self::Merged,
        Self::Pushed,
        Self::KeepServer,
        Self::KeepClient,
        Self::UseData,
        Self::KeepBoth,
    ];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerWon => "server_won",
            Self::Merged => "merged",
            Self::Pushed => "pushed",
            Self::KeepServer => "keep_server",
            Self::KeepClient => "keep_client",
            Self::UseData => "use_data",
            Self::KeepBoth => "keep_both",
        }
    }
}

/// The end of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// How.
    pub settlement: Settlement,
    /// From which device.
    pub by: DeviceId,
    /// When.
    pub at: Millis,
    /// The version that settled it: of the entity; of two duplicates, of the one that was written or
    /// deleted.
    pub version: Version,
}

/// A conflict at its newest state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its name.
    pub id: ConflictId,
    /// What it is about.
    pub kind: Kind,
    /// The entity; of two, the newer.
    pub key: EntityKey,
    /// Whose side lost or waits.
    pub device: DeviceId,
    /// The losing side that counts now.
    pub mutation: MutationId,
    /// What that side started from.
    pub base: Version,
    /// The version it met when it was last sent.
    pub server_version: Version,
    /// Which rule found it; `None` for a duplicate.
    pub rule: Option<Rule>,
    /// Which policy, for rule 9.
    pub policy: Option<String>,
    /// It is, or was, for the person to settle.
    pub asked: bool,
    /// When it was first seen.
    pub opened_at: Millis,
    /// Its end; `None` while it is open.
    pub settled: Option<Settled>,
}

impl Conflict {
    /// The older of two possible duplicates.
    pub fn older(&self) -> Option<EntityKey> {
        self.kind.older_id().map(|entity_id| EntityKey {
            entity_id,
            ..self.key.clone()
        })
    }
}

/// What an edit wants its entity to hold, by its meaning: the same for the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub Uuid);

impl ContentId {
    /// The id of this content; `None`: a deletion.
    pub fn of(document: Option<&Arc<Document>>) -> Self {
        let text = document.map(|document| match document.json() {
            Some(json) => json.to_text(),
            None => document.text().to_owned(),
        });
        Self(Uuid::new_v5(&CONTENTS, text.unwrap_or_default().as_bytes()))
    }
}

/// The name of a side whose mutation id is kept with other content already. A mutation id names one
/// edit; but an app that breaks this must not lose what it sent (promise 1).
pub fn side_beside(mutation: MutationId, content: ContentId) -> MutationId {
    MutationId(Uuid::new_v5(&mutation.0, content.0.as_bytes()))
}

/// What a device sent and the server does not hold as a version.
#[derive(Debug, Clone)]
pub struct LosingSide {
    /// The entity.
    pub key: EntityKey,
    /// The edit. It is kept once, however often it comes; see [`side_beside`].
    pub mutation: MutationId,
    /// What it wants the entity to hold.
    pub content: ContentId,
    /// The conflict it belongs to.
    pub conflict: ConflictId,
    /// Who sent it.
    pub device: DeviceId,
    /// What it started from.
    pub base: Version,
    /// What it lost against, or was merged with.
    pub server_version: Version,
    /// What the entity would hold; `None`: the edit deletes it.
    pub document: Option<Arc<Document>>,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When it came.
    pub received_at: Millis,
}

/// What is known of an edit that is kept as a losing side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What it wants its entity to hold.
    pub content: ContentId,
    /// The version it lost against, or was merged with.
    pub server_version: Version,
    /// The conflict it belongs to.
    pub conflict: ConflictId,
    /// That conflict waits for the person.
    pub open: bool,
    /// It is, or was, for the person to settle.
    pub asked: bool,
}

/// What a batch does to the inbox.
#[derive(Debug, Default)]
pub struct InboxWrites {
    /// Conflicts at their new state, each at its place in the order of changes.
    pub conflicts: Vec<(Revision, Conflict)>,
    /// Sides to keep.
    pub sides: Vec<LosingSide>,
    /// By how much the number of open conflicts changes.
    pub opened: i32,
}

impl InboxWrites {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.conflicts.is_empty() && self.sides.is_empty()
    }
}
