//! Section 6: pages of what changed.

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{Entity, PullRequest};

use crate::check::{Checked, broken, ensure, expect, refused_for, there};
use crate::device::{Device, newest};
use crate::record::{Record, SAMPLES, SUPERSET, WORKOUT, note};
use crate::subject::Subject;

/// New entities of one device, pushed in their order.
pub async fn push_new(
    subject: &Subject,
    device: &Device<'_>,
    count: usize,
) -> Checked<Vec<Record>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let record = subject.fresh(SUPERSET).await?;
        device.writes(&record, 0, "new").await?;
        records.push(record);
    }
    Ok(records)
}

pub fn ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.id.to_string()).collect()
}

/// Those of the entities that are among the records, in the order they came: others may be at work.
pub fn among(entities: &[Entity], records: &[Record]) -> Vec<String> {
    let ids = ids(records);
    let came = entities.iter().map(|entity| entity.entity_id.clone());
    came.filter(|id| ids.contains(id)).collect()
}

pub async fn order_of_changes(subject: &Subject) -> Checked {
    let (phone, tablet, watch) = (subject.phone(), subject.tablet(), subject.watch());
    let cursor = watch.end(subject, &[SUPERSET.name]).await?;
    let mut records = push_new(subject, &phone, 3).await?;
    records.extend(push_new(subject, &tablet, 2).await?);
    // The first changes again: it comes once, at its newest version, at the place of that.
    tablet
        .settles(records[0].put(1, &note("again")), Applied, 2)
        .await?;
    records.rotate_left(1);
    let (entities, _) = watch
        .pull_all(watch.page(&[SUPERSET.name], &cursor))
        .await?;
    expect(
        "entities in the order of changes",
        among(&entities, &records),
        ids(&records),
    )?;
    let again = there("the first entity", newest(&entities, &records[4]))?;
    expect("its version", again.version, 2)?;
    expect("its device_id", again.device_id.as_str(), tablet.id)
}

pub async fn page_sizes(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let records = push_new(subject, &phone, 5).await?;
    let mut request = PullRequest {
        page_size: 2,
        ..tablet.page(&[SUPERSET.name], &cursor)
    };
    let mut entities = Vec::new();
    for _ in 0..1_000 {
        let page = tablet.pull(request.clone()).await?;
        ensure(page.entities.len() <= 2, || {
            format!(
                "at most 2 entities with page_size 2; came {}",
                page.entities.len()
            )
        })?;
        entities.extend(page.entities);
        request.cursor = page.cursor;
        if !page.has_more {
            expect("remaining on the last page", page.remaining, 0)?;
            return expect(
                "entities of all pages",
                among(&entities, &records),
                ids(&records),
            );
        }
    }
    broken("expected the pages to end; a thousand came")
}

pub async fn odd_page_sizes(subject: &Subject) -> Checked {
    let tablet = subject.tablet();
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    for page_size in [0, i32::MAX] {
        let request = PullRequest {
            page_size,
            ..tablet.page(&[SUPERSET.name], &cursor)
        };
        tablet.pull(request).await?;
    }
    let negative = PullRequest {
        page_size: -1,
        ..tablet.page(&[SUPERSET.name], &cursor)
    };
    refused_for(
        "a negative page_size",
        tablet.pull(negative).await,
        "page_size",
    )
}

pub async fn large_entities(subject: &Subject) -> Checked {
    const MIB: usize = 1024 * 1024;
    const ENTITIES: usize = 12;
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let most = usize::try_from(subject.limits().item_bytes_max).unwrap_or(0);
    let bytes = (most * 3 / 4).min(200 * 1024);
    let text = "x".repeat(bytes);
    let mut records = Vec::new();
    for _ in 0..ENTITIES {
        let record = subject.fresh(SUPERSET).await?;
        phone.writes(&record, 0, &text).await?;
        records.push(record);
    }
    let mut request = tablet.page(&[SUPERSET.name], &cursor);
    let mut entities = Vec::new();
    for _ in 0..1_000 {
        let page = tablet.pull(request.clone()).await?;
        let size: usize = page.entities.iter().map(|entity| entity.data.len()).sum();
        ensure(size <= MIB + MIB / 2 || page.entities.len() == 1, || {
            format!("a page to end at about 1 MiB; it has {size} bytes of data")
        })?;
        entities.extend(page.entities);
        request.cursor = page.cursor;
        if !page.has_more {
            return expect(
                "large entities that came",
                among(&entities, &records).len(),
                ENTITIES,
            );
        }
    }
    broken("expected the pages to end; a thousand came")
}

pub async fn from_the_beginning(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let records = push_new(subject, &phone, 2).await?;
    tablet.settles(records[0].delete(1), Applied, 2).await?;
    for device in [phone, tablet] {
        let request = PullRequest {
            page_size: subject.limits().page_size_max,
            ..device.page(&[SUPERSET.name], "")
        };
        let (entities, _) = device.pull_all(request).await?;
        let gone = newest(&entities, &records[0]);
        expect("a tombstone from the beginning", gone, None)?;
        there(
            "a live entity from the beginning, whoever wrote it",
            newest(&entities, &records[1]),
        )?;
    }
    Ok(())
}

pub async fn tombstones_after_a_cursor(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let records = push_new(subject, &phone, 1).await?;
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    phone.settles(records[0].delete(1), Applied, 2).await?;
    let (entities, _) = tablet
        .pull_all(tablet.page(&[SUPERSET.name], &cursor))
        .await?;
    let tombstone = there(
        "the tombstone after a cursor",
        newest(&entities, &records[0]),
    )?;
    expect("deleted", tombstone.deleted, true)?;
    expect("its version", tombstone.version, 2)?;
    ensure(tombstone.data.is_empty(), || {
        "a tombstone without data; it has some".to_owned()
    })
}

pub async fn own_edits_are_left_out(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = phone.end(subject, &[SUPERSET.name]).await?;
    let own = push_new(subject, &phone, 2).await?;
    let others = push_new(subject, &tablet, 1).await?;
    let request = phone.page(&[SUPERSET.name], &cursor);
    let (entities, _) = phone.pull_all(request.clone()).await?;
    expect(
        "its own edits after a cursor",
        among(&entities, &own),
        vec![],
    )?;
    expect(
        "the other's edit after a cursor",
        among(&entities, &others),
        ids(&others),
    )?;
    let request = PullRequest {
        include_own: true,
        ..request
    };
    let (entities, _) = phone.pull_all(request).await?;
    expect(
        "its own edits with include_own",
        among(&entities, &own),
        ids(&own),
    )
}

pub async fn only_types_that_are_asked_for(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name, WORKOUT.name]).await?;
    let (one, two) = (
        subject.fresh(SUPERSET).await?,
        subject.fresh(WORKOUT).await?,
    );
    let alone = tablet.end(subject, &[SUPERSET.name]).await?;
    phone.writes(&one, 0, "a").await?;
    phone.writes(&two, 0, "a").await?;
    let (entities, _) = tablet
        .pull_all(tablet.page(&[SUPERSET.name], &alone))
        .await?;
    let all = [one, two];
    expect(
        "of two types, one asked for",
        among(&entities, &all),
        ids(&all[..1]),
    )?;
    // In another order, and one of them twice: the same types.
    let types = [WORKOUT.name, SUPERSET.name, WORKOUT.name];
    let (entities, _) = tablet.pull_all(tablet.page(&types, &cursor)).await?;
    expect(
        "of two types, both asked for",
        among(&entities, &all),
        ids(&all),
    )
}

pub async fn on_demand_types_by_name_only(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let named = tablet.end(subject, &[SAMPLES.name]).await?;
    let all = tablet.end(subject, &[]).await?;
    let samples = subject.fresh(SAMPLES).await?;
    phone.writes(&samples, 0, "a").await?;
    let (entities, _) = tablet.pull_all(tablet.page(&[], &all)).await?;
    expect(
        "an on-demand type that was not named",
        newest(&entities, &samples),
        None,
    )?;
    let (entities, _) = tablet
        .pull_all(tablet.page(&[SAMPLES.name], &named))
        .await?;
    there(
        "an on-demand type that was named",
        newest(&entities, &samples),
    )
    .map(drop)
}

pub async fn exports_have_everything(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let (superset, samples) = (
        subject.fresh(SUPERSET).await?,
        subject.fresh(SAMPLES).await?,
    );
    phone.writes(&superset, 0, "a").await?;
    phone.writes(&samples, 0, "a").await?;
    let request = PullRequest {
        export: true,
        page_size: subject.limits().page_size_max,
        ..phone.page(&[], "")
    };
    let (entities, cursor) = phone.pull_all(request.clone()).await?;
    there("its own edit in an export", newest(&entities, &superset))?;
    there(
        "an on-demand type in an export",
        newest(&entities, &samples),
    )?;
    phone.writes(&superset, 1, "b").await?;
    let request = PullRequest {
        cursor: cursor.clone(),
        ..request
    };
    let (entities, _) = phone.pull_all(request).await?;
    let came = there(
        "its own edit in the export going on",
        newest(&entities, &superset),
    )?;
    expect("its version", came.version, 2)?;
    let came = phone.pull(phone.page(&[], &cursor)).await;
    refused_for("a cursor of an export without export", came, "cursor")
}
