//! Section 3, below the table: batches, and what an answer repeats.

use ironflow_sync::grpc::proto::ErrorCode::InvalidItem;
use ironflow_sync::grpc::proto::Resolution::{Applied, Resurrected};
use ironflow_sync::grpc::proto::SyncItem;
use serde_json::json;
use uuid::Uuid;

use crate::check::{Checked, ensure, expect, failed, settled};
use crate::record::{WORKOUT, note};
use crate::subject::Subject;

pub async fn items_in_the_order_sent(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (one, two) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let n = |n: i32| json!({ "n": n });
    let steps = [
        (one.put(0, &n(1)), Applied, 1),
        (two.put(0, &n(1)), Applied, 1),
        (one.put(1, &n(2)), Applied, 2),
        (one.delete(2), Applied, 3),
        (one.put(3, &n(3)), Resurrected, 4),
        (two.delete(1), Applied, 2),
    ];
    let items: Vec<SyncItem> = steps.iter().map(|(item, ..)| item.clone()).collect();
    let answers = phone.push(&items).await?;
    for (place, (answer, (item, resolution, version))) in answers.iter().zip(&steps).enumerate() {
        let what = format!("answer {} of {}", place + 1, steps.len());
        expect(
            &format!("entity_id of {what}"),
            &answer.entity_id,
            &item.entity_id,
        )?;
        settled(&what, answer, *resolution, *version)?;
    }
    Ok(())
}

pub async fn answers_repeat_what_was_sent(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    let mutation = Uuid::new_v4();
    let item = SyncItem {
        entity_id: workout.id.to_string().to_uppercase(),
        operation: "CREATE".to_owned(),
        mutation_id: mutation.to_string().to_uppercase(),
        retry_count: -3,
        ..workout.put(0, &note("a"))
    };
    let answer = phone.settles(item.clone(), Applied, 1).await?;
    expect("entity_id, as sent", answer.entity_id, item.entity_id)?;
    expect("entity_type, as sent", answer.entity_type, item.entity_type)?;
    expect(
        "mutation_id in canonical form",
        answer.mutation_id,
        mutation.to_string(),
    )?;
    ensure(answer.server_timestamp > 0, || {
        "server_timestamp of a version that was written; it is 0".to_owned()
    })?;
    // The same entity, whatever the letter case of its id.
    phone.writes(&workout, 1, "b").await?;
    let with_data = SyncItem {
        data: b"the last copy, not even JSON".to_vec(),
        ..workout.delete(2)
    };
    phone.settles(with_data, Applied, 3).await?;
    Ok(())
}

pub async fn derived_mutation_ids(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    let bare = SyncItem {
        mutation_id: String::new(),
        timestamp: 1_700_000_000_000,
        ..workout.put(0, &note("a"))
    };
    let first = phone.settles(bare.clone(), Applied, 1).await?;
    let derived = Uuid::parse_str(&first.mutation_id);
    ensure(derived.is_ok_and(|id| id.get_version_num() == 5), || {
        format!(
            "a derived mutation_id, a UUID v5; came {:?}",
            first.mutation_id
        )
    })?;
    tablet.writes(&workout, 1, "b").await?;
    let again = phone.settles(bare, Applied, 1).await?;
    expect(
        "its mutation_id again",
        again.mutation_id,
        first.mutation_id,
    )?;
    phone.finds(subject, &workout, &note("b"), 2).await
}

pub async fn largest_version(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    let answer = phone.push_one(workout.put(i32::MAX, &note("a"))).await?;
    failed(
        "an edit of the last version",
        &answer,
        InvalidItem,
        "version",
    )?;
    expect(
        "what is pulled of it",
        phone.held(subject, &workout).await?,
        None,
    )
}
