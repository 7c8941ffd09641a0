//! The nine rules for one item (docs/protocol.md, section 3).

use std::sync::Arc;

use super::clock::Millis;
use super::conflict::Kept;
use super::entity::{Content, Document, Stored};
use super::item::{Change, Item, Rejection, RejectionCode};
use super::policy::Policy;
use super::scope::DeviceId;
use super::settle::{Against, Ruling, content_json, settle};
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
    /// Both sides were merged.
    Merged,
}

impl Resolution {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Applied,
        Self::ClientWon,
        Self::Resurrected,
        Self::Merged,
    ];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::ClientWon => "client_won",
            Self::Resurrected => "resurrected",
            Self::Merged => "merged",
        }
    }
}

/// The rule that decided, by its number in the protocol. Kept with what it decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// 2: no such entity.
    Absent,
    /// 3: the device knew the current version.
    Current,
    /// 5: only this device has written since.
    Own,
    /// 6: the person has chosen.
    Forced,
    /// 7: edited here, deleted elsewhere.
    EditOfDeleted,
    /// 8: deleted here, edited elsewhere.
    DeletionOfEdited,
    /// 9: the policy of the entity type.
    Policy,
}

impl Rule {
    const ALL: [Self; 7] = [
        Self::Absent,
        Self::Current,
        Self::Own,
        Self::Forced,
        Self::EditOfDeleted,
        Self::DeletionOfEdited,
        Self::Policy,
    ];

    /// Its number in the protocol.
    pub fn number(self) -> i16 {
        match self {
            Self::Absent => 2,
            Self::Current => 3,
            Self::Own => 5,
            Self::Forced => 6,
            Self::EditOfDeleted => 7,
            Self::DeletionOfEdited => 8,
            Self::Policy => 9,
        }
    }

    /// The rule with this number that writes or keeps something; `None` if there is none.
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.number() == number)
    }
}

/// What a mutation wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The version it wrote.
    pub version: Version,
    /// How.
    pub resolution: Resolution,
    /// When, by the server's clock.
    pub at: Millis,
    /// What the server made of it; `None` unless it was merged, or if retention has removed it.
    pub merged: Option<Merged>,
    /// It was merged, but there was more of that than one batch may read: the item is put off.
    pub withheld: bool,
}

/// What a merge wrote: the answer to it holds the server copy, also when it is asked for again.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Its data.
    pub document: Arc<Document>,
    /// Its edit time.
    pub edit_time: Millis,
}

/// All that one item is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The item.
    pub item: &'a Item,
    /// Who sends it.
    pub device: &'a DeviceId,
    /// The entity as the item finds it.
    pub stored: Option<&'a Stored>,
    /// What its mutation wrote of this entity before.
    pub written: Option<&'a Written>,
    /// What is known of it as a losing side.
    pub kept: Option<Kept>,
    /// What the entity held at the item's base version, if that is still known.
    pub base: Option<&'a Content>,
    /// What this device sent before, if the stored version is the merge of that and it is known.
    pub own_side: Option<&'a Content>,
    /// The policy of its type.
    pub policy: &'a Policy,
}

/// What becomes of one item. A conflict is a value like any other.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Rule 1: this mutation was applied before; it gets the answer it got then.
    Replayed(Written),
    /// The item becomes this version of its entity.
    Write(Version, Resolution, Rule),
    /// A merge of both sides becomes this version.
    Merge(Version, Arc<Document>),
    /// The merge of both sides is what the server holds; the device adopts it.
    AlreadyMerged,
    /// The server already holds what the item wants, as this version.
    Unchanged(Version),
    /// The server copy stays and the device adopts it; its side is kept.
    KeptServerCopy(Rule),
    /// The conflict of this item was settled before: the device adopts what came of it.
    SettledBefore,
    /// Only the person can decide.
    NeedsUser,
    /// The item is an ERROR.
    Rejected(Rejection),
}

/// Decides one item. The first rule that fits wins.
pub fn decide(case: &Case<'_>) -> Outcome {
    let Case { item, stored, .. } = *case;
    // Rule 1: asked again.
    if let Some(written) = case.written {
        return Outcome::Replayed(written.clone());
    }
    if item.read_only {
        return decide_read_only(stored, item);
    }
    // Rule 2: no such entity.
    let Some(stored) = stored else {
        return match (&item.change, item.base) {
            (Change::Put(_), Version::NONE) => {
                write(item, Version::NONE, Resolution::Applied, Rule::Absent)
            }
            (Change::Put(_), _) => {
                write(item, Version::NONE, Resolution::Resurrected, Rule::Absent)
            }
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
        return write(item, version, uncontested, Rule::Current);
    }
    if [Some(&stored.content), case.base, case.own_side]
        .iter()
        .any(|content| matches!(content, Some(Content::Withheld)))
    {
        return put_off();
    }
    // Rule 4: the server holds it already.
    if holds_already(&stored.content, &item.change) {
        return Outcome::Unchanged(version);
    }
    // Rule 5: a device never conflicts with itself (promise 5).
    let only_own_since = stored.device == *case.device && stored.foreign_version <= item.base;
    // Behind a base that the server has lost in a restore there may be nobody else's version, and yet what the
    // device sent first on that base was merged with something it has not seen.
    let met_others = stored.merged && item.goes_on_from(stored, case.device);
    if item.base < version && only_own_since && !met_others {
        return write(item, version, uncontested, Rule::Own);
    }
    // Nor once its first edit on this base has met another's: what follows goes on from there.
    if goes_on(case, stored) && !stored.merged {
        return write(item, version, uncontested, Rule::Own);
    }
    decide_contested(case, stored)
}

/// Rules 6 to 9: another device has written since the item's base.
fn decide_contested(case: &Case<'_>, stored: &Stored) -> Outcome {
    let (item, version) = (case.item, stored.version);
    // Rule 6: the person has chosen.
    if item.force {
        return write(item, version, Resolution::ClientWon, Rule::Forced);
    }
    // Section 5: once a conflict is settled, its item never reopens it.
    if case.kept.is_some_and(|kept| kept.asked && !kept.open) {
        return Outcome::SettledBefore;
    }
    let later = item.edit_time > stored.edit_time;
    match (&item.change, &stored.content, later) {
        // Rule 7: edited here, deleted elsewhere.
        (Change::Put(_), Content::Tombstone, true) => {
            write(item, version, Resolution::Resurrected, Rule::EditOfDeleted)
        }
        (Change::Put(_), Content::Tombstone, false) => Outcome::KeptServerCopy(Rule::EditOfDeleted),
        // Rule 8: deleted here, edited elsewhere.
        (Change::Delete, _, true) => {
            write(item, version, Resolution::ClientWon, Rule::DeletionOfEdited)
        }
        (Change::Delete, _, false) => Outcome::KeptServerCopy(Rule::DeletionOfEdited),
        // Rule 9: a true conflict.
        (Change::Put(sent), _, _) => {
            match settle(case.policy, against(case, stored), stored, item, sent) {
                Ruling::Client => write(item, version, Resolution::ClientWon, Rule::Policy),
                Ruling::Server => Outcome::KeptServerCopy(Rule::Policy),
                Ruling::Merged(document) => match item.base.max(version).next() {
                    Some(version) => Outcome::Merge(version, document),
                    None => out_of_versions(),
                },
                Ruling::AlreadyMerged => Outcome::AlreadyMerged,
                Ruling::Person => Outcome::NeedsUser,
            }
        }
    }
}

/// Whether the item follows the edit of its device that is the stored version. What is kept as a losing
/// side came before that edit, unless it has met the stored version already.
fn goes_on(case: &Case<'_>, stored: &Stored) -> bool {
    let is_older = |kept: Kept| kept.server_version < stored.version;
    case.item.goes_on_from(stored, case.device) && !case.kept.is_some_and(is_older)
}

fn against<'a>(case: &Case<'a>, stored: &Stored) -> Against<'a> {
    match case.own_side.and_then(content_json) {
        Some(own) if goes_on(case, stored) => Against::OwnEdit(own),
        Some(_) | None => Against::Base(case.base.and_then(content_json)),
    }
}

/// An item of a type that only the operator writes. Whatever its base, it can only learn what there is.
fn decide_read_only(stored: Option<&Stored>, item: &Item) -> Outcome {
    match stored {
        None => match item.change {
            Change::Put(_) => Outcome::Rejected(Rejection::new(
                RejectionCode::ReadOnly,
                "entity_type: expected a type that devices may write, this one is shared by all users",
            )),
            Change::Delete => Outcome::Unchanged(item.base),
        },
        Some(stored) if matches!(stored.content, Content::Withheld) => put_off(),
        Some(stored) if holds_already(&stored.content, &item.change) => {
            Outcome::Unchanged(stored.version)
        }
        Some(_) => Outcome::KeptServerCopy(Rule::Policy),
    }
}

fn put_off() -> Outcome {
    Outcome::Rejected(Rejection::new(
        RejectionCode::RetryLater,
        "items: expected conflicts with less data, send this item again in a smaller batch",
    ))
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
fn write(item: &Item, stored: Version, resolution: Resolution, rule: Rule) -> Outcome {
    match item.base.max(stored).next() {
        Some(version) => Outcome::Write(version, resolution, rule),
        None => out_of_versions(),
    }
}

fn out_of_versions() -> Outcome {
    Outcome::Rejected(Rejection::new(
        RejectionCode::InvalidItem,
        "version: expected room for another version, the largest int32 is used",
    ))
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
