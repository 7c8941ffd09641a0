//! How compaction goes about it: in steps, beside pushes and other instances, by itself or by hand.

use std::time::Duration;

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, ServerWon};
use ironflow_sync::grpc::proto::SyncItem;
use ironflow_sync::store::Store;
use serde_json::json;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DAY_MS, Kept, TEN_DAYS, chain, gone, in_days, of_type, quickly};
use crate::grpc::{HeldScope, count, eventually, now_ms, waiting_pushes};
use crate::support::database::contents;
use crate::support::{TestService, WireCount, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_scope_takes_many_small_steps_beside_its_pushes() {
    const ENTITIES: usize = 300;
    const STEP: u16 = 100;
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let ids: Vec<Uuid> = (0..ENTITIES).map(|_| Uuid::new_v4()).collect();
    let batch = |base: i32| -> Vec<SyncItem> {
        let data = json!({ "n": base });
        ids.iter().map(|id| put(*id, base, &data)).collect()
    };
    for base in 0..4 {
        phone.sync(batch(base)).await;
    }
    // In the way of every step: what an open conflict needs.
    let mut tablet = kept.device("tablet").await;
    let stale = ids
        .iter()
        .take(150)
        .map(|id| put(*id, 1, &json!({"n": "?"})));
    for answer in tablet.sync(stale.collect()).await {
        assert_eq!(answer.resolution(), NeedsUser);
    }
    let wire = WireCount::before(&kept.service.database.config()).await;
    let store = Store::new(wire.config(), 1).expect("a pool");
    let retention = kept.retention(store, quickly(STEP));
    let done = CancellationToken::new();
    let pushing = tokio::spawn({
        let (done, batch) = (done.clone(), batch(4));
        async move {
            let mut base = 4;
            while !done.is_cancelled() {
                let items = batch.iter().cloned().map(|item| SyncItem {
                    version: base,
                    mutation_id: Uuid::new_v4().to_string(),
                    data: json!({ "n": base }).to_string().into_bytes(),
                    ..item
                });
                for answer in phone.sync(items.take(50).collect()).await {
                    assert_eq!(answer.resolution(), Applied);
                }
                base += 1;
            }
            base
        }
    });
    let never = CancellationToken::new();
    // Only what was there before the pushes is old: one batch of pushes is one time.
    let age =
        "update entity_versions set updated_at = updated_at - interval '30 days' where version < 4";
    kept.sql.execute(age, &[]).await.expect("aged");
    let compacted = retention.run_once(Millis(now_ms()), &never).await;
    let compacted = compacted.expect("compacts");
    let statements = wire.take();
    done.cancel();
    assert!(pushing.await.expect("no push failed") > 4);

    assert_eq!(compacted, gone(3 * 300 - 150, 0, 0));
    let held = "select count(*) from entity_versions where data is not null and version < 4";
    assert_eq!(kept.count(held).await, 150);
    let step = "select max(rows) from (
        select count(*) as rows from entity_versions where data is null group by xmin::text) as step";
    assert_eq!(
        kept.count(step).await,
        i64::from(STEP),
        "rows in one transaction"
    );
    // Per step: begin, read, commit; begin, lock, empty, commit. And two lists of
    // scopes, one empty page, twice: what is left of deleted accounts goes first.
    let steps = 3 * 300 / u64::from(STEP);
    assert!(
        (6 * steps..10 * steps).contains(&statements),
        "{statements}"
    );
}

#[tokio::test]
async fn a_conflict_that_opens_at_the_last_moment_keeps_its_base() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let id = chain(&mut phone, "workout", 4).await;
    let held = HeldScope::of(&kept.service, "mia").await;
    let retention = kept.retention(kept.service.database.store(), quickly(3));
    let compacting = tokio::spawn(async move {
        let never = CancellationToken::new();
        retention.run_once(in_days(10), &never).await
    });
    eventually("it waits for the push", async || {
        waiting_pushes(&kept.sql).await == 1
    })
    .await;
    let open = "insert into conflicts (scope, conflict_id, kind, entity_type, entity_id, device_id,
            mutation_id, base_version, server_version, rule, asked, open, revision, opened_at)
        values ('user/mia', gen_random_uuid(), 'edit', 'workout', $1, 'tablet',
            gen_random_uuid(), 2, 4, 9, true, true, 5, now())";
    held.0.execute(open, &[&id]).await.expect("opened");
    held.0.batch_execute("commit").await.expect("committed");
    let compacted = compacting.await.expect("no panic").expect("compacts");
    assert_eq!(compacted, gone(2, 0, 0));
    assert_eq!(kept.held(id).await, [2]);
}

#[tokio::test]
async fn a_compaction_that_is_stopped_ends_after_its_step_and_the_next_does_the_rest() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let id = chain(&mut phone, "workout", 10).await;
    let retention = kept.retention(kept.service.database.store(), quickly(4));
    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = retention.run_once(in_days(10), &stop).await;
    let stopped = stopped.expect("no fault");
    assert_eq!((stopped.versions, stopped.finished), (4, false));
    assert_eq!(kept.held(id).await, [5, 6, 7, 8, 9]);
    assert_eq!(kept.after_days(10).await, gone(5, 0, 0));
}

#[tokio::test]
async fn of_two_instances_one_compacts_in_each_interval() {
    const DAY: Duration = Duration::from_millis(DAY_MS as u64);
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    chain(&mut phone, "workout", 3).await;
    let instance = || kept.retention(kept.service.database.store(), quickly(3));
    let (here, there) = (instance(), instance());
    let never = CancellationToken::new();
    let at = |now: Millis| {
        let both = [&here, &there].map(|instance| instance.run_if_due(now, DAY, &never));
        let [a, b] = both;
        async {
            let (a, b) = tokio::join!(a, b);
            let mut both = [a, b].map(|compacted| compacted.expect("no fault"));
            both.sort_by_key(Option::is_some);
            both
        }
    };
    let now = in_days(10);
    let later = |ms: i64| Millis(now.0 + ms);
    assert_eq!(at(now).await, [None, Some(gone(2, 0, 0))]);
    assert_eq!(at(later(DAY_MS - 1)).await, [None, None]);
    assert_eq!(at(later(DAY_MS)).await, [None, Some(gone(0, 0, 0))]);
    // A clock that was years ahead once does not end compaction for years.
    let ahead = here.run_if_due(later(3_000 * DAY_MS), DAY, &never).await;
    assert!(ahead.expect("no fault").is_some());
    assert_eq!(at(later(DAY_MS)).await, [None, Some(gone(0, 0, 0))]);
}

#[tokio::test]
async fn the_service_compacts_by_itself_unless_it_is_told_not_to() {
    let quiet = ["--compact-interval-s", "0"];
    let service = TestService::with(&quiet).await;
    let mut phone = service.device("mia", "phone").await;
    chain(&mut phone, "workout", 13).await;
    let sql = service.database.client().await;
    let age = "update entity_versions set updated_at = updated_at - interval '366 days'";
    sql.execute(age, &[]).await.expect("aged");
    let held = "select count(*) from entity_versions where data is not null";
    assert_eq!(count(&sql, held).await, 12);
    let mut beside = service.beside(&["--compact-interval-s", "1"]).await;
    eventually("two are beyond the ten that stay", async || {
        count(&sql, held).await == 10
    })
    .await;
    let never = "select count(*) from service_state where compacted_at = '-infinity'";
    assert_eq!(count(&sql, never).await, 0, "one of them has claimed it");
    beside.stop().await.expect("stops");
}

#[tokio::test]
async fn the_command_says_what_would_go_and_what_went() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    chain(&mut phone, "workout", 13).await;
    let sql = service.database.client().await;
    let age = "update entity_versions set updated_at = updated_at - interval '366 days'";
    sql.execute(age, &[]).await.expect("aged");
    let url = service.database.url();
    let run = async |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
            .args(["compact", "--database-url", &url, "--log", "warn"])
            .args(arguments)
            .output()
            .await
            .expect("the program runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{err}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let rest = "1 settled conflict and 1 losing side.\n";
    let lost = of_type("user_settings", put(Uuid::nil(), 0, &json!({})));
    phone.sync_one(lost.clone()).await;
    let mut tablet = service.device("mia", "tablet").await;
    let lost = SyncItem {
        data: b"{\"units\": \"kg\"}".to_vec(),
        timestamp: 1,
        version: 7,
        mutation_id: String::new(),
        ..lost
    };
    assert_eq!(tablet.sync_one(lost).await.resolution(), ServerWon);
    let age = "update conflicts set settled_at = settled_at - interval '366 days'";
    sql.execute(age, &[]).await.expect("aged");

    let before = contents(&sql).await;
    let would = run(&["--dry-run"]).await;
    assert_eq!(
        would,
        format!("Would remove the data of 2 old versions, {rest}")
    );
    assert_eq!(contents(&sql).await, before, "it only counted");
    let went = run(&[]).await;
    assert_eq!(went, format!("Removed the data of 2 old versions, {rest}"));
    let nothing = "Removed the data of 0 old versions, 0 settled conflicts and 0 losing sides.\n";
    assert_eq!(run(&[]).await, nothing, "at once again");
}
