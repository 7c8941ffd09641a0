//! Promise 4: every edit is applied at most once, and asking again gives the answer that was lost.

use futures_util::future::try_join_all;
use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, Resurrected, Unchanged,
};
use ironflow_sync::grpc::proto::{SyncItem, SyncResult};
use serde_json::{Value, json};

use crate::check::{Checked, Finding, expect, means, there, told};
use crate::client::Connection;
use crate::device::Device;
use crate::record::{EXERCISE, WORKOUT, forced, note};
use crate::subject::{Subject, User};

/// What a replay has to repeat, in words: status, resolution, version.
fn answers(results: &[SyncResult]) -> Vec<String> {
    results.iter().map(told).collect()
}

pub async fn batch_again(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let batch = [
        one.put(0, &note("a")),
        one.put(1, &note("b")),
        two.put(0, &note("a")),
        two.delete(1),
        one.delete(2),
        one.put(3, &note("c")),
    ];
    let expected = [
        "SUCCESS APPLIED, version 1",
        "SUCCESS APPLIED, version 2",
        "SUCCESS APPLIED, version 1",
        "SUCCESS APPLIED, version 2",
        "SUCCESS APPLIED, version 3",
        "SUCCESS RESURRECTED, version 4",
    ];
    for time in ["the first time", "again", "once more"] {
        let came = answers(&phone.push(&batch).await?);
        let expected = expected.map(str::to_owned).to_vec();
        expect(
            &format!("the answers to a batch sent {time}"),
            came,
            expected,
        )?;
    }
    phone.finds(subject, &one, &note("c"), 4).await?;
    phone.finds_deleted(subject, &two, 2).await
}

pub async fn after_another_devices_write(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    let created = workout.put(0, &note("a"));
    phone.settles(created.clone(), Applied, 1).await?;
    tablet.writes(&workout, 1, "b").await?;
    let chosen = forced(workout.put(1, &note("c")));
    phone.settles(chosen.clone(), ClientWon, 3).await?;
    tablet.settles(workout.delete(3), Applied, 4).await?;
    let back = workout.put(4, &note("d"));
    phone.settles(back.clone(), Resurrected, 5).await?;
    tablet.writes(&workout, 5, "e").await?;

    phone.settles(created, Applied, 1).await?;
    phone.settles(chosen, ClientWon, 3).await?;
    phone.settles(back, Resurrected, 5).await?;
    tablet.finds(subject, &workout, &note("e"), 6).await
}

pub async fn merged_again(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let exercise = subject.fresh(EXERCISE).await?;
    let data = |notes: &str, order: i32| json!({"notes": notes, "order": order});
    phone
        .settles(exercise.put(0, &data("", 1)), Applied, 1)
        .await?;
    tablet
        .settles(exercise.put(1, &data("tablet", 1)), Applied, 2)
        .await?;
    let edit = exercise.put(1, &data("", 2));
    phone.settles(edit.clone(), Merged, 3).await?;
    tablet.writes(&exercise, 3, "another").await?;
    let again = phone.settles(edit, Merged, 3).await?;
    means(
        "the same server copy",
        &again.server_data,
        &data("tablet", 2),
    )?;
    tablet.finds(subject, &exercise, &note("another"), 4).await
}

/// Each over a connection of its own, as a device does that loses one after the other.
pub async fn at_once_over_many_connections(subject: &Subject) -> Checked {
    const COPIES: usize = 8;
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    let edit = workout.put(1, &note("b"));
    let copies = (0..COPIES).map(|_| async {
        let account = phone.user.account.clone();
        let opened = Connection::open(&account).await;
        let connection = opened.map_err(|error| Finding::Broken(error.to_string()))?;
        let user = User {
            account,
            connection,
            made: phone.user.made.clone(),
        };
        Device {
            user: &user,
            id: phone.id,
        }
        .push_one(edit.clone())
        .await
    });
    let came = answers(&try_join_all(copies).await?);
    let expected = vec!["SUCCESS APPLIED, version 2".to_owned(); COPIES];
    expect("the answers to one edit sent at once", came, expected)?;
    phone.finds(subject, &workout, &note("b"), 2).await
}

pub async fn what_wrote_nothing_is_decided_afresh(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    let same = workout.put(0, &note("a"));
    phone.settles(same.clone(), Unchanged, 1).await?;
    tablet.writes(&workout, 1, "b").await?;
    phone.settles(same, NeedsUser, 2).await?;
    Ok(())
}

pub async fn conflict_again(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    let edit = workout.put(0, &note("b"));
    let id = |answer: SyncResult| {
        there(
            "the details of the conflict",
            answer.conflict.map(|c| c.conflict_id),
        )
    };
    let first = id(phone.settles(edit.clone(), NeedsUser, 1).await?)?;
    tablet.writes(&workout, 1, "c").await?;
    let again = phone.settles(edit, NeedsUser, 2).await?;
    means("the current server copy", &again.server_data, &note("c"))?;
    let again = id(again)?;
    expect(
        "conflict_id of the same item",
        again.as_str(),
        first.as_str(),
    )?;
    let found = phone.get_conflict(&first).await?;
    expect(
        "sides besides the one that counts",
        found.other_sides.len(),
        0,
    )
}

pub async fn other_data_under_the_same_id(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    let edit = workout.put(0, &note("b"));
    phone.settles(edit.clone(), NeedsUser, 1).await?;
    let other = SyncItem {
        mutation_id: edit.mutation_id.clone(),
        ..workout.put(0, &note("c"))
    };
    let answer = phone.settles(other, NeedsUser, 1).await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    let found = phone.get_conflict(&detail.conflict_id).await?;
    let sides = found.client.iter().chain(&found.other_sides);
    let value = |data: &[u8]| {
        serde_json::from_slice::<Value>(data)
            .unwrap_or_default()
            .to_string()
    };
    let mut kept: Vec<String> = sides.map(|side| value(&side.data)).collect();
    kept.sort();
    expect(
        "sides that are kept",
        kept,
        vec![note("b").to_string(), note("c").to_string()],
    )
}
