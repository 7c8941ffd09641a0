//! What must be true of any answer, and of any plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::memory::{Memory, Row};
use super::super::*;
use super::ledger::Pushed;
use crate::domain::answer::{Answer, ServerCopy, Verdict};

/// The kind of an answer, in a word.
pub(super) fn kind(answer: &Answer) -> String {
    match answer {
        Answer::Written { written, .. } => format!("{:?}", written.resolution),
        Answer::Unchanged { .. } => "Unchanged".to_owned(),
        Answer::Conflict(conflicting) => format!("{:?}", conflicting.verdict),
        Answer::Rejected(rejection) => format!("{:?}", rejection.code),
    }
}

/// The version that this place of the batch wrote: an edit may stand in it twice.
pub(super) fn written_now<'a>(
    pushed: &Pushed<'a>,
    item: &Item,
    answer: &Answer,
) -> Option<&'a Row> {
    let row = pushed.new_row(item)?;
    let version = match answer {
        Answer::Written { written, .. } => Some(written.version),
        Answer::Conflict(conflicting) => match conflicting.verdict {
            Verdict::Merged => Some(conflicting.copy.version),
            Verdict::ServerWon | Verdict::NeedsUser => None,
        },
        Answer::Unchanged { .. } | Answer::Rejected(_) => None,
    };
    Some(row).filter(|row| Some(row.new.version) == version)
}

/// Promise 4: asked again, an applied edit gets its first answer.
pub(super) fn is_replay(first: &Written, answer: &Answer, has_failed: bool) -> String {
    match answer {
        Answer::Written { written, .. } => {
            assert_eq!(written, first);
            "replayed".into()
        }
        Answer::Conflict(conflicting) => {
            let copy = &conflicting.copy;
            assert_eq!(conflicting.verdict, Verdict::Merged);
            assert_eq!((copy.version, copy.updated_at), (first.version, first.at));
            let merged = first.merged.as_ref().expect("a merge");
            assert_eq!(copy.document.as_ref(), Some(&merged.document));
            assert_eq!(copy.edit_time, merged.edit_time);
            match has_failed {
                true => "replayed merge in a failed group".into(),
                false => "replayed merge".into(),
            }
        }
        Answer::Unchanged { .. } | Answer::Rejected(_) => {
            panic!("{first:?} was answered, and now {answer:?}")
        }
    }
}

/// Promise 3: what a failed group wanted is nowhere, unless it was sent outside of it as well.
pub(super) fn failed_leaves_no_trace(
    pushed: &Pushed<'_>,
    failed: &BTreeSet<&str>,
    item: &Item,
    answer: &Answer,
) {
    assert!(answer.fails(), "{answer:?}");
    if let Answer::Conflict(conflicting) = answer {
        let current = pushed.after.version(&item.key);
        is_copy_of(pushed.after, &item.key, &conflicting.copy, current);
        has_met_another(pushed, item, current);
    }
    let elsewhere = pushed.batch.iter().any(|other| {
        let group = other.group.as_deref();
        let same = other
            .item
            .as_ref()
            .is_ok_and(|other| (&other.key, other.mutation) == (&item.key, item.mutation));
        same && group.is_none_or(|group| !failed.contains(group))
    });
    if !elsewhere {
        assert!(pushed.new_row(item).is_none());
        let edit = (item.key.clone(), item.mutation);
        let (before, after) = (&pushed.before.sides, &pushed.after.sides);
        assert_eq!(before.contains_key(&edit), after.contains_key(&edit));
        let touched = pushed.plan.inbox.conflicts.iter();
        let mut known = pushed.before.conflicts.values();
        let side = |conflict: &Conflict| conflict.mutation == item.mutation;
        assert!(touched.filter(|(_, conflict)| side(conflict)).count() == 0 || known.any(side));
    }
}

/// Promise 5: a conflict takes another device, or a base that the server does not have: now, or when the edit
/// before it on the same base was merged.
pub(super) fn has_met_another(pushed: &Pushed<'_>, item: &Item, found: Version) {
    let rows = pushed.after.versions.get(&item.key);
    let mut steps = rows.map_or(&[][..], Vec::as_slice).windows(2);
    let ahead = steps.any(|step| {
        let merged = step[1].new.resolution == Resolution::Merged;
        merged && step[1].new.base == Some(item.base) && item.base > step[0].new.version
    });
    let rows = rows.into_iter().flatten();
    let mut since = rows.filter(|row| (item.base..=found).contains(&row.new.version));
    let foreign = since.any(|row| row.new.version > item.base && row.device != *pushed.sender);
    assert!(
        foreign || ahead || item.base > found || item.read_only,
        "{item:?}"
    );
}

/// Promise 2: the answer has what the server holds as this version.
pub(super) fn is_copy_of(memory: &Memory, key: &EntityKey, copy: &ServerCopy, version: Version) {
    assert_eq!(copy.version, version);
    assert_eq!(copy.document, document_at(memory, key, version));
}

pub(super) fn document_at(
    memory: &Memory,
    key: &EntityKey,
    version: Version,
) -> Option<Arc<Document>> {
    if let Some(stored) = memory.library.get(key) {
        return ServerCopy::of(stored).document;
    }
    let mut rows = memory.versions[key].iter();
    let row = rows.find(|row| row.new.version == version);
    row.expect("a version that was answered")
        .new
        .document
        .clone()
}

pub(super) fn sent(item: &Item) -> Option<&Arc<Document>> {
    match &item.change {
        Change::Put(document) => Some(document),
        Change::Delete => None,
    }
}

/// Versions and conflicts of a plan stand side by side in the order of changes.
pub(super) fn revisions_are_dense(before: &Memory, plan: &Plan) {
    let versions = plan.writes.iter().flat_map(|write| &write.versions);
    let versions = versions.map(|new| new.revision);
    let conflicts = plan.inbox.conflicts.iter().map(|(revision, _)| *revision);
    let mut given: Vec<Revision> = versions.chain(conflicts).collect();
    given.sort();
    let expected = (1..=given.len()).map(|i| before.revision.after(i));
    assert!(given.iter().copied().eq(expected), "{given:?}");
    assert_eq!(plan.last_revision, before.revision.after(given.len()));
}

/// Two lists of answers say the same.
pub(super) fn same_answers(one: &[Answer], other: &[Answer]) {
    let told = |answer: &Answer| match answer {
        Answer::Written { written, .. } => (kind(answer), Some(written.version), None),
        Answer::Unchanged { version, .. } => (kind(answer), Some(*version), None),
        Answer::Conflict(conflicting) => {
            let version = conflicting.copy.version;
            (kind(answer), Some(version), conflicting.conflict)
        }
        Answer::Rejected(_) => (kind(answer), None, None),
    };
    let (one, other): (Vec<_>, Vec<_>) = (
        one.iter().map(told).collect(),
        other.iter().map(told).collect(),
    );
    assert_eq!(one, other);
}
