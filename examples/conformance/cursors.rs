//! Section 6, promises 7 and 8: the cursors between pages.

use std::collections::BTreeMap;

use futures_util::future::try_join3;
use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{Entity, PullRequest};
use serde_json::json;

use crate::check::{Checked, ensure, expect, refused_for, there};
use crate::device::{Device, newest};
use crate::pages::{among, ids, push_new};
use crate::record::{SUPERSET, WORKOUT};
use crate::subject::Subject;

pub async fn cursors_can_be_used_again(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let records = push_new(subject, &phone, 3).await?;
    let request = tablet.page(&[SUPERSET.name], &cursor);
    let mut end = String::new();
    for _ in 0..2 {
        let (entities, next) = tablet.pull_all(request.clone()).await?;
        expect(
            "entities after the same cursor",
            among(&entities, &records),
            ids(&records),
        )?;
        end = next;
    }
    let (entities, _) = tablet.pull_all(tablet.page(&[SUPERSET.name], &end)).await?;
    expect(
        "entities after the cursor behind them",
        among(&entities, &records),
        vec![],
    )
}

/// Promise 8, as far as one run can wait.
pub async fn old_cursors_lead_to_a_deletion(subject: &Subject) -> Checked {
    let (phone, tablet, watch) = (subject.phone(), subject.tablet(), subject.watch());
    let records = push_new(subject, &phone, 1).await?;
    let cursor = watch.end(subject, &[SUPERSET.name]).await?;
    phone.settles(records[0].delete(1), Applied, 2).await?;
    let later = push_new(subject, &tablet, 20).await?;
    for record in &later {
        tablet.writes(record, 1, "again").await?;
    }
    let (entities, _) = watch
        .pull_all(watch.page(&[SUPERSET.name], &cursor))
        .await?;
    let tombstone = there("the deletion, however late", newest(&entities, &records[0]))?;
    expect("deleted", tombstone.deleted, true)?;
    expect(
        "what came since",
        among(&entities, &later).len(),
        later.len(),
    )
}

/// Two devices write while a third reads page by page, and none of it is missed.
pub async fn nothing_is_missed_while_others_write(subject: &Subject) -> Checked {
    const EDITS: usize = 25;
    let (phone, tablet, watch) = (subject.phone(), subject.tablet(), subject.watch());
    let start = watch.end(subject, &[SUPERSET.name]).await?;
    let mut request = PullRequest {
        page_size: 3,
        ..watch.page(&[SUPERSET.name], &start)
    };
    let mut versions: BTreeMap<String, i32> = BTreeMap::new();
    let write = async |device: &Device<'_>| {
        let records = push_new(subject, device, EDITS).await?;
        for record in &records {
            device
                .settles(record.put(1, &json!({})), Applied, 2)
                .await?;
        }
        Checked::Ok(ids(&records))
    };
    let read = async {
        // As many pages as there are writes: reading ends at about the time that writing does.
        for _ in 0..2 * EDITS {
            let page = watch.pull(request.clone()).await?;
            request.cursor = page.cursor;
            take(&mut versions, page.entities)?;
        }
        Checked::Ok(())
    };
    let (one, two, ()) = try_join3(write(&phone), write(&tablet), read).await?;
    let (entities, _) = watch.pull_all(request).await?;
    take(&mut versions, entities)?;
    for id in one.iter().chain(&two) {
        let came = versions.get(id).copied();
        expect("the newest version that came of an entity", came, Some(2))?;
    }
    Ok(())
}

/// Takes a page over; what comes later is never older.
fn take(versions: &mut BTreeMap<String, i32>, entities: Vec<Entity>) -> Checked {
    for Entity {
        entity_id, version, ..
    } in entities
    {
        let before = versions.insert(entity_id, version).unwrap_or(0);
        ensure(before <= version, || {
            format!("no version behind a newer one; version {version} came behind {before}")
        })?;
    }
    Ok(())
}

pub async fn cursors_are_bound_to_the_types(subject: &Subject) -> Checked {
    let tablet = subject.tablet();
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    for types in [&[][..], &[WORKOUT.name], &[SUPERSET.name, WORKOUT.name]] {
        let came = tablet.pull(tablet.page(types, &cursor)).await;
        refused_for(
            &format!("a cursor of one type with {types:?}"),
            came,
            "cursor",
        )?;
    }
    Ok(())
}

pub async fn bad_cursors(subject: &Subject) -> Checked {
    let tablet = subject.tablet();
    let good = tablet.end(subject, &[SUPERSET.name]).await?;
    let middle = good.chars().count() / 2;
    let other = |letter| if letter == 'A' { 'B' } else { 'A' };
    let changed = |(place, letter)| {
        if place == middle {
            other(letter)
        } else {
            letter
        }
    };
    let forged: String = good.chars().enumerate().map(changed).collect();
    let cut: String = good.chars().take(middle).collect();
    for (what, cursor) in [
        ("garbage for a cursor", "garbage"),
        ("a number for a cursor", "7"),
        ("a cursor that is cut off", &cut),
        ("a cursor with a changed letter", &forged),
        ("a very long cursor", &"A".repeat(10_000)),
    ] {
        let came = tablet.pull(tablet.page(&[SUPERSET.name], cursor)).await;
        refused_for(what, came, "cursor")?;
    }
    Ok(())
}
