//! A person decides: resolving a conflict, and bringing an old version back. Both are bound to the
//! version the person saw (docs/protocol.md, section 5).

use std::sync::Arc;

use uuid::Uuid;

use super::answer::ServerCopy;
use super::conflict::{Conflict, Kind, Settlement};
use super::decide::{Resolution, Rule};
use super::draft::{Draft, Edit};
use super::entity::{Content, Document, EntityKey, MutationId, Stored};
use super::parts::joined;
use super::plan::{BatchContext, Cause, Plan, Reason, Snapshot};
use super::version::Version;

/// What a person chose.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The server's copy; of two entities, the older.
    KeepServer,
    /// The device's side; of two entities, the newer.
    KeepClient,
    /// This; of two entities, the older holds it and the newer goes.
    UseData(Arc<Document>),
    /// Both entities: they are no duplicates.
    KeepBoth,
}

impl Choice {
    fn settlement(&self) -> Settlement {
        match self {
            Self::KeepServer => Settlement::KeepServer,
            Self::KeepClient => Settlement::KeepClient,
            Self::UseData(_) => Settlement::UseData,
            Self::KeepBoth => Settlement::KeepBoth,
        }
    }
}

/// What a person decided about a conflict, and what they had seen.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What they chose.
    pub choice: Choice,
    /// The version of the entity they saw.
    pub expected: Version,
    /// Of two entities: the version of the older they saw.
    pub expected_other: Version,
    /// The identity of this decision.
    pub mutation: MutationId,
}

/// What came of a decision.
#[derive(Debug)]
pub struct Resolved {
    /// In one word.
    pub status: ResolveStatus,
    /// What the server holds now.
    pub copy: Option<ServerCopy>,
    /// Of two entities: what the server holds of the older.
    pub other: Option<ServerCopy>,
    /// What to write.
    pub plan: Plan,
}

/// What came of a decision, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveStatus {
    /// The conflict is settled as the person chose.
    Resolved,
    /// The entity has changed since the person looked: nothing was done.
    Moved,
    /// The conflict was settled before, in another way or from another device: nothing was done.
    SettledBefore,
    /// This choice does not fit this kind of conflict.
    NoSuchChoice,
    /// An entity that would have to be written has used up its versions.
    OutOfVersions,
}

/// Settles a conflict as a person decided. `side` is the losing side that counts now.
///
/// Data that a person gave and that is not used, because they came too late, is kept as one more losing
/// side of the conflict.
pub fn resolve(
    snapshot: &Snapshot,
    conflict: &Conflict,
    side: Option<&Arc<Document>>,
    decision: &Decision,
    context: &BatchContext,
) -> Resolved {
    let mut draft = Draft::new(snapshot, context);
    let older = conflict.older();
    let mut status = status(&draft, conflict, older.as_ref(), decision);
    let writes = match status {
        ResolveStatus::Resolved if conflict.settled.is_none() => {
            writes(&draft, conflict, older.as_ref(), side, &decision.choice)
        }
        ResolveStatus::Resolved
        | ResolveStatus::Moved
        | ResolveStatus::SettledBefore
        | ResolveStatus::NoSuchChoice
        | ResolveStatus::OutOfVersions => Vec::new(),
    };
    // As for a push based on a version the server has lost in a restore from a backup (rule 9): what it
    // lost is not given out again.
    let floor = match conflict.kind {
        Kind::Edit => conflict.base,
        Kind::Duplicate { .. } => Version::NONE,
    };
    let next = |draft: &Draft<'_>, key| version_of(draft.stored(key)).max(floor).next();
    if writes.iter().any(|(key, ..)| next(&draft, key).is_none()) {
        status = ResolveStatus::OutOfVersions;
    }
    match (status, &decision.choice) {
        (ResolveStatus::Resolved, _) if conflict.settled.is_none() => {
            // The version that settles it is the one the conflict's entity has afterwards.
            let mut version = version_of(draft.stored(&conflict.key));
            if writes.iter().any(|(key, ..)| **key == conflict.key) {
                version = next(&draft, &conflict.key).unwrap_or(version);
            }
            let settlement = decision.choice.settlement();
            draft.inbox.close(conflict.id, settlement, version);
            for (key, document, resolution) in writes {
                if let Some(version) = next(&draft, key) {
                    let mutation = decision.mutation;
                    let written = (version, document, resolution);
                    write(&mut draft, key, written, mutation, Cause::Resolve);
                }
            }
        }
        (ResolveStatus::Moved | ResolveStatus::SettledBefore, Choice::UseData(document)) => {
            let met = version_of(draft.stored(&conflict.key));
            let (mutation, base) = (decision.mutation, decision.expected);
            draft
                .inbox
                .keep_aside(conflict, mutation, base, met, document);
        }
        (
            ResolveStatus::Resolved
            | ResolveStatus::Moved
            | ResolveStatus::SettledBefore
            | ResolveStatus::NoSuchChoice
            | ResolveStatus::OutOfVersions,
            Choice::KeepServer | Choice::KeepClient | Choice::UseData(_) | Choice::KeepBoth,
        ) => (),
    }
    let copy = draft.stored(&conflict.key).map(ServerCopy::of);
    let other = older
        .as_ref()
        .and_then(|older| draft.stored(older))
        .map(ServerCopy::of);
    Resolved {
        status,
        copy,
        other,
        plan: draft.finish(&[], Vec::new()),
    }
}

/// What a choice makes of the entities of a conflict: which of them hold what. What an entity holds
/// already is left out.
fn writes<'a>(
    draft: &Draft<'_>,
    conflict: &'a Conflict,
    older: Option<&'a EntityKey>,
    side: Option<&'a Arc<Document>>,
    choice: &'a Choice,
) -> Vec<(&'a EntityKey, Option<&'a Arc<Document>>, Resolution)> {
    let newer = &conflict.key;
    let mut writes = match (older, choice) {
        (_, Choice::KeepBoth) | (None, Choice::KeepServer) => Vec::new(),
        (None, Choice::KeepClient) => vec![(newer, side, Resolution::ClientWon)],
        (None, Choice::UseData(data)) => vec![(newer, Some(data), Resolution::Applied)],
        (Some(_), Choice::KeepServer) => vec![(newer, None, Resolution::Applied)],
        (Some(older), Choice::KeepClient) => vec![(older, None, Resolution::Applied)],
        (Some(older), Choice::UseData(data)) => vec![
            (older, Some(data), Resolution::Applied),
            (newer, None, Resolution::Applied),
        ],
    };
    writes.retain(|(key, document, _)| differs(draft.stored(key), *document));
    writes
}

fn status(
    draft: &Draft<'_>,
    conflict: &Conflict,
    older: Option<&EntityKey>,
    decision: &Decision,
) -> ResolveStatus {
    if older.is_none() && decision.choice == Choice::KeepBoth {
        return ResolveStatus::NoSuchChoice;
    }
    if let Some(settled) = &conflict.settled {
        // The same decision again, its answer was lost.
        let same = settled.settlement == decision.choice.settlement()
            && settled.by == *draft.device()
            && match &decision.choice {
                Choice::KeepServer | Choice::KeepClient | Choice::KeepBoth => true,
                // It wrote nothing if the entity held that already.
                Choice::UseData(data) => {
                    let key = older.unwrap_or(&conflict.key);
                    draft.has_written(key, decision.mutation)
                        || !differs(draft.stored(key), Some(data))
                }
            };
        return if same {
            ResolveStatus::Resolved
        } else {
            ResolveStatus::SettledBefore
        };
    }
    let seen = version_of(draft.stored(&conflict.key)) == decision.expected
        && older.is_none_or(|older| version_of(draft.stored(older)) == decision.expected_other);
    if seen {
        ResolveStatus::Resolved
    } else {
        ResolveStatus::Moved
    }
}

/// What came of bringing back an old version.
#[derive(Debug)]
pub struct Restored {
    /// In one word.
    pub status: RestoreStatus,
    /// What the server holds now.
    pub copy: Option<ServerCopy>,
    /// What to write.
    pub plan: Plan,
}

/// What came of bringing back an old version, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStatus {
    /// The entity holds it again.
    Restored,
    /// The entity has changed since the person looked: nothing was done.
    Moved,
    /// The entity has no such version or losing side.
    NoSuchSource,
    /// Retention has removed the data of that version.
    SourceRemoved,
    /// The entity has used up its versions.
    OutOfVersions,
}

/// What an old version or a losing side held.
#[derive(Debug, Clone)]
pub enum Held {
    /// This; `None`: nothing, it was a deletion.
    Content(Option<Arc<Document>>),
    /// Retention has removed it.
    Gone,
}

/// Writes what an old version or a losing side held as a new version. `held`: `None` if there is no such
/// version or side.
///
/// A wish that was fulfilled before stays fulfilled, also if its source or what came of it is gone by now
/// (promise 4).
pub fn restore(
    snapshot: &Snapshot,
    key: &EntityKey,
    held: Option<&Held>,
    expected: Version,
    mutation: MutationId,
    context: &BatchContext,
) -> Restored {
    let mut draft = Draft::new(snapshot, context);
    let now = version_of(draft.stored(key));
    let status = match held {
        _ if draft.has_written(key, mutation) => RestoreStatus::Restored,
        None => RestoreStatus::NoSuchSource,
        Some(Held::Gone) => RestoreStatus::SourceRemoved,
        Some(Held::Content(_)) if now != expected => RestoreStatus::Moved,
        Some(Held::Content(document)) if !differs(draft.stored(key), document.as_ref()) => {
            RestoreStatus::Restored
        }
        Some(Held::Content(document)) => match now.next() {
            None => RestoreStatus::OutOfVersions,
            Some(version) => {
                let written = (version, document.as_ref(), Resolution::Applied);
                write(&mut draft, key, written, mutation, Cause::Restore);
                // As if the device had pushed this, based on the current version.
                draft.inbox.close_own(key, Settlement::Pushed, version);
                RestoreStatus::Restored
            }
        },
    };
    Restored {
        status,
        copy: draft.stored(key).map(ServerCopy::of),
        plan: draft.finish(&[], Vec::new()),
    }
}

/// Writes a version.
fn write<'a>(
    draft: &mut Draft<'a>,
    key: &'a EntityKey,
    (version, document, resolution): (Version, Option<&Arc<Document>>, Resolution),
    mutation: MutationId,
    cause: Cause,
) {
    let stored = draft.stored(key);
    let gone = stored.is_none_or(|stored| stored.content.is_tombstone());
    let resolution = match document {
        Some(_) if gone => Resolution::Resurrected,
        Some(_) | None => resolution,
    };
    let edit_time = draft.now();
    draft.write(Edit {
        key,
        version,
        document: document.cloned(),
        edit_time,
        clock_offset_ms: 0,
        base: None,
        mutation,
        resolution,
        reason: Reason {
            cause,
            rule: Some(Rule::Current),
            policy: None,
        },
    });
    if document.is_none() {
        draft.inbox.close_duplicates(key, version);
    }
}

fn version_of(stored: Option<&Stored>) -> Version {
    stored.map(|stored| stored.version).unwrap_or_default()
}

/// Whether the entity holds something else than this.
fn differs(stored: Option<&Stored>, document: Option<&Arc<Document>>) -> bool {
    match (stored.map(|stored| &stored.content), document) {
        (Some(Content::Live(held)), Some(document)) => !held.same_as(document),
        (Some(Content::Tombstone) | None, None) => false,
        (Some(Content::Live(_) | Content::NotLoaded | Content::Withheld), None)
        | (Some(Content::Tombstone | Content::NotLoaded | Content::Withheld) | None, Some(_)) => {
            true
        }
    }
}

/// Namespace of the mutation ids of decisions (UUID v5).
const DECISIONS: Uuid = Uuid::from_u128(0x52b0_4d1a_77c4_4b0e_8a11_dec1_51c0_0a5e);

/// Identifies a decision by all that makes it the same, so that asking again repeats nothing
/// (promise 4).
pub fn decision_mutation(parts: &[&[u8]]) -> MutationId {
    MutationId(Uuid::new_v5(&DECISIONS, &joined(parts.iter().copied())))
}
