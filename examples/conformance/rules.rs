//! Section 3: the decision table, each of its rows, for a put and for a delete. The type is one whose conflicts
//! are put before the person, so that no policy settles what a rule should have.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, NeedsUser, Resurrected, ServerWon, Unchanged,
};

use crate::check::{Checked, ensure, expect, means, settled};
use crate::device::Device;
use crate::record::{Record, WORKOUT, at, forced, note};
use crate::subject::Subject;

const MINUTE_MS: i64 = 60_000;

/// An entity that the phone has created and the tablet has changed: the phone knows version 1, the server
/// holds version 2.
async fn changed_by_tablet(subject: &Subject) -> Checked<(Record, Device<'_>, Device<'_>)> {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.writes(&workout, 1, "b").await?;
    Ok((workout, phone, tablet))
}

/// Likewise, but the tablet has deleted it, so many minutes ago.
async fn deleted_by_tablet(
    subject: &Subject,
    minutes_ago: i64,
) -> Checked<(Record, Device<'_>, i64)> {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    let then = phone.now().await? - minutes_ago * MINUTE_MS;
    tablet
        .settles(at(then, workout.delete(1)), Applied, 2)
        .await?;
    Ok((workout, phone, then))
}

pub async fn replay_of_a_put(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    let edit = workout.put(2, &note("c"));
    phone.settles(edit.clone(), Applied, 3).await?;
    phone.settles(edit, Applied, 3).await?;
    phone.finds(subject, &workout, &note("c"), 3).await
}

pub async fn replay_of_a_delete(subject: &Subject) -> Checked {
    let (workout, phone, tablet) = changed_by_tablet(subject).await?;
    let deletion = workout.delete(2);
    phone.settles(deletion.clone(), Applied, 3).await?;
    tablet
        .settles(workout.put(3, &note("c")), Resurrected, 4)
        .await?;
    phone.settles(deletion, Applied, 3).await?;
    phone.finds(subject, &workout, &note("c"), 4).await
}

pub async fn put_of_something_new(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.finds(subject, &workout, &note("a"), 1).await
}

pub async fn put_of_something_unknown_with_a_base(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone
        .settles(workout.put(3, &note("a")), Resurrected, 4)
        .await?;
    phone.finds(subject, &workout, &note("a"), 4).await
}

pub async fn delete_of_something_unknown(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.settles(workout.delete(0), Unchanged, 0).await?;
    phone.settles(workout.delete(3), Unchanged, 3).await?;
    let held = phone.held(subject, &workout).await?;
    expect("what is pulled of it", held, None)
}

pub async fn put_on_the_current_version(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    phone.writes(&workout, 2, "c").await?;
    phone.finds(subject, &workout, &note("c"), 3).await
}

pub async fn put_on_a_tombstone(subject: &Subject) -> Checked {
    let (workout, phone, _) = deleted_by_tablet(subject, 0).await?;
    phone
        .settles(workout.put(2, &note("b")), Resurrected, 3)
        .await?;
    phone.finds(subject, &workout, &note("b"), 3).await
}

pub async fn delete_of_the_current_version(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    phone.settles(workout.delete(2), Applied, 3).await?;
    phone.finds_deleted(subject, &workout, 3).await
}

pub async fn delete_of_a_tombstone(subject: &Subject) -> Checked {
    let (workout, phone, _) = deleted_by_tablet(subject, 0).await?;
    phone.settles(workout.delete(2), Unchanged, 2).await?;
    phone.finds_deleted(subject, &workout, 2).await
}

pub async fn put_of_equal_content(subject: &Subject) -> Checked {
    let (workout, phone, tablet) = changed_by_tablet(subject).await?;
    phone
        .settles(workout.put(1, &note("b")), Unchanged, 2)
        .await?;
    // Other keys first, other white space, a number written otherwise.
    tablet
        .settles(
            workout.put_bytes(2, r#"{"n":1.50,"a":{"b":1,"c":[2]}}"#),
            Applied,
            3,
        )
        .await?;
    let same = workout.put_bytes(1, r#" { "a": {"c":[ 2 ],"b":1}, "n": 15e-1 } "#);
    phone.settles(same, Unchanged, 3).await?;
    Ok(())
}

pub async fn content_that_differs_is_not_equal(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    for (stored, sent) in [
        (r#"{"n":9007199254740993}"#, r#"{"n":9007199254740992}"#),
        (r#"{"n":[1,2]}"#, r#"{"n":[2,1]}"#),
        (r#"{"n":null}"#, "{}"),
    ] {
        let workout = subject.fresh(WORKOUT).await?;
        tablet
            .settles(workout.put_bytes(0, stored), Applied, 1)
            .await?;
        let answer = phone.push_one(workout.put_bytes(0, sent)).await?;
        settled(
            &format!("{sent} where {stored} is stored"),
            &answer,
            NeedsUser,
            1,
        )?;
    }
    Ok(())
}

pub async fn delete_of_what_is_deleted(subject: &Subject) -> Checked {
    let (workout, phone, _) = deleted_by_tablet(subject, 0).await?;
    phone.settles(workout.delete(1), Unchanged, 2).await?;
    phone.settles(workout.delete(7), Unchanged, 2).await?;
    Ok(())
}

pub async fn put_behind_own_edits(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    phone.writes(&workout, 2, "c").await?;
    phone
        .settles(workout.put(2, &note("d")), Applied, 4)
        .await?;
    phone.finds(subject, &workout, &note("d"), 4).await
}

pub async fn put_behind_an_own_delete(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.settles(workout.delete(1), Applied, 2).await?;
    // However early it was made: rule 5 comes before rule 7.
    let long_ago = phone.now().await? - 60 * MINUTE_MS;
    phone
        .settles(at(long_ago, workout.put(1, &note("b"))), Resurrected, 3)
        .await?;
    phone.finds(subject, &workout, &note("b"), 3).await
}

pub async fn delete_behind_own_edits(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    phone.writes(&workout, 2, "c").await?;
    phone.settles(workout.delete(2), Applied, 4).await?;
    phone.finds_deleted(subject, &workout, 4).await
}

pub async fn forced_put(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    phone
        .settles(forced(workout.put(1, &note("c"))), ClientWon, 3)
        .await?;
    phone.finds(subject, &workout, &note("c"), 3).await
}

pub async fn forced_put_on_a_tombstone(subject: &Subject) -> Checked {
    let (workout, phone, then) = deleted_by_tablet(subject, 5).await?;
    let earlier = at(then - MINUTE_MS, workout.put(1, &note("b")));
    phone.settles(forced(earlier), ClientWon, 3).await?;
    phone.finds(subject, &workout, &note("b"), 3).await
}

pub async fn forced_delete(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    let long_ago = phone.now().await? - 60 * MINUTE_MS;
    phone
        .settles(forced(at(long_ago, workout.delete(1))), ClientWon, 3)
        .await?;
    phone.finds_deleted(subject, &workout, 3).await
}

pub async fn edit_later_than_a_deletion(subject: &Subject) -> Checked {
    let (workout, phone, then) = deleted_by_tablet(subject, 5).await?;
    let later = at(then + MINUTE_MS, workout.put(1, &note("b")));
    phone.settles(later, Resurrected, 3).await?;
    phone.finds(subject, &workout, &note("b"), 3).await
}

pub async fn edit_earlier_than_a_deletion(subject: &Subject) -> Checked {
    for earlier_ms in [MINUTE_MS, 0] {
        let (workout, phone, then) = deleted_by_tablet(subject, 5).await?;
        let edit = at(then - earlier_ms, workout.put(1, &note("b")));
        let answer = phone.settles(edit, ServerWon, 2).await?;
        expect("server_deleted", answer.server_deleted, true)?;
        phone.finds_deleted(subject, &workout, 2).await?;
    }
    Ok(())
}

/// An entity that the tablet has edited 5 minutes ago, behind the phone's back, and when that was.
async fn edited_by_tablet(subject: &Subject) -> Checked<(Record, Device<'_>, i64)> {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    let then = phone.now().await? - 5 * MINUTE_MS;
    tablet
        .settles(at(then, workout.put(1, &note("b"))), Applied, 2)
        .await?;
    Ok((workout, phone, then))
}

pub async fn deletion_later_than_an_edit(subject: &Subject) -> Checked {
    let (workout, phone, then) = edited_by_tablet(subject).await?;
    let later = at(then + MINUTE_MS, workout.delete(1));
    phone.settles(later, ClientWon, 3).await?;
    phone.finds_deleted(subject, &workout, 3).await?;
    let versions = phone.versions(&workout).await?;
    let edit = versions.iter().find(|entry| entry.version == 2);
    ensure(edit.is_some_and(|edit| !edit.deleted), || {
        "the edit to stay readable as version 2; it is not listed".to_owned()
    })
}

pub async fn deletion_earlier_than_an_edit(subject: &Subject) -> Checked {
    for earlier_ms in [MINUTE_MS, 0] {
        let (workout, phone, then) = edited_by_tablet(subject).await?;
        let deletion = at(then - earlier_ms, workout.delete(1));
        let answer = phone.settles(deletion, ServerWon, 2).await?;
        means("the server copy", &answer.server_data, &note("b"))?;
        phone.finds(subject, &workout, &note("b"), 2).await?;
    }
    Ok(())
}

pub async fn true_conflict(subject: &Subject) -> Checked {
    let (workout, phone, _) = changed_by_tablet(subject).await?;
    let answer = phone
        .settles(workout.put(1, &note("c")), NeedsUser, 2)
        .await?;
    means("the server copy", &answer.server_data, &note("b"))?;
    phone.finds(subject, &workout, &note("b"), 2).await
}

pub async fn both_created(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    phone
        .settles(workout.put(0, &note("b")), NeedsUser, 1)
        .await?;
    phone.finds(subject, &workout, &note("a"), 1).await
}

pub async fn base_ahead_of_the_server(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone
        .settles(workout.put(9, &note("a")), Unchanged, 1)
        .await?;
    phone
        .settles(workout.put(9, &note("b")), NeedsUser, 1)
        .await?;
    phone
        .settles(forced(workout.put(9, &note("b"))), ClientWon, 10)
        .await?;
    phone.finds(subject, &workout, &note("b"), 10).await
}
