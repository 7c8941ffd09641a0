//! Promise 9 and section 4: clocks never decide whether there is a conflict, and none wins by being in the future.

use ironflow_sync::grpc::proto::Resolution::{Applied, ClientWon, NeedsUser, ServerWon};
use ironflow_sync::grpc::proto::SyncRequest;

use crate::check::{Checked, ensure, settled, there};
use crate::record::{SETTINGS, WORKOUT, at, note};
use crate::subject::Subject;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// More than a call takes, and far less than the clocks of the checks are off.
const CALL_MS: i64 = 30 * MINUTE_MS;

pub async fn no_conflict_by_clock(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    let now = phone.now().await?;
    phone
        .settles(at(now, workout.put(0, &note("a"))), Applied, 1)
        .await?;
    // Made a year before what it is based on, or so its clock says.
    let edit = at(now - 365 * DAY_MS, workout.put(1, &note("b")));
    tablet.settles(edit, Applied, 2).await?;
    phone
        .settles(at(-1, workout.put(2, &note("c"))), Applied, 3)
        .await?;
    Ok(())
}

pub async fn no_clock_settles_a_conflict_unasked(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    for ago_ms in [0, 10 * MINUTE_MS] {
        let workout = subject.fresh(WORKOUT).await?;
        let now = phone.now().await?;
        phone.writes(&workout, 0, "a").await?;
        tablet
            .settles(
                at(now - 5 * MINUTE_MS, workout.put(1, &note("b"))),
                Applied,
                2,
            )
            .await?;
        phone
            .settles(at(now - ago_ms, workout.put(1, &note("c"))), NeedsUser, 2)
            .await?;
    }
    Ok(())
}

pub async fn no_edit_time_in_the_future(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let settings = subject.fresh(SETTINGS).await?;
    let future = phone.now().await? + 365 * DAY_MS;
    phone
        .settles(at(future, settings.put(0, &note("a"))), Applied, 1)
        .await?;
    let held = there(
        "the entity on a page",
        phone.held(subject, &settings).await?,
    )?;
    let after = phone.now().await?;
    ensure(held.edit_time <= after, || {
        format!(
            "an edit_time no later than server_time {after}; came {}",
            held.edit_time
        )
    })
}

pub async fn no_clock_wins_by_being_in_the_future(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let settings = subject.fresh(SETTINGS).await?;
    let future = phone.now().await? + 365 * DAY_MS;
    phone.writes(&settings, 0, "a").await?;
    let ahead = tablet
        .settles(at(future, settings.put(1, &note("b"))), Applied, 2)
        .await?;
    // Until the server's clock has moved on: what comes then is later.
    while phone.now().await? <= ahead.server_timestamp {}
    phone
        .settles(settings.put(1, &note("c")), ClientWon, 3)
        .await?;
    Ok(())
}

pub async fn clocks_are_corrected(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    for off_ms in [-DAY_MS, DAY_MS] {
        for (minutes, resolution, version) in [(120, ServerWon, 2), (1, ClientWon, 3)] {
            let settings = subject.fresh(SETTINGS).await?;
            let now = phone.now().await?;
            phone
                .settles(at(now - DAY_MS, settings.put(0, &note("a"))), Applied, 1)
                .await?;
            let theirs = at(now - 60 * MINUTE_MS, settings.put(1, &note("b")));
            tablet.settles(theirs, Applied, 2).await?;
            // The phone's clock is a day off, and it says so.
            let then = now + off_ms - minutes * MINUTE_MS;
            let request = SyncRequest {
                items: vec![at(then, settings.put(1, &note("c")))],
                client_time: now + off_ms,
                ..phone.batch()
            };
            let mut results = phone.sync(request).await?.results;
            let answer = there("an answer", results.pop())?;
            let what = format!(
                "an edit {minutes} min ago of a clock {off_ms} ms off, against one 60 min ago"
            );
            settled(&what, &answer, resolution, version)?;
        }
    }
    Ok(())
}

pub async fn edit_time_is_the_edits(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let settings = subject.fresh(SETTINGS).await?;
    let now = phone.now().await?;
    let then = now - 2 * DAY_MS;
    phone
        .settles(at(then, settings.put(0, &note("a"))), Applied, 1)
        .await?;
    let held = there(
        "the entity on a page",
        phone.held(subject, &settings).await?,
    )?;
    ensure((held.edit_time - then).abs() < CALL_MS, || {
        format!(
            "edit_time {then}, when the edit was made; came {}",
            held.edit_time
        )
    })?;
    ensure(
        (held.updated_at - now).abs() < CALL_MS && held.created_at <= held.updated_at,
        || {
            format!(
                "updated_at of about {now}, the server's clock; came {}",
                held.updated_at
            )
        },
    )
}
