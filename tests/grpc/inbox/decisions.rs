//! What a person decides about a conflict: once, bound to what they saw, from any device.

use ironflow_sync::grpc::proto::{
    Choice, ConflictState, ListConflictsRequest, Resolution, ResolveConflictRequest, ResolveStatus,
    Settlement, SyncItem,
};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

use super::{Contested, id_of, title, told, value};
use crate::grpc::{check_field, check_status, versions};
use crate::support::delete;

#[tokio::test]
async fn of_two_devices_that_resolve_at_once_one_wins_and_the_other_loses_nothing() {
    let mut contested = Contested::new().await;
    let (_, answer) = contested.conflict().await;
    let id = id_of(&answer);
    let phones = contested
        .phone
        .own_decision(&id, &title("phone's merge"), 2);
    let tablets = contested
        .tablet
        .own_decision(&id, &title("tablet's merge"), 2);
    let (phones, tablets) = tokio::join!(
        contested.phone.resolve(phones),
        contested.tablet.resolve(tablets),
    );
    let answers = [phones.expect("answered"), tablets.expect("answered")];
    let mut statuses = answers.clone().map(|answer| answer.status());
    statuses.sort();
    assert_eq!(
        statuses,
        [ResolveStatus::Resolved, ResolveStatus::SettledBefore]
    );
    let (held, version) = contested.holds().await;
    assert_eq!(version, 3);
    for answer in answers {
        let copy = answer.server.expect("the new server copy");
        assert_eq!((Some(value(&copy.data)), copy.version), (held.clone(), 3));
        assert!(!answer.conflict.expect("the conflict").open);
    }
    // What came too late is kept.
    let found = contested.phone.conflict(&id).await.expect("there");
    let kept: Vec<Value> = found.other_sides.iter().map(|s| value(&s.data)).collect();
    let lost = match held {
        Some(held) if held == title("phone's merge") => title("tablet's merge"),
        _ => title("phone's merge"),
    };
    assert_eq!(kept, [lost]);
}

#[tokio::test]
async fn a_decision_whose_answer_was_lost_is_answered_again_and_repeats_nothing() {
    for choice in [Choice::KeepServer, Choice::KeepClient, Choice::UseData] {
        let mut contested = Contested::new().await;
        let (_, answer) = contested.conflict().await;
        let decision = ResolveConflictRequest {
            choice: choice.into(),
            ..contested
                .tablet
                .own_decision(&id_of(&answer), &title("merged"), 2)
        };
        let first = contested.tablet.resolve(decision.clone()).await;
        let held = contested.holds().await;
        let again = contested.tablet.resolve(decision).await;
        let (again, first) = (again.expect("again"), first.expect("first"));
        assert_eq!(told(&again), told(&first), "{choice:?}");
        assert_eq!(contested.holds().await, held, "{choice:?}");
        // From another device it is another decision.
        let elsewhere = contested.phone.decision(&id_of(&answer), choice, 2);
        let elsewhere = ResolveConflictRequest {
            data: title("other").to_string().into_bytes(),
            ..elsewhere
        };
        let elsewhere = contested.phone.resolve(elsewhere).await.expect("answered");
        assert_eq!(elsewhere.status(), ResolveStatus::SettledBefore);
        assert_eq!(contested.holds().await, held, "{choice:?}");
    }
}

#[tokio::test]
async fn a_device_that_pushes_its_choice_closes_its_conflict() {
    for forced in [false, true] {
        let mut contested = Contested::new().await;
        let (item, answer) = contested.conflict().await;
        let choice = SyncItem {
            version: if forced { 1 } else { 2 },
            force: forced,
            mutation_id: Uuid::new_v4().to_string(),
            ..item.clone()
        };
        let pushed = contested.phone.sync_one(choice).await;
        assert_eq!(pushed.server_version, 3);
        assert_eq!(contested.open().await, 0);
        let settled = contested.tablet.conflicts(ConflictState::Settled).await;
        assert_eq!(settled.len(), 1);
        let found = contested
            .tablet
            .conflict(&id_of(&answer))
            .await
            .expect("there");
        let conflict = found.conflict.expect("the conflict");
        assert_eq!(conflict.settlement(), Settlement::Pushed);
        assert_eq!(conflict.settled_version, 3);
        assert_eq!(conflict.settled_by_device_id, "phone");
        // The item that opened it never opens it again; rule 4 fits, for its content is the server's.
        let again = contested.phone.sync_one(item).await;
        assert_eq!(again.resolution(), Resolution::Unchanged);
    }
}

/// Deleting a contested entity, and choosing a side that is a deletion.
#[tokio::test]
async fn deletions_can_be_kept_and_undone_by_a_decision() {
    // The server's side is a tombstone; the person wants the phone's edit.
    let mut contested = Contested::new().await;
    let (_, answer) = contested.conflict().await;
    contested.tablet.sync_one(delete(contested.id, 2)).await;
    assert_eq!(contested.open().await, 1);
    let found = contested
        .phone
        .conflict(&id_of(&answer))
        .await
        .expect("there");
    assert!(found.server.expect("a copy").deleted);
    assert_eq!(found.proposed_data, b"", "there is nothing to merge with");
    let decision = contested
        .phone
        .decision(&id_of(&answer), Choice::KeepClient, 3);
    let resolved = contested.phone.resolve(decision).await.expect("resolved");
    assert_eq!(resolved.status(), ResolveStatus::Resolved);
    assert_eq!(contested.holds().await, (Some(title("phone")), 4));
    let sql = contested.service.database.client().await;
    assert_eq!(versions(&sql, contested.id).await.len(), 4);
}

#[tokio::test]
async fn bad_decisions_and_questions_are_refused_by_field() {
    let mut contested = Contested::new().await;
    let (_, answer) = contested.conflict().await;
    let id = id_of(&answer);
    let mut stranger = contested.service.device("leo", "phone").await;
    let good = contested.tablet.decision(&id, Choice::KeepClient, 2);
    let with = |change: fn(&mut ResolveConflictRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    type Case = (&'static str, &'static str, ResolveConflictRequest);
    let cases: [Case; 9] = [
        ("no device", "device_id", with(|r| r.device_id.clear())),
        ("no id", "conflict_id", with(|r| r.conflict_id.clear())),
        (
            "no UUID",
            "conflict_id",
            with(|r| r.conflict_id = "7".into()),
        ),
        (
            "unknown",
            "conflict_id",
            with(|r| r.conflict_id = Uuid::new_v4().to_string()),
        ),
        ("no choice", "choice", with(|r| r.choice = 0)),
        ("unknown choice", "choice", with(|r| r.choice = 99)),
        (
            "both of one",
            "choice",
            with(|r| r.choice = Choice::KeepBoth.into()),
        ),
        (
            "negative version",
            "expected_version",
            with(|r| r.expected_version = -1),
        ),
        (
            "no data",
            "data",
            with(|r| r.choice = Choice::UseData.into()),
        ),
    ];
    for (name, field, request) in cases {
        let refused = contested.tablet.resolve(request).await.expect_err(name);
        check_status(name, &refused, Code::InvalidArgument, "INVALID_REQUEST");
        check_field(name, &refused, field);
    }
    let schema = contested.tablet.own_decision(&id, &json!({"title": 7}), 2);
    let refused = contested.tablet.resolve(schema).await.expect_err("schema");
    check_field("schema", &refused, "data/title");

    // Somebody else's conflict is nobody's.
    let refused = stranger
        .resolve(good.clone())
        .await
        .expect_err("not theirs");
    check_field("stranger", &refused, "conflict_id");
    let refused = stranger.conflict(&id).await.expect_err("not theirs");
    check_field("stranger", &refused, "conflict_id");
    assert_eq!(stranger.conflicts(ConflictState::Open).await, []);
    for (field, request) in [
        (
            "page_size",
            ListConflictsRequest {
                page_size: -1,
                ..ListConflictsRequest::default()
            },
        ),
        (
            "page_token",
            ListConflictsRequest {
                page_token: "x".to_owned(),
                ..ListConflictsRequest::default()
            },
        ),
        (
            "entity_type",
            ListConflictsRequest {
                entity_type: "No".to_owned(),
                ..ListConflictsRequest::default()
            },
        ),
        (
            "state",
            ListConflictsRequest {
                state: 9,
                ..ListConflictsRequest::default()
            },
        ),
    ] {
        let refused = stranger.conflict_page(request).await.expect_err(field);
        check_field(field, &refused, field);
    }
    assert_eq!(contested.open().await, 1, "nothing was decided");
    assert_eq!(contested.holds().await, (Some(title("tablet")), 2));
}
