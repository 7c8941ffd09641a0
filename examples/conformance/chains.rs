//! Promise 5: a device never conflicts with itself.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, Resurrected, ServerWon,
};
use serde_json::json;

use crate::check::{Checked, means, settled};
use crate::record::{EXERCISE, SETTINGS, WORKOUT, at, note};
use crate::subject::Subject;

const MINUTE_MS: i64 = 60_000;

pub async fn queue_in_one_batch(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    // Queued offline: the device knew version 1 all the time.
    let queue = [
        workout.put(1, &note("b")),
        workout.put(1, &note("c")),
        workout.delete(1),
        workout.put(1, &note("d")),
    ];
    let answers = phone.push(&queue).await?;
    let expected = [(Applied, 2), (Applied, 3), (Applied, 4), (Resurrected, 5)];
    for (place, (answer, (resolution, version))) in answers.iter().zip(expected).enumerate() {
        settled(
            &format!("edit {} of the queue", place + 1),
            answer,
            resolution,
            version,
        )?;
    }
    phone.finds(subject, &workout, &note("d"), 5).await
}

pub async fn queue_of_something_new(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    for (version, text) in [(1, "a"), (2, "b"), (3, "c")] {
        phone
            .settles(workout.put(0, &note(text)), Applied, version)
            .await?;
    }
    phone.finds(subject, &workout, &note("c"), 3).await
}

pub async fn queue_in_many_batches(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    for (version, text) in [(2, "b"), (3, "c"), (4, "d")] {
        phone
            .settles(workout.put(1, &note(text)), Applied, version)
            .await?;
    }
    // The other device, which still knows version 1, is another matter.
    tablet
        .settles(workout.put(1, &note("e")), NeedsUser, 4)
        .await?;
    Ok(())
}

pub async fn queue_behind_a_win(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let settings = subject.fresh(SETTINGS).await?;
    let now = phone.now().await?;
    let ago = |minutes: i64| now - minutes * MINUTE_MS;
    phone
        .settles(at(ago(9), settings.put(0, &note("a"))), Applied, 1)
        .await?;
    tablet
        .settles(at(ago(5), settings.put(1, &note("b"))), Applied, 2)
        .await?;
    phone
        .settles(at(ago(4), settings.put(1, &note("c"))), ClientWon, 3)
        .await?;
    phone
        .settles(at(ago(3), settings.put(1, &note("d"))), Applied, 4)
        .await?;
    phone.finds(subject, &settings, &note("d"), 4).await
}

pub async fn queue_behind_a_merge(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let exercise = subject.fresh(EXERCISE).await?;
    let data = |notes: &str, order: i32| json!({"notes": notes, "order": order});
    phone
        .settles(exercise.put(0, &data("", 1)), Applied, 1)
        .await?;
    tablet
        .settles(exercise.put(1, &data("", 2)), Applied, 2)
        .await?;
    phone
        .settles(exercise.put(1, &data("a", 1)), Merged, 3)
        .await?;
    let answer = phone
        .settles(exercise.put(1, &data("ab", 1)), Merged, 4)
        .await?;
    means("the merged copy", &answer.server_data, &data("ab", 2))
}

pub async fn queue_behind_a_loss(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let settings = subject.fresh(SETTINGS).await?;
    let now = phone.now().await?;
    let ago = |minutes: i64| now - minutes * MINUTE_MS;
    phone
        .settles(at(ago(9), settings.put(0, &note("a"))), Applied, 1)
        .await?;
    tablet
        .settles(at(ago(5), settings.put(1, &note("b"))), Applied, 2)
        .await?;
    phone
        .settles(at(ago(7), settings.put(1, &note("c"))), ServerWon, 2)
        .await?;
    phone
        .settles(at(ago(1), settings.put(1, &note("d"))), ClientWon, 3)
        .await?;
    phone.finds(subject, &settings, &note("d"), 3).await
}
