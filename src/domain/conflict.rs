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

/// Names a conflict within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId(pub Uuid);

impl ConflictId {
    /// The id of the conflict this edit opens: the same however often it comes.
    pub fn opened_by(kind: &Kind, key: &EntityKey, mutation: MutationId) -> Self {
        let other = match kind {
            Kind::Edit => Uuid::nil(),
            Kind::Duplicate { of } => *of,
        };
        let identity = [
            key.entity_id.as_bytes(),
            mutation.0.as_bytes(),
            other.as_bytes(),
            key.entity_type.as_str().as_bytes(),
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
    /// The version of the entity that settled it; `None` if that was a deletion long gone.
    pub version: Option<Version>,
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

/// What a device sent and the server does not hold as a version.
#[derive(Debug, Clone)]
pub struct LosingSide {
    /// The entity.
    pub key: EntityKey,
    /// The edit. It is kept once, however often it comes.
    pub mutation: MutationId,
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
