//! The program and its private Postgres killed at any point: what was answered is there afterwards.

use ironflow_sync::grpc::proto::{Choice, ConflictState, Resolution, ResolveStatus, SyncRequest};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::serving::{Serving, folder};
use crate::support::{Device, put};

/// A conflict that was answered, and whether its resolution was.
#[derive(Debug, Clone)]
struct Answered {
    conflict_id: String,
    side: Value,
    resolved: bool,
}

/// Opens conflicts, and resolves every other, until the service is gone. Tells how many were answered.
async fn quarrel(
    mut phone: Device,
    mut tablet: Device,
    told: watch::Sender<usize>,
) -> Vec<Answered> {
    let mut answered = Vec::new();
    for n in 0.. {
        let id = Uuid::new_v4();
        let side = json!({ "title": format!("tablet {n}") });
        let theirs = SyncRequest {
            items: vec![put(id, 0, &json!({"title": "phone"}))],
            ..phone.request()
        };
        let mine = SyncRequest {
            items: vec![put(id, 0, &side)],
            ..tablet.request()
        };
        let Ok(_) = phone.send(theirs).await else {
            break;
        };
        let Ok(answer) = tablet.send(mine).await else {
            break;
        };
        let answer = &answer.results[0];
        assert_eq!(answer.resolution(), Resolution::NeedsUser);
        let detail = answer.conflict.clone().expect("details");
        answered.push(Answered {
            conflict_id: detail.conflict_id.clone(),
            side,
            resolved: false,
        });
        told.send_replace(answered.len());
        if n % 2 == 0 {
            continue;
        }
        let decision = phone.decision(&detail.conflict_id, Choice::KeepClient, 1);
        let Ok(resolved) = phone.resolve(decision).await else {
            break;
        };
        assert_eq!(resolved.status(), ResolveStatus::Resolved);
        if let Some(last) = answered.last_mut() {
            last.resolved = true;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_was_answered_can_be_listed_after_a_kill_at_any_point() {
    const ROUNDS: usize = 4;
    let home = folder();
    let mut all: Vec<Answered> = Vec::new();
    for round in 0..=ROUNDS {
        let serving = Serving::on(home.path());
        let mut phone = serving.device("phone").await;
        let mut tablet = serving.device("tablet").await;
        let open = phone.conflicts(ConflictState::Open).await;
        for answered in &all {
            let found = tablet.conflict(&answered.conflict_id).await.expect("there");
            let side = found.client.expect("its side");
            let side: Value = serde_json::from_slice(&side.data).expect("JSON");
            assert_eq!(side, answered.side);
            let listed = open
                .iter()
                .any(|conflict| conflict.conflict_id == answered.conflict_id);
            assert!(
                listed || found.conflict.is_some_and(|conflict| !conflict.open),
                "round {round}: neither open nor settled"
            );
            assert!(
                !(listed && answered.resolved),
                "round {round}: it was resolved, and is open again"
            );
        }
        if round == ROUNDS {
            assert!(all.len() >= ROUNDS, "there was something to lose");
            return;
        }
        let (told, mut answered) = watch::channel(0);
        let quarrel = tokio::spawn(quarrel(phone, tablet, told));
        let enough = fastrand::usize(1..40);
        let reached = answered.wait_for(|answered| *answered >= enough).await;
        reached.expect("they quarrel until the service is gone");
        serving.signal(Signal::SIGKILL);
        all.extend(quarrel.await.expect("no panic"));
    }
}
