//! Section 6: a watch catches up from a cursor, then follows, on one stream.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, Conflict, Entity, PullRequest, ResolveConflictRequest, Settlement, WatchResponse,
};
use serde_json::json;
use tokio::time::timeout;
use tonic::Streaming;

use crate::check::{Checked, broken, ensure, expect, refused_for, there};
use crate::device::{Device, EVENT_TIMEOUT, newest};
use crate::record::{Record, SUPERSET, WORKOUT, note};
use crate::subject::Subject;

/// A watch, and how far it has come.
pub struct Follower {
    stream: Streaming<WatchResponse>,
    /// The cursor of the newest event that had one.
    pub cursor: String,
}

impl Follower {
    /// Begins to watch.
    pub async fn open(device: &Device<'_>, request: PullRequest) -> Checked<Self> {
        let cursor = request.cursor.clone();
        let stream = device.watch(request).await?;
        Ok(Self { stream, cursor })
    }

    /// A watch that has caught up.
    pub async fn caught_up(device: &Device<'_>, request: PullRequest) -> Checked<Self> {
        let mut follower = Self::open(device, request).await?;
        while !matches!(follower.next().await?, Event::CaughtUp(_)) {}
        Ok(follower)
    }

    /// The next event.
    pub async fn next(&mut self) -> Checked<Event> {
        let Ok(message) = timeout(EVENT_TIMEOUT, self.stream.message()).await else {
            return broken(format!(
                "expected an event of the watch, none came for {EVENT_TIMEOUT:?}"
            ));
        };
        let message = there("an event; the watch", message?)?;
        let event = there("an event that is known", message.event)?;
        match &event {
            Event::Changes(changes) => self.cursor.clone_from(&changes.cursor),
            Event::CaughtUp(caught_up) => self.cursor.clone_from(&caught_up.cursor),
            Event::Heartbeat(heartbeat) => self.cursor.clone_from(&heartbeat.cursor),
            Event::Conflict(_) => (),
        }
        Ok(event)
    }

    /// Follows until an entity comes; what came of it, and of others before.
    async fn until(&mut self, record: &Record) -> Checked<Vec<Entity>> {
        let mut came = Vec::new();
        let told = timeout(EVENT_TIMEOUT, async {
            loop {
                if let Event::Changes(changes) = self.next().await? {
                    came.extend(changes.entities);
                    if newest(&came, record).is_some() {
                        return Ok(());
                    }
                }
            }
        });
        match told.await {
            Ok(told) => told.map(|()| came),
            Err(_) => broken(format!(
                "expected the change on the watch, it did not come for {EVENT_TIMEOUT:?}"
            )),
        }
    }

    /// Follows until it tells of a conflict about an entity.
    async fn until_conflict(&mut self, record: &Record) -> Checked<Conflict> {
        let id = record.id.to_string();
        let told = timeout(EVENT_TIMEOUT, async {
            loop {
                if let Event::Conflict(conflict) = self.next().await?
                    && conflict.entity_id == id
                {
                    return Ok(conflict);
                }
            }
        });
        match told.await {
            Ok(told) => told,
            Err(_) => broken(format!(
                "expected the conflict on the watch, it did not come for {EVENT_TIMEOUT:?}"
            )),
        }
    }
}

pub async fn catches_up_and_follows(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (before, after) = (
        subject.fresh(SUPERSET).await?,
        subject.fresh(SUPERSET).await?,
    );
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    phone.writes(&before, 0, "before").await?;
    let mut follower = Follower::open(&tablet, tablet.page(&[SUPERSET.name], &cursor)).await?;
    let mut seen = false;
    loop {
        match follower.next().await? {
            Event::Changes(changes) => seen |= newest(&changes.entities, &before).is_some(),
            Event::CaughtUp(_) => break,
            Event::Heartbeat(_) | Event::Conflict(_) => (),
        }
    }
    ensure(seen, || {
        "what was there to come before CaughtUp; it did not".to_owned()
    })?;
    phone.writes(&after, 0, "after").await?;
    let came = follower.until(&after).await?;
    let entity = there("the change", newest(&came, &after))?;
    expect("its version", entity.version, 1)?;
    expect("its device_id", entity.device_id.as_str(), phone.id)
}

pub async fn caught_up_comes_once(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let request = tablet.page(&[SUPERSET.name], &cursor);
    let mut follower = Follower::caught_up(&tablet, request).await?;
    for _ in 0..3 {
        let superset = subject.fresh(SUPERSET).await?;
        phone.writes(&superset, 0, "a").await?;
        loop {
            match follower.next().await? {
                Event::CaughtUp(_) => return broken("expected CaughtUp once, it came again"),
                Event::Changes(changes) if newest(&changes.entities, &superset).is_some() => break,
                Event::Changes(_) | Event::Heartbeat(_) | Event::Conflict(_) => (),
            }
        }
    }
    Ok(())
}

pub async fn deletions_come(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let superset = subject.fresh(SUPERSET).await?;
    phone.writes(&superset, 0, "a").await?;
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let request = tablet.page(&[SUPERSET.name], &cursor);
    let mut follower = Follower::caught_up(&tablet, request).await?;
    phone.settles(superset.delete(1), Applied, 2).await?;
    let came = follower.until(&superset).await?;
    let tombstone = there("the tombstone", newest(&came, &superset))?;
    expect("deleted", tombstone.deleted, true)?;
    expect("its version", tombstone.version, 2)
}

pub async fn own_edits_are_left_out(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    for include_own in [false, true] {
        let (own, others) = (
            subject.fresh(SUPERSET).await?,
            subject.fresh(SUPERSET).await?,
        );
        let request = PullRequest {
            include_own,
            ..tablet.page(
                &[SUPERSET.name],
                &tablet.end(subject, &[SUPERSET.name]).await?,
            )
        };
        let mut follower = Follower::caught_up(&tablet, request).await?;
        tablet.writes(&own, 0, "own").await?;
        phone.writes(&others, 0, "other's").await?;
        let came = follower.until(&others).await?;
        let shown = newest(&came, &own).is_some();
        let what = format!("its own edit on a watch with include_own {include_own}");
        expect(&what, shown, include_own)?;
    }
    Ok(())
}

pub async fn cursors_go_on_in_pulls_and_back(subject: &Subject) -> Checked {
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let (one, two, three) = (
        subject.fresh(SUPERSET).await?,
        subject.fresh(SUPERSET).await?,
        subject.fresh(SUPERSET).await?,
    );
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let request = tablet.page(&[SUPERSET.name], &cursor);
    let mut follower = Follower::caught_up(&tablet, request).await?;
    phone.writes(&one, 0, "1").await?;
    follower.until(&one).await?;
    let cursor = follower.cursor.clone();
    drop(follower);
    phone.writes(&two, 0, "2").await?;
    let (entities, cursor) = tablet
        .pull_all(tablet.page(&[SUPERSET.name], &cursor))
        .await?;
    ensure(newest(&entities, &one).is_none(), || {
        "a pull after the watch's cursor to leave out what the watch showed; it came again"
            .to_owned()
    })?;
    there(
        "what came after the watch, on a page",
        newest(&entities, &two),
    )?;
    phone.writes(&three, 0, "3").await?;
    let request = tablet.page(&[SUPERSET.name], &cursor);
    let came = Follower::open(&tablet, request)
        .await?
        .until(&three)
        .await?;
    ensure(newest(&came, &two).is_none(), || {
        "a watch after the pull's cursor to leave out what the pull showed; it came again"
            .to_owned()
    })
}

pub async fn nothing_is_missed_or_doubled(subject: &Subject) -> Checked {
    const EDITS: usize = 30;
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let cursor = tablet.end(subject, &[SUPERSET.name]).await?;
    let mut records = Vec::new();
    for _ in 0..EDITS {
        records.push(subject.fresh(SUPERSET).await?);
    }
    let writing = async {
        for record in &records {
            phone.settles(record.put(0, &json!({})), Applied, 1).await?;
        }
        Ok(())
    };
    let ids: BTreeSet<String> = records.iter().map(|record| record.id.to_string()).collect();
    let reading = async {
        let request = tablet.page(&[SUPERSET.name], &cursor);
        let mut follower = Follower::open(&tablet, request).await?;
        let mut seen = BTreeSet::new();
        while seen.len() < EDITS {
            let Event::Changes(changes) = follower.next().await? else {
                continue;
            };
            for entity in changes.entities {
                if ids.contains(&entity.entity_id) && !seen.insert(entity.entity_id) {
                    return broken("expected each change once, one came twice");
                }
            }
        }
        Ok(())
    };
    try_join(writing, reading).await.map(drop)
}

pub async fn conflicts_are_told(subject: &Subject) -> Checked {
    let (phone, tablet, watch) = (subject.phone(), subject.tablet(), subject.watch());
    let workout = subject.fresh(WORKOUT).await?;
    let cursor = watch.end(subject, &[WORKOUT.name]).await?;
    let request = watch.page(&[WORKOUT.name], &cursor);
    let mut follower = Follower::caught_up(&watch, request).await?;
    tablet.writes(&workout, 0, "a").await?;
    let answer = phone
        .settles(workout.put(0, &note("b")), NeedsUser, 1)
        .await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    let opened = follower.until_conflict(&workout).await?;
    expect(
        "conflict_id of the event",
        &opened.conflict_id,
        &detail.conflict_id,
    )?;
    expect("open", opened.open, true)?;
    let decision = ResolveConflictRequest {
        conflict_id: detail.conflict_id,
        choice: Choice::KeepServer.into(),
        expected_version: 1,
        ..ResolveConflictRequest::default()
    };
    tablet.resolve(decision).await?;
    let mut closed = follower.until_conflict(&workout).await?;
    while closed.open {
        closed = follower.until_conflict(&workout).await?;
    }
    expect(
        "how it was settled",
        closed.settlement(),
        Settlement::KeepServer,
    )
}

pub async fn bad_watches(subject: &Subject) -> Checked {
    let tablet = subject.tablet();
    for (what, field, request) in [
        (
            "a watch with garbage for a cursor",
            "cursor",
            tablet.page(&[], "garbage"),
        ),
        (
            "a watch with a negative page_size",
            "page_size",
            PullRequest {
                page_size: -1,
                ..tablet.page(&[], "")
            },
        ),
        (
            "a watch without a device_id",
            "device_id",
            PullRequest {
                device_id: String::new(),
                ..tablet.page(&[], "")
            },
        ),
    ] {
        let ended = match tablet.watch(request).await {
            Ok(mut stream) => stream.message().await.map(drop),
            Err(status) => Err(status),
        };
        refused_for(what, ended, field)?;
    }
    Ok(())
}
