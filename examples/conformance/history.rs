//! Section 5: what an entity held before, bringing it back, and the recycle bin.

use ironflow_sync::grpc::proto::Resolution::{Applied, ClientWon, Resurrected, ServerWon};
use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::{ListDeletedRequest, ListVersionsRequest, RestoreVersionRequest};

use crate::check::{Checked, broken, ensure, expect, means, refused_for, there};
use crate::record::{Record, WORKOUT, at, forced, note};
use crate::subject::Subject;

const HOUR_MS: i64 = 3_600_000;

/// Pages of the recycle bin before a check gives up.
const BIN_PAGES_MAX: usize = 100;

/// A wish for something of an entity whose current version the person has seen.
pub fn restoring(record: &Record, source: Source, seen: i32) -> RestoreVersionRequest {
    RestoreVersionRequest {
        entity_type: record.kind.name.to_owned(),
        entity_id: record.id.to_string(),
        source: Some(source),
        expected_version: seen,
        ..RestoreVersionRequest::default()
    }
}

pub async fn versions_with_who_and_when(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    let then = phone.now().await? - HOUR_MS;
    let first = at(then, workout.put(0, &note("a")));
    phone.settles(first.clone(), Applied, 1).await?;
    let second = forced(workout.put(0, &note("b")));
    tablet.settles(second.clone(), ClientWon, 2).await?;
    phone.settles(workout.delete(2), Applied, 3).await?;
    let entries = phone.versions(&workout).await?;
    let versions: Vec<i32> = entries.iter().map(|entry| entry.version).collect();
    expect("versions, the newest first", versions, vec![3, 2, 1])?;
    let [deletion, second_entry, first_entry] = entries.as_slice() else {
        return broken("expected three entries");
    };
    ensure(
        deletion.current && deletion.deleted && deletion.data.is_empty(),
        || "version 3 to be current, a deletion and without data; it is not".to_owned(),
    )?;
    expect(
        "device_id of version 2",
        second_entry.device_id.as_str(),
        tablet.id,
    )?;
    expect(
        "device_label of version 2",
        second_entry.device_label.clone(),
        tablet.label(),
    )?;
    expect(
        "mutation_id of version 2",
        &second_entry.mutation_id,
        &second.mutation_id,
    )?;
    expect(
        "resolution of version 2",
        second_entry.resolution(),
        ClientWon,
    )?;
    expect("cause of version 2", second_entry.cause.as_str(), "push")?;
    expect("rule of version 2", second_entry.rule, 6)?;
    means("version 1", &first_entry.data, &note("a"))?;
    expect(
        "device_id of version 1",
        first_entry.device_id.as_str(),
        phone.id,
    )?;
    expect("edit_time of version 1", first_entry.edit_time, then)?;
    ensure(
        first_entry.updated_at > then && !first_entry.current,
        || "updated_at of version 1 behind its edit_time, and not current; it is not so".to_owned(),
    )
}

pub async fn losing_sides_stand_behind_what_they_met(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    tablet.settles(workout.delete(1), Applied, 2).await?;
    let long_ago = phone.now().await? - HOUR_MS;
    let edit = at(long_ago, workout.put(1, &note("b")));
    phone.settles(edit.clone(), ServerWon, 2).await?;
    phone
        .settles(workout.put(2, &note("c")), Resurrected, 3)
        .await?;
    let entries = phone.versions(&workout).await?;
    let order: Vec<(i32, bool)> = entries
        .iter()
        .map(|entry| (entry.version, entry.losing_side))
        .collect();
    let expected = vec![(3, false), (2, false), (2, true), (1, false)];
    expect(
        "versions and whether they are losing sides",
        order,
        expected,
    )?;
    expect(
        "mutation_id of the losing side",
        &entries[2].mutation_id,
        &edit.mutation_id,
    )
}

pub async fn versions_page_by_page(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    for base in 0..5 {
        phone.writes(&workout, base, &base.to_string()).await?;
    }
    let mut request = ListVersionsRequest {
        entity_type: workout.kind.name.to_owned(),
        entity_id: workout.id.to_string(),
        page_size: 2,
        ..ListVersionsRequest::default()
    };
    let mut pages = Vec::new();
    for _ in 0..5 {
        let call = phone.call(request.clone(), async |mut client, request| {
            client.list_versions(request).await
        });
        let page = call.await?;
        pages.push(
            page.entries
                .iter()
                .map(|entry| entry.version)
                .collect::<Vec<_>>(),
        );
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    expect(
        "versions by page",
        pages,
        vec![vec![5, 4], vec![3, 2], vec![1]],
    )?;
    request.page_token = "not a place".to_owned();
    let call = phone.call(request, async |mut client, request| {
        client.list_versions(request).await
    });
    refused_for("a page_token that is none", call.await, "page_token")
}

pub async fn restore_writes_a_new_version(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.writes(&workout, 1, "b").await?;
    let answer = tablet
        .restore(restoring(&workout, Source::Version(1), 2))
        .await?;
    expect("restored", answer.restored, true)?;
    let copy = there("the server copy", answer.server)?;
    expect("its version", copy.version, 3)?;
    means("the server copy", &copy.data, &note("a"))?;
    phone.finds(subject, &workout, &note("a"), 3).await?;
    let newest = there(
        "an entry",
        phone.versions(&workout).await?.into_iter().next(),
    )?;
    expect("cause of the new version", newest.cause.as_str(), "restore")
}

pub async fn restore_overwrites_nothing_unseen(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.writes(&workout, 1, "b").await?;
    phone.writes(&workout, 2, "c").await?;
    let answer = tablet
        .restore(restoring(&workout, Source::Version(1), 2))
        .await?;
    expect("restored", answer.restored, false)?;
    let copy = there("the server copy", answer.server)?;
    expect("its version", copy.version, 3)?;
    phone.finds(subject, &workout, &note("c"), 3).await
}

pub async fn restore_again(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.writes(&workout, 1, "b").await?;
    let wish = restoring(&workout, Source::Version(1), 2);
    tablet.restore(wish.clone()).await?;
    phone.writes(&workout, 3, "c").await?;
    let again = tablet.restore(wish).await?;
    expect("restored, asked again", again.restored, true)?;
    phone.finds(subject, &workout, &note("c"), 4).await
}

pub async fn recycle_bin(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    tablet.settles(workout.delete(1), Applied, 2).await?;
    let mut request = ListDeletedRequest {
        entity_type: workout.kind.name.to_owned(),
        ..ListDeletedRequest::default()
    };
    let id = workout.id.to_string();
    let mut found = None;
    for _ in 0..BIN_PAGES_MAX {
        let call = phone.call(request.clone(), async |mut client, request| {
            client.list_deleted(request).await
        });
        let page = call.await?;
        found = page
            .entities
            .into_iter()
            .find(|entity| entity.entity_id == id);
        request.page_token = page.next_page_token;
        if found.is_some() || request.page_token.is_empty() {
            break;
        }
    }
    let deleted = there("the deleted entity in ListDeleted", found)?;
    expect("version of the tombstone", deleted.version, 2)?;
    expect(
        "device_id of the deletion",
        deleted.device_id.as_str(),
        tablet.id,
    )?;
    expect("last_version", deleted.last_version, 1)?;
    means("last_data", &deleted.last_data, &note("a"))?;
    let wish = restoring(
        &workout,
        Source::Version(deleted.last_version),
        deleted.version,
    );
    let answer = phone.restore(wish).await?;
    expect("restored", answer.restored, true)?;
    tablet.finds(subject, &workout, &note("a"), 3).await
}

pub async fn restore_of_a_deletion(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.settles(workout.delete(1), Applied, 2).await?;
    phone
        .settles(workout.put(2, &note("b")), Resurrected, 3)
        .await?;
    let answer = phone
        .restore(restoring(&workout, Source::Version(2), 3))
        .await?;
    expect("restored", answer.restored, true)?;
    phone.finds_deleted(subject, &workout, 4).await
}

pub async fn what_never_was(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    let entries = phone.versions(&workout).await?;
    expect("entries of an entity that never was", entries.len(), 0)?;
    let came = phone
        .restore(restoring(&workout, Source::Version(1), 0))
        .await;
    refused_for("restoring a version that never was", came, "version")?;
    phone.writes(&workout, 0, "a").await?;
    let nobodys = Source::LosingSide(uuid::Uuid::new_v4().to_string());
    let came = phone.restore(restoring(&workout, nobodys, 1)).await;
    refused_for(
        "restoring a losing side that never was",
        came,
        "losing_side",
    )
}
