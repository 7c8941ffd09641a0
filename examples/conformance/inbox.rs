//! Section 5: the conflict inbox, what waits for the person and how it ends.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, NeedsUser, Resurrected, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::{
    Choice, Conflict, ConflictKind, ConflictState, ResolveConflictRequest, ResolveStatus,
    Settlement, SyncItem,
};
use uuid::Uuid;

use crate::check::{Checked, ensure, expect, means, refused_for, there};
use crate::record::{Record, WORKOUT, note};
use crate::subject::Subject;

/// An entity that the tablet has changed behind the phone's back, the phone's edit of it, and the conflict
/// that waits because of that: the phone knew version 1, the server holds version 2.
struct Contested {
    workout: Record,
    edit: SyncItem,
    conflict_id: String,
}

impl Contested {
    async fn new(subject: &Subject) -> Checked<Self> {
        let (phone, tablet) = (subject.phone(), subject.tablet());
        let workout = subject.fresh(WORKOUT).await?;
        phone.writes(&workout, 0, "base").await?;
        tablet.writes(&workout, 1, "tablet").await?;
        let edit = workout.put(1, &note("phone"));
        let answer = phone.settles(edit.clone(), NeedsUser, 2).await?;
        let detail = there("the details of the conflict", answer.conflict)?;
        Ok(Self {
            workout,
            edit,
            conflict_id: detail.conflict_id,
        })
    }

    fn decision(&self, choice: Choice, seen: i32) -> ResolveConflictRequest {
        ResolveConflictRequest {
            conflict_id: self.conflict_id.clone(),
            choice: choice.into(),
            data: match choice {
                Choice::UseData => note("merged").to_string().into_bytes(),
                Choice::Unspecified
                | Choice::KeepServer
                | Choice::KeepClient
                | Choice::KeepBoth => Vec::new(),
            },
            expected_version: seen,
            ..ResolveConflictRequest::default()
        }
    }

    /// The conflict, as the inbox has it.
    async fn listed(&self, subject: &Subject, state: ConflictState) -> Checked<Option<Conflict>> {
        let listed = subject.watch().conflicts(state, WORKOUT.name).await?;
        Ok(listed
            .into_iter()
            .find(|conflict| conflict.conflict_id == self.conflict_id))
    }
}

pub async fn open_conflicts_are_listed(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let listed = contested.listed(subject, ConflictState::Open).await?;
    let conflict = there("the conflict in ListConflicts", listed)?;
    expect("its kind", conflict.kind(), ConflictKind::Edit)?;
    expect(
        "its entity_id",
        conflict.entity_id.as_str(),
        contested.edit.entity_id.as_str(),
    )?;
    expect("open", conflict.open, true)?;
    expect("asked", conflict.asked, true)?;
    expect(
        "its device_id",
        conflict.device_id.as_str(),
        subject.phone().id,
    )?;
    expect(
        "its device_label",
        conflict.device_label.clone(),
        subject.phone().label(),
    )?;
    let versions = (conflict.base_version, conflict.server_version);
    expect("its base_version and server_version", versions, (1, 2))?;
    let by = (conflict.rule, conflict.policy.as_str());
    expect("its rule and policy", by, (9, WORKOUT.policy))
}

pub async fn open_conflicts_are_counted(subject: &Subject) -> Checked {
    let watch = subject.watch();
    let _contested = Contested::new(subject).await?;
    let end = watch.end(subject, &[WORKOUT.name]).await?;
    let page = watch.pull(watch.page(&[WORKOUT.name], &end)).await?;
    ensure(page.open_conflicts > 0, || {
        "open_conflicts of a page while one is open; it is 0".to_owned()
    })?;
    let status = watch.get_status().await?;
    ensure(status.open_conflicts > 0, || {
        "open_conflicts of GetStatus while one is open; it is 0".to_owned()
    })
}

pub async fn both_sides_can_be_read(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let found = subject.watch().get_conflict(&contested.conflict_id).await?;
    let side = there("the device's side", found.client)?;
    means("the device's side", &side.data, &note("phone"))?;
    expect(
        "its mutation_id",
        &side.mutation_id,
        &contested.edit.mutation_id,
    )?;
    expect("its device_id", side.device_id.as_str(), subject.phone().id)?;
    let server = there("the server's side", found.server)?;
    means("the server's side", &server.data, &note("tablet"))?;
    expect("its version", server.version, 2)?;
    means("base_data", &found.base_data, &note("base"))?;
    ensure(!found.proposed_data.is_empty(), || {
        "a proposed merge; proposed_data is empty".to_owned()
    })?;
    let overlap = vec!["/conformance".to_owned()];
    expect("overlapping_paths", found.overlapping_paths, overlap)
}

async fn decides(
    subject: &Subject,
    choice: Choice,
    settlement: Settlement,
    text: &str,
    version: i32,
) -> Checked {
    let contested = Contested::new(subject).await?;
    let tablet = subject.tablet();
    let answer = tablet.resolve(contested.decision(choice, 2)).await?;
    expect(
        "status of the decision",
        answer.status(),
        ResolveStatus::Resolved,
    )?;
    let copy = there("the server copy", answer.server)?;
    means("the server copy", &copy.data, &note(text))?;
    expect("its version", copy.version, version)?;
    subject
        .phone()
        .finds(subject, &contested.workout, &note(text), version)
        .await?;
    let open = contested.listed(subject, ConflictState::Open).await?;
    expect("the conflict among the open ones", open.is_some(), false)?;
    let settled = contested.listed(subject, ConflictState::Settled).await?;
    let settled = there("the conflict among the settled ones", settled)?;
    expect("how it was settled", settled.settlement(), settlement)?;
    expect(
        "settled_by_device_id",
        settled.settled_by_device_id.as_str(),
        tablet.id,
    )
}

pub async fn keep_server(subject: &Subject) -> Checked {
    decides(
        subject,
        Choice::KeepServer,
        Settlement::KeepServer,
        "tablet",
        2,
    )
    .await
}

pub async fn keep_client(subject: &Subject) -> Checked {
    decides(
        subject,
        Choice::KeepClient,
        Settlement::KeepClient,
        "phone",
        3,
    )
    .await
}

pub async fn use_data(subject: &Subject) -> Checked {
    decides(subject, Choice::UseData, Settlement::UseData, "merged", 3).await
}

pub async fn moved(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let tablet = subject.tablet();
    tablet
        .settles(contested.workout.put(2, &note("newer")), Applied, 3)
        .await?;
    for choice in [Choice::KeepServer, Choice::KeepClient] {
        let answer = tablet.resolve(contested.decision(choice, 2)).await?;
        expect(
            "status of a decision on what has moved",
            answer.status(),
            ResolveStatus::Moved,
        )?;
        let copy = there("the new server copy", answer.server)?;
        expect("its version", copy.version, 3)?;
        means("the new server copy", &copy.data, &note("newer"))?;
    }
    let open = contested.listed(subject, ConflictState::Open).await?;
    expect("the conflict among the open ones", open.is_some(), true)?;
    tablet
        .finds(subject, &contested.workout, &note("newer"), 3)
        .await
}

pub async fn decided_twice(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let (phone, tablet) = (subject.phone(), subject.tablet());
    let decision = contested.decision(Choice::KeepClient, 2);
    for _ in 0..2 {
        let answer = tablet.resolve(decision.clone()).await?;
        expect(
            "status of the same decision",
            answer.status(),
            ResolveStatus::Resolved,
        )?;
    }
    let answer = phone
        .resolve(contested.decision(Choice::UseData, 2))
        .await?;
    let late = answer.status();
    expect(
        "status of another decision later",
        late,
        ResolveStatus::SettledBefore,
    )?;
    phone
        .finds(subject, &contested.workout, &note("phone"), 3)
        .await?;
    let found = phone.get_conflict(&contested.conflict_id).await?;
    let mut sides = found.other_sides.iter();
    let merged = note("merged");
    let kept = sides.any(|side| means("a side", &side.data, &merged).is_ok());
    ensure(kept, || {
        "data that came too late as one of other_sides; it is not there".to_owned()
    })
}

pub async fn pushing_a_choice_settles(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let phone = subject.phone();
    phone
        .settles(contested.workout.put(2, &note("chosen")), Applied, 3)
        .await?;
    let settled = contested.listed(subject, ConflictState::Settled).await?;
    let settled = there("the conflict among the settled ones", settled)?;
    expect(
        "how it was settled",
        settled.settlement(),
        Settlement::Pushed,
    )
}

pub async fn settled_conflicts_stay_settled(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let (phone, tablet) = (subject.phone(), subject.tablet());
    tablet
        .resolve(contested.decision(Choice::KeepServer, 2))
        .await?;
    let again = phone.settles(contested.edit.clone(), ServerWon, 2).await?;
    means("the server copy", &again.server_data, &note("tablet"))?;
    let open = contested.listed(subject, ConflictState::Open).await?;
    expect("the conflict among the open ones", open.is_some(), false)?;

    let contested = Contested::new(subject).await?;
    tablet
        .resolve(contested.decision(Choice::KeepClient, 2))
        .await?;
    phone.settles(contested.edit, Unchanged, 3).await?;
    Ok(())
}

pub async fn newer_edits_replace_the_side(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let phone = subject.phone();
    let newer = contested.workout.put(1, &note("phone, later"));
    let answer = phone.settles(newer.clone(), NeedsUser, 2).await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    expect("conflict_id", &detail.conflict_id, &contested.conflict_id)?;
    let found = phone.get_conflict(&contested.conflict_id).await?;
    let side = there("the device's side", found.client)?;
    expect(
        "mutation_id of the side that counts",
        side.mutation_id,
        newer.mutation_id,
    )?;
    let others: Vec<String> = found
        .other_sides
        .into_iter()
        .map(|side| side.mutation_id)
        .collect();
    let older = vec![contested.edit.mutation_id];
    expect("mutation ids of other_sides", others, older)
}

pub async fn each_device_has_its_own(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let watch = subject.watch();
    let edit = contested.workout.put(1, &note("watch"));
    let answer = watch.settles(edit, NeedsUser, 2).await?;
    let detail = there("the details of the conflict", answer.conflict)?;
    ensure(detail.conflict_id != contested.conflict_id, || {
        "a conflict of its own for each device; both have one".to_owned()
    })?;
    watch
        .resolve(contested.decision(Choice::KeepServer, 2))
        .await?;
    let found = watch.get_conflict(&detail.conflict_id).await?;
    let conflict = there("the other device's conflict", found.conflict)?;
    expect("the other device's conflict is open", conflict.open, true)
}

pub async fn unknown_conflicts(subject: &Subject) -> Checked {
    let phone = subject.phone();
    for id in [Uuid::new_v4().to_string(), "7".to_owned(), String::new()] {
        let came = phone.get_conflict(&id).await;
        refused_for(&format!("GetConflict of {id:?}"), came, "conflict_id")?;
    }
    let contested = Contested::new(subject).await?;
    let came = phone
        .resolve(contested.decision(Choice::Unspecified, 2))
        .await;
    refused_for("ResolveConflict without a choice", came, "choice")
}

pub async fn keep_client_of_a_deletion(subject: &Subject) -> Checked {
    let contested = Contested::new(subject).await?;
    let tablet = subject.tablet();
    tablet
        .settles(contested.workout.delete(2), Applied, 3)
        .await?;
    let answer = tablet
        .resolve(contested.decision(Choice::KeepClient, 3))
        .await?;
    expect(
        "status of the decision",
        answer.status(),
        ResolveStatus::Resolved,
    )?;
    let newest = tablet
        .versions(&contested.workout)
        .await?
        .into_iter()
        .next();
    let newest = there("the newest version", newest)?;
    expect("its resolution", newest.resolution(), Resurrected)?;
    tablet
        .finds(subject, &contested.workout, &note("phone"), 4)
        .await
}
