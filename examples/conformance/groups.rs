//! Promise 3, the other half: items that share a group are applied all or none. And batches that only rehearse.

use ironflow_sync::grpc::proto::ErrorCode::{GroupAborted, InvalidData};
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, ServerWon, Unchanged};
use ironflow_sync::grpc::proto::{ConflictState, SyncRequest};

use crate::check::{Checked, ensure, expect, failed, settled, told};
use crate::record::{WORKOUT, at, grouped, note};
use crate::subject::Subject;

const HOUR_MS: i64 = 3_600_000;

pub async fn all_of_a_group(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let batch = [
        grouped("g", one.put(0, &note("a"))),
        grouped("g", one.put(1, &note("b"))),
        grouped("g", two.put(0, &note("c"))),
    ];
    let answers = phone.push(&batch).await?;
    for (answer, version) in answers.iter().zip([1, 2, 1]) {
        settled("an item of a group", answer, Applied, version)?;
    }
    phone.finds(subject, &one, &note("b"), 2).await?;
    phone.finds(subject, &two, &note("c"), 1).await
}

pub async fn none_of_a_group_with_a_bad_item(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let batch = [
        grouped("g", one.put(0, &note("a"))),
        grouped("g", two.put_bytes(0, "[]")),
    ];
    let answers = phone.push(&batch).await?;
    failed("the good item", &answers[0], GroupAborted, "group_id")?;
    failed("the bad item", &answers[1], InvalidData, "data")?;
    expect(
        "what is pulled of the good one",
        phone.held(subject, &one).await?,
        None,
    )
}

pub async fn none_of_a_group_with_a_conflict(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, taken) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    tablet.writes(&taken, 0, "tablet").await?;
    let batch = [
        grouped("g", taken.put(0, &note("phone"))),
        grouped("g", one.put(0, &note("a"))),
    ];
    let answers = phone.push(&batch).await?;
    settled("the conflict", &answers[0], NeedsUser, 1)?;
    failed("the good item", &answers[1], GroupAborted, "group_id")?;
    expect(
        "what is pulled of the good one",
        phone.held(subject, &one).await?,
        None,
    )?;
    let open = phone.conflicts(ConflictState::Open, WORKOUT.name).await?;
    let id = taken.id.to_string();
    ensure(open.iter().all(|conflict| conflict.entity_id != id), || {
        "no inbox entry for an aborted group; there is one".to_owned()
    })
}

pub async fn none_of_a_group_with_a_loss(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, gone) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    tablet.writes(&gone, 0, "a").await?;
    tablet.settles(gone.delete(1), Applied, 2).await?;
    let long_ago = phone.now().await? - HOUR_MS;
    let batch = [
        grouped("g", one.put(0, &note("a"))),
        grouped("g", at(long_ago, gone.put(1, &note("b")))),
    ];
    let answers = phone.push(&batch).await?;
    failed("the good item", &answers[0], GroupAborted, "group_id")?;
    settled("the item that lost", &answers[1], ServerWon, 2)
}

pub async fn the_rest_as_if_the_group_was_not_there(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (shared, bad) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let other = subject.fresh(WORKOUT).await?;
    let batch = [
        shared.put(0, &note("a")),
        grouped("bad", shared.put(1, &note("b"))),
        grouped("good", other.put(0, &note("a"))),
        shared.put(1, &note("c")),
        grouped("bad", bad.put_bytes(0, "{")),
    ];
    let answers = phone.push(&batch).await?;
    settled("the item before the group", &answers[0], Applied, 1)?;
    failed(
        "an item of the group",
        &answers[1],
        GroupAborted,
        "group_id",
    )?;
    settled("an item of another group", &answers[2], Applied, 1)?;
    settled("the item behind the group", &answers[3], Applied, 2)?;
    phone.finds(subject, &shared, &note("c"), 2).await
}

pub async fn a_group_again(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let batch = [
        grouped("g", one.put(0, &note("a"))),
        grouped("g", two.put(0, &note("b"))),
    ];
    phone.push(&batch).await?;
    tablet.writes(&one, 1, "c").await?;
    for answer in phone.push(&batch).await? {
        settled(
            "an item of a group that was applied, again",
            &answer,
            Applied,
            1,
        )?;
    }
    Ok(())
}

pub async fn validate_only(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, taken) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    tablet.writes(&taken, 0, "a").await?;
    let batch = [
        one.put(0, &note("a")),
        one.put(1, &note("b")),
        taken.put(0, &note("a")),
        taken.put(0, &note("b")),
        one.put_bytes(1, "]"),
    ];
    let rehearsal = SyncRequest {
        items: batch.to_vec(),
        validate_only: true,
        ..phone.batch()
    };
    let tried = phone.sync(rehearsal).await?.results;
    let expected = [(Applied, 1), (Applied, 2), (Unchanged, 1), (NeedsUser, 1)];
    expect("answers, one per item", tried.len(), batch.len())?;
    for (answer, (resolution, version)) in tried.iter().zip(expected) {
        settled("an item with validate_only", answer, resolution, version)?;
    }
    failed(
        "a bad item with validate_only",
        &tried[4],
        InvalidData,
        "data",
    )?;
    let held = phone.held(subject, &one).await?;
    expect("what is pulled after validate_only", held, None)?;
    let open = phone.conflicts(ConflictState::Open, WORKOUT.name).await?;
    let id = taken.id.to_string();
    ensure(open.iter().all(|conflict| conflict.entity_id != id), || {
        "no inbox entry by validate_only; there is one".to_owned()
    })?;
    let words = |answers: &[_]| answers.iter().map(told).collect::<Vec<_>>();
    let real = phone.push(&batch).await?;
    expect("the real thing's answers", words(&real), words(&tried))
}
