//! The nine rules for one item (docs/protocol.md, section 3).

use super::clock::Millis;
use super::entity::{Content, Stored};
use super::item::{Change, Item, Rejection, RejectionCode};
use super::scope::DeviceId;
use super::version::Version;

/// How a version came to be written. Kept with the version, so that a replay gets its first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nobody was in the way.
    Applied,
    /// Another device was, and this side won.
    ClientWon,
    /// The entity was gone and is back.
    Resurrected,
}

/// What a mutation wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The version it wrote.
    pub version: Version,
    /// How.
    pub resolution: Resolution,
    /// When, by the server's clock.
    pub at: Millis,
}

/// What becomes of one item. A conflict is a value like any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Rule 1: this mutation was applied before; it gets the answer it got then.
    Replayed(Written),
    /// The item becomes this version of its entity.
    Write(Version, Resolution),
    /// The server already holds what the item wants, as this version.
    Unchanged(Version),
    /// The server copy stays and the device adopts it.
    KeptServerCopy,
    /// Only the person can decide.
    NeedsUser,
    /// The item is an ERROR.
    Rejected(Rejection),
}

/// Decides one item. The first rule that fits wins.
///
/// `stored` is the entity as the item finds it, `written` what its mutation wrote of this entity
/// before, `device` who sends the item.
pub fn decide(
    stored: Option<&Stored>,
    written: Option<Written>,
    item: &Item,
    device: &DeviceId,
) -> Outcome {
    // Rule 1: asked again.
    if let Some(written) = written {
        return Outcome::Replayed(written);
    }
    // Rule 2: no such entity.
    let Some(stored) = stored else {
        return match (&item.change, item.base) {
            (Change::Put(_), Version::NONE) => write(item, Version::NONE, Resolution::Applied),
            (Change::Put(_), _) => write(item, Version::NONE, Resolution::Resurrected),
            (Change::Delete, base) => Outcome::Unchanged(base),
        };
    };
    let version = stored.version;
    let deleted = stored.content.is_tombstone();
    // Rules 3 and 4: deleting what is deleted.
    if deleted && matches!(item.change, Change::Delete) {
        return Outcome::Unchanged(version);
    }
    let uncontested = if deleted {
        Resolution::Resurrected
    } else {
        Resolution::Applied
    };
    // Rule 3: the device knew the current version.
    if item.base == version {
        return write(item, version, uncontested);
    }
    if matches!(stored.content, Content::Withheld) {
        return Outcome::Rejected(Rejection::new(
            RejectionCode::RetryLater,
            "items: expected conflicts with less data, send this item again in a smaller batch",
        ));
    }
    // Rule 4: the server holds it already.
    if holds_already(&stored.content, &item.change) {
        return Outcome::Unchanged(version);
    }
    // Rule 5: a device never conflicts with itself (promise 5).
    let only_own_since = stored.device == *device && stored.foreign_version <= item.base;
    if item.base < version && only_own_since {
        return write(item, version, uncontested);
    }
    // Rule 6: the person has chosen.
    if item.force {
        return write(item, version, Resolution::ClientWon);
    }
    let later = item.edit_time > stored.edit_time;
    match (&item.change, deleted, later) {
        // Rule 7: edited here, deleted elsewhere.
        (Change::Put(_), true, true) => write(item, version, Resolution::Resurrected),
        (Change::Put(_), true, false) => Outcome::KeptServerCopy,
        // Rule 8: deleted here, edited elsewhere.
        (Change::Delete, _, true) => write(item, version, Resolution::ClientWon),
        (Change::Delete, _, false) => Outcome::KeptServerCopy,
        // Rule 9: a true conflict. Every type has the policy `ask`.
        (Change::Put(_), false, _) => Outcome::NeedsUser,
    }
}

fn holds_already(stored: &Content, change: &Change) -> bool {
    match (stored, change) {
        (Content::Live(stored), Change::Put(sent)) => stored.same_as(sent),
        (Content::Tombstone, Change::Delete) => true,
        (Content::NotLoaded | Content::Withheld | Content::Tombstone, Change::Put(_))
        | (Content::Live(_) | Content::NotLoaded | Content::Withheld, Change::Delete) => false,
    }
}

/// The version behind both the stored one and the base. They differ that way round only if the
/// server was restored from a backup; skipping what it lost keeps versions unique (promise 6).
fn write(item: &Item, stored: Version, resolution: Resolution) -> Outcome {
    match item.base.max(stored).next() {
        Some(version) => Outcome::Write(version, resolution),
        None => Outcome::Rejected(Rejection::new(
            RejectionCode::InvalidItem,
            "version: expected room for another version, the largest int32 is used",
        )),
    }
}

#[cfg(test)]
mod tests;
