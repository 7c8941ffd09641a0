//! Decisions in plain words, for those who are asked why.

use crate::domain::conflict::{Conflict, Kind, Settlement};
use crate::domain::decide::{Resolution, Rule};
use crate::domain::moment::rfc3339;
use crate::domain::plan::Cause;
use crate::store::explain::ExplainedVersion;

/// Why a version was written.
pub(super) fn why_written(version: &ExplainedVersion) -> String {
    let ExplainedVersion {
        rule,
        resolution,
        deleted,
        ..
    } = version;
    let why = match (version.cause, rule, resolution) {
        (Cause::Resolve, _, _) => "a person settled a conflict".to_owned(),
        (Cause::Restore, _, _) => "a person brought an older version back".to_owned(),
        (Cause::Push, None, _) => "from before reasons were kept".to_owned(),
        (Cause::Push, Some(Rule::Absent), Resolution::Resurrected) => {
            "the device knew an entity the server did not have, and it is back".to_owned()
        }
        (Cause::Push, Some(Rule::Absent), _) => "it was new".to_owned(),
        (Cause::Push, Some(Rule::Current), Resolution::Resurrected) => {
            "the device knew that it was deleted, and brought it back".to_owned()
        }
        (Cause::Push, Some(Rule::Current), _) => {
            "the device knew the newest version, nobody was in the way".to_owned()
        }
        (Cause::Push, Some(Rule::Own), _) => {
            "all versions the device had not seen were its own".to_owned()
        }
        (Cause::Push, Some(Rule::Forced), _) => {
            "another device had written in between, and the person chose this side".to_owned()
        }
        (Cause::Push, Some(Rule::EditOfDeleted), _) => {
            "another device had deleted it, this edit is the later: it is back".to_owned()
        }
        (Cause::Push, Some(Rule::DeletionOfEdited), _) => {
            "another device had edited it, this deletion is the later".to_owned()
        }
        (Cause::Push, Some(Rule::Policy), resolution) => {
            let met = "another device had written in between";
            match resolution {
                Resolution::Merged => format!("{met}, and both edits were merged"),
                Resolution::Applied | Resolution::ClientWon | Resolution::Resurrected => {
                    format!("{met}, and this edit is the later")
                }
            }
        }
    };
    let what = if *deleted { "deleted: " } else { "" };
    format!("{what}{why}{}", by(*rule, version.policy.as_deref()))
}

/// Why a side lost or waits, and what became of it.
pub(super) fn why_kept(conflict: Option<&Conflict>) -> String {
    let Some(conflict) = conflict else {
        return "kept beside the server's copy; its conflict is settled, and retention has removed it"
            .to_owned();
    };
    let why = match (conflict.rule, conflict.asked) {
        (Some(Rule::EditOfDeleted), _) => "another device had deleted it later than this edit",
        (Some(Rule::DeletionOfEdited), _) => {
            "another device had edited it later than this deletion"
        }
        (_, true) => "another device had written in between, and a person is to decide",
        (_, false) => "another device had written in between, and the policy decided",
    };
    let by = by(conflict.rule, conflict.policy.as_deref());
    format!("{why}{by}; {}", outcome(conflict))
}

/// What two possible duplicates are, and what became of them.
pub(super) fn why_duplicate(conflict: &Conflict) -> String {
    let other = match conflict.kind {
        Kind::Edit => String::new(),
        Kind::Duplicate { of } => format!(" as {of}"),
    };
    format!(
        "{} may be the same thing{other}, recorded twice; {}",
        conflict.key.entity_id,
        outcome(conflict)
    )
}

/// How a conflict ended.
pub(super) fn outcome(conflict: &Conflict) -> String {
    let Some(settled) = &conflict.settled else {
        return "waits in the conflict inbox".to_owned();
    };
    let how = match settled.settlement {
        Settlement::ServerWon => "the server's copy stayed",
        Settlement::Merged => "both sides were merged",
        Settlement::Pushed => "a device pushed its choice",
        Settlement::KeepServer => "the person kept the server's copy",
        Settlement::KeepClient => "the person kept the device's side",
        Settlement::UseData => "the person gave other data",
        Settlement::KeepBoth => "the person kept both",
    };
    format!(
        "{how}: version {}, from {}, {}",
        settled.version.number(),
        settled.by.as_str().escape_debug(),
        rfc3339(settled.at)
    )
}

/// The rule and the policy, as docs/protocol.md numbers and names them.
fn by(rule: Option<Rule>, policy: Option<&str>) -> String {
    match (rule, policy) {
        (None, None) => String::new(),
        (None, Some(policy)) => format!(" (policy {policy})"),
        (Some(rule), None) => format!(" (rule {})", rule.number()),
        (Some(rule), Some(policy)) => format!(" (rule {}, policy {policy})", rule.number()),
    }
}
