//! The answer to one item.

use std::sync::Arc;

use uuid::Uuid;

use super::clock::Millis;
use super::conflict::ConflictId;
use super::decide::Written;
use super::entity::{Content, Document, Stored};
use super::item::{Rejection, RejectionCode};
use super::scope::DeviceId;
use super::version::Version;

/// The answer to one item.
#[derive(Debug, Clone)]
pub enum Answer {
    /// SUCCESS: the item became a version, now or when it came first.
    Written {
        /// What it became.
        written: Written,
        /// An older entity that may be the same thing, recorded twice.
        possible_duplicate_of: Option<Uuid>,
    },
    /// SUCCESS: nothing to do.
    Unchanged {
        /// What the server holds; the base version where it holds nothing.
        version: Version,
        /// When that was written; `None` where the server holds nothing.
        at: Option<Millis>,
    },
    /// CONFLICT: the server holds something else.
    Conflict(Box<Conflicting>),
    /// ERROR: nothing was changed by this item.
    Rejected(Rejection),
}

/// A CONFLICT, in full.
#[derive(Debug, Clone)]
pub struct Conflicting {
    /// What the device does about it.
    pub verdict: Verdict,
    /// What the server holds.
    pub copy: ServerCopy,
    /// The record of the conflict; `None` if there is none.
    pub conflict: Option<ConflictId>,
    /// What the device's edit started from, if that is still held and fits into the answer.
    pub base: Option<Arc<Document>>,
    /// A merge of both sides, if it fits into the answer.
    pub proposed: Option<Arc<Document>>,
    /// JSON Pointers of the places both sides changed.
    pub overlaps: Vec<String>,
}

/// What a device does about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Settled: adopt the server copy, which has something of both sides.
    Merged,
    /// Settled: adopt the server copy.
    ServerWon,
    /// Open: ask the person.
    NeedsUser,
}

/// The server's side of a conflict.
#[derive(Debug, Clone)]
pub struct ServerCopy {
    /// Its version.
    pub version: Version,
    /// Its data; `None` for a tombstone.
    pub document: Option<Arc<Document>>,
    /// Who wrote it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// When the edit behind it was made.
    pub edit_time: Millis,
    /// When the server wrote it.
    pub updated_at: Millis,
}

impl Answer {
    pub(super) fn group_aborted() -> Self {
        Self::Rejected(Rejection::new(
            RejectionCode::GroupAborted,
            "group_id: expected every item of the group to be applied, another was not",
        ))
    }

    pub(super) fn group_put_off() -> Self {
        Self::Rejected(Rejection::new(
            RejectionCode::RetryLater,
            "group_id: expected fewer groups that fail in one batch, send this group again in another",
        ))
    }

    pub(super) fn repeat_put_off() -> Self {
        Self::Rejected(Rejection::new(
            RejectionCode::RetryLater,
            "batch_number: expected the next number, this batch was answered before; send what waits in another",
        ))
    }

    /// Whether this answer aborts its item's group.
    pub(super) fn fails(&self) -> bool {
        match self {
            Self::Written { .. } | Self::Unchanged { .. } => false,
            Self::Conflict(conflicting) => match conflicting.verdict {
                Verdict::Merged => false,
                Verdict::ServerWon | Verdict::NeedsUser => true,
            },
            Self::Rejected(_) => true,
        }
    }

    /// Bytes of its server copy.
    pub(super) fn copy_bytes(&self) -> usize {
        match self {
            Self::Conflict(conflicting) => conflicting.copy.bytes(),
            Self::Written { .. } | Self::Unchanged { .. } | Self::Rejected(_) => 0,
        }
    }
}

impl Conflicting {
    /// The verdict with what the server holds, and nothing beside it.
    pub(super) fn plain(verdict: Verdict, copy: ServerCopy) -> Self {
        Self {
            verdict,
            copy,
            conflict: None,
            base: None,
            proposed: None,
            overlaps: Vec::new(),
        }
    }
}

impl ServerCopy {
    /// A copy of what is stored.
    pub fn of(stored: &Stored) -> Self {
        Self {
            version: stored.version,
            document: match &stored.content {
                Content::Live(document) => Some(document.clone()),
                Content::NotLoaded | Content::Withheld | Content::Tombstone => None,
            },
            device: stored.device.clone(),
            device_label: stored.device_label.clone(),
            edit_time: stored.edit_time,
            updated_at: stored.updated_at,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(self.document.as_ref())
    }
}

pub(super) fn bytes(document: Option<&Arc<Document>>) -> usize {
    document.map_or(0, |document| document.text().len())
}
