//! Section 9: the same thing recorded twice.

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{
    Choice, ConflictKind, ConflictState, ResolveConflictRequest, ResolveStatus,
};
use serde_json::json;

use crate::check::{Checked, expect, there};
use crate::record::{Record, SESSION};
use crate::subject::Subject;

/// The first millisecond of the year 2100.
const YEAR_2100_MS: i64 = 4_102_444_800_000;

/// Two sessions that began in the same minute, recorded by the phone and the tablet: the older, the newer, and
/// the conflict about them.
async fn twice(subject: &Subject) -> Checked<(Record, Record, String)> {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (older, newer) = (subject.fresh(SESSION).await?, subject.fresh(SESSION).await?);
    // A minute of the far future that no other run has met, and no workout of the user.
    let minutes = older.id.as_u128() % (700 * 365 * 24 * 60);
    let began = json!(YEAR_2100_MS + minutes as i64 * 60_000);
    let data = |text: &str| json!({"date": began, "notes": text});
    let answer = phone
        .settles(older.put(0, &data("phone")), Applied, 1)
        .await?;
    expect(
        "possible_duplicate_of the first",
        answer.possible_duplicate_of.as_str(),
        "",
    )?;
    let answer = tablet
        .settles(newer.put(0, &data("tablet")), Applied, 1)
        .await?;
    let noted = answer.possible_duplicate_of;
    expect(
        "possible_duplicate_of the second",
        noted,
        older.id.to_string(),
    )?;
    let open = phone.conflicts(ConflictState::Open, SESSION.name).await?;
    let id = newer.id.to_string();
    let conflict = open.into_iter().find(|conflict| conflict.entity_id == id);
    let conflict = there("the pair in ListConflicts", conflict)?;
    expect("its kind", conflict.kind(), ConflictKind::Duplicate)?;
    Ok((older, newer, conflict.conflict_id))
}

async fn decide_about_two(subject: &Subject, conflict_id: String, choice: Choice) -> Checked {
    let decision = ResolveConflictRequest {
        conflict_id,
        choice: choice.into(),
        expected_version: 1,
        expected_duplicate_version: 1,
        ..ResolveConflictRequest::default()
    };
    let answer = subject.watch().resolve(decision).await?;
    expect(
        "status of the decision",
        answer.status(),
        ResolveStatus::Resolved,
    )
}

pub async fn keep_both(subject: &Subject) -> Checked {
    let (older, newer, conflict_id) = twice(subject).await?;
    decide_about_two(subject, conflict_id, Choice::KeepBoth).await?;
    for session in [older, newer] {
        let held = there(
            "both entities on a page",
            subject.phone().held(subject, &session).await?,
        )?;
        expect("deleted", held.deleted, false)?;
        expect("version", held.version, 1)?;
    }
    Ok(())
}

pub async fn keep_one_of_two(subject: &Subject) -> Checked {
    for (choice, keeps_older) in [(Choice::KeepServer, true), (Choice::KeepClient, false)] {
        let (older, newer, conflict_id) = twice(subject).await?;
        decide_about_two(subject, conflict_id, choice).await?;
        let (kept, gone) = if keeps_older {
            (older, newer)
        } else {
            (newer, older)
        };
        let held = there(
            "the kept one on a page",
            subject.phone().held(subject, &kept).await?,
        )?;
        expect("deleted, of the kept one", held.deleted, false)?;
        subject.phone().finds_deleted(subject, &gone, 2).await?;
    }
    Ok(())
}
