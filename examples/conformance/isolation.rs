//! Promise 10: no one sees or touches another user's data, whatever they send. The stranger's device has the same
//! id as the user's.

use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, ListDeletedRequest, PullRequest, ResolveConflictRequest, RevokeDeviceRequest,
    SyncRequest,
};
use tonic::Code;

use crate::check::{Checked, ensure, expect, means, refused, refused_for, there};
use crate::device::newest;
use crate::history::restoring;
use crate::record::{WORKOUT, forced, note};
use crate::subject::Subject;
use crate::watches::Follower;

pub async fn same_ids_are_two_entities(subject: &Subject) -> Checked {
    let (phone, stranger) = (subject.phone(), subject.stranger()?);
    let workout = subject.fresh(WORKOUT).await?;
    let mine = workout.put(0, &note("mine"));
    phone.settles(mine.clone(), Applied, 1).await?;
    phone.writes(&workout, 1, "mine still").await?;
    // The same entity, device and mutation, under another user.
    stranger.settles(forced(mine), Applied, 1).await?;
    stranger
        .settles(forced(workout.delete(1)), Applied, 2)
        .await?;
    phone.finds(subject, &workout, &note("mine still"), 2).await
}

pub async fn pages_show_nothing_of_others(subject: &Subject) -> Checked {
    let (phone, stranger) = (subject.phone(), subject.stranger()?);
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "mine").await?;
    for export in [false, true] {
        let request = PullRequest {
            include_own: true,
            export,
            page_size: subject.limits().page_size_max,
            ..stranger.page(&[WORKOUT.name], "")
        };
        let (entities, _) = stranger.pull_all(request).await?;
        let shown = newest(&entities, &workout);
        expect("what the stranger pulls of it", shown, None)?;
    }
    Ok(())
}

pub async fn cursors_are_the_users_own(subject: &Subject) -> Checked {
    let (phone, stranger) = (subject.phone(), subject.stranger()?);
    let cursor = phone.end(subject, &[WORKOUT.name]).await?;
    let came = stranger.pull(stranger.page(&[WORKOUT.name], &cursor)).await;
    refused_for("a cursor of another user", came, "cursor")
}

pub async fn watches_show_nothing_of_others(subject: &Subject) -> Checked {
    let (phone, stranger) = (subject.phone(), subject.stranger()?);
    let (mine, theirs) = (subject.fresh(WORKOUT).await?, subject.fresh(WORKOUT).await?);
    let request = PullRequest {
        include_own: true,
        ..stranger.page(&[WORKOUT.name], "")
    };
    let mut follower = Follower::caught_up(&stranger, request).await?;
    phone.writes(&mine, 0, "mine").await?;
    stranger.writes(&theirs, 0, "theirs").await?;
    let id = mine.id.to_string();
    loop {
        if let Event::Changes(changes) = follower.next().await? {
            let shown = changes.entities.iter().any(|entity| entity.entity_id == id);
            expect("shown on the stranger's watch", shown, false)?;
            if newest(&changes.entities, &theirs).is_some() {
                return Ok(());
            }
        }
    }
}

pub async fn histories_are_the_users_own(subject: &Subject) -> Checked {
    let (phone, stranger) = (subject.phone(), subject.stranger()?);
    let workout = subject.fresh(WORKOUT).await?;
    phone.writes(&workout, 0, "a").await?;
    phone.writes(&workout, 1, "b").await?;
    let listed = stranger.versions(&workout).await?;
    expect("versions that the stranger lists", listed.len(), 0)?;
    let came = stranger
        .restore(restoring(&workout, Source::Version(1), 2))
        .await;
    refused_for("restoring another user's version", came, "version")?;
    phone.settles(workout.delete(2), Applied, 3).await?;
    let request = ListDeletedRequest {
        entity_type: WORKOUT.name.to_owned(),
        ..ListDeletedRequest::default()
    };
    let call = stranger.call(request, async |mut client, request| {
        client.list_deleted(request).await
    });
    let id = workout.id.to_string();
    let shown = call
        .await?
        .entities
        .iter()
        .any(|entity| entity.entity_id == id);
    expect("in the stranger's recycle bin", shown, false)
}

pub async fn conflicts_are_the_users_own(subject: &Subject) -> Checked {
    let (phone, tablet, stranger) = (subject.phone(), subject.tablet(), subject.stranger()?);
    let workout = subject.fresh(WORKOUT).await?;
    tablet.writes(&workout, 0, "a").await?;
    let answer = phone
        .settles(workout.put(0, &note("b")), NeedsUser, 1)
        .await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    let came = stranger.get_conflict(&detail.conflict_id).await;
    refused_for("another user's conflict", came, "conflict_id")?;
    let decision = ResolveConflictRequest {
        conflict_id: detail.conflict_id.clone(),
        choice: Choice::KeepClient.into(),
        expected_version: 1,
        ..ResolveConflictRequest::default()
    };
    let came = stranger.resolve(decision).await;
    refused_for("deciding another user's conflict", came, "conflict_id")?;
    let found = phone.get_conflict(&detail.conflict_id).await?;
    let server = there("the server's side", found.server)?;
    means("the server's side", &server.data, &note("a"))
}

pub async fn devices_are_the_users_own(subject: &Subject) -> Checked {
    let (tablet, stranger) = (subject.tablet(), subject.stranger()?);
    tablet.now().await?;
    let request = RevokeDeviceRequest {
        device_id: tablet.id.to_owned(),
    };
    let call = stranger.call(request, async |mut client, request| {
        client.revoke_device(request).await
    });
    refused_for("revoking another user's device", call.await, "device_id")?;
    tablet.now().await?;
    let status = stranger.get_status().await?;
    let listed = status
        .devices
        .iter()
        .any(|device| device.device_id == tablet.id);
    expect("another user's device in GetStatus", listed, false)
}

pub async fn the_user_is_the_tokens(subject: &Subject) -> Checked {
    let phone = subject.phone();
    let workout = subject.fresh(WORKOUT).await?;
    let mut others = vec!["somebody else".to_owned(), "library".to_owned()];
    if let Ok(stranger) = subject.stranger() {
        others.extend(stranger.user.id().await);
    }
    for user_id in others {
        let request = SyncRequest {
            user_id,
            items: vec![workout.put(0, &note("a"))],
            ..phone.batch()
        };
        let came = phone.sync(request).await;
        refused(
            "a user_id of somebody else",
            came,
            Code::PermissionDenied,
            "USER_MISMATCH",
        )?;
    }
    expect(
        "what was written all the same",
        phone.held(subject, &workout).await?,
        None,
    )?;
    if let Some(user_id) = phone.user.id().await {
        let request = SyncRequest {
            user_id,
            ..phone.batch()
        };
        let came = phone.sync(request).await;
        ensure(came.is_ok(), || {
            "the caller's own user_id to be fine; it is refused".to_owned()
        })?;
    }
    Ok(())
}
