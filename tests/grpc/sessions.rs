//! Sessions of Postgres that end, refuse or run out: UNAVAILABLE, and the retry works.

use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use tonic::Code;
use tonic_types::StatusExt;

use super::faults::{BATCH_ITEMS, batch, check_applied_once, check_sessions_are_clean};
use super::{HeldScope, check_status, check_unavailable, count, eventually, waiting_pushes};
use crate::support::{Device, TestDatabase, TestService};

const END_SESSIONS: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
     where datname = current_database() and application_name = 'ironflow-sync'";

#[tokio::test]
async fn a_push_whose_session_is_ended_is_unavailable_and_wrote_nothing() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync(batch()).await;
    let lock = HeldScope::of(&service, "mia").await;
    let items = batch();
    let request = SyncRequest {
        items: items.clone(),
        ..phone.request()
    };
    let mut caller = phone.clone();
    let call = tokio::spawn(async move { caller.send(request).await });
    eventually("the push waits", async || waiting_pushes(&sql).await == 1).await;
    assert!(count(&sql, END_SESSIONS).await >= 1);
    let refused = call
        .await
        .expect("no panic")
        .expect_err("its session is gone");
    check_unavailable("ended", &refused);
    lock.release().await;
    assert_eq!(
        count(&sql, "select revision from scopes").await,
        BATCH_ITEMS as i64
    );
    retried("after the end", &mut phone, &items).await;
    check_applied_once("after the end", &sql, &mut phone, &items).await;
}

#[tokio::test]
async fn sessions_ended_over_and_over_cost_retries_and_nothing_else() {
    const ROUNDS: usize = 12;
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    for round in 0..ROUNDS {
        let items = batch();
        for attempt in 0..4 {
            let request = SyncRequest {
                items: items.clone(),
                ..phone.request()
            };
            let (answer, _) = tokio::join!(phone.send(request), count(&sql, END_SESSIONS));
            if let Err(refused) = answer {
                check_unavailable(&format!("{round}, {attempt}"), &refused);
            }
        }
        retried("afterwards", &mut phone, &items).await;
        check_applied_once("afterwards", &sql, &mut phone, &items).await;
    }
    let revision = count(&sql, "select revision from scopes").await;
    assert_eq!(revision, (ROUNDS * BATCH_ITEMS) as i64);
    check_sessions_are_clean(&sql).await;
}

/// Sends until it is answered; every refusal says to come back.
async fn retried(name: &str, phone: &mut Device, items: &[SyncItem]) {
    const ATTEMPTS: usize = 50;
    for _ in 0..ATTEMPTS {
        let request = SyncRequest {
            items: items.to_vec(),
            ..phone.request()
        };
        match phone.send(request).await {
            Ok(_) => return,
            Err(refused) => check_unavailable(name, &refused),
        }
    }
    panic!("{name}: no answer in {ATTEMPTS} attempts");
}

#[tokio::test]
async fn a_database_that_became_read_only_is_unavailable_until_it_is_not() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let name = service
        .database
        .config()
        .get_dbname()
        .expect("named")
        .to_owned();
    let mut phone = service.device("mia", "phone").await;
    phone.sync(batch()).await;
    let set = format!("alter database {name} set default_transaction_read_only = on");
    sql.batch_execute(&set).await.expect("set");
    count(&sql, END_SESSIONS).await;
    let items = batch();
    let request = SyncRequest {
        items: items.clone(),
        ..phone.request()
    };
    let refused = phone.send(request).await.expect_err("read-only");
    check_unavailable("read-only", &refused);
    let reset = format!(
        "begin read write; alter database {name} reset default_transaction_read_only; commit"
    );
    sql.batch_execute(&reset).await.expect("reset");
    retried("writable again", &mut phone, &items).await;
    check_applied_once("writable again", &sql, &mut phone, &items).await;
}

/// Tables that change under statements prepared long ago, as in a rolling deploy.
#[tokio::test]
async fn a_migration_under_a_running_service_costs_no_push() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync(batch()).await;
    for change in [
        "alter table entities add column later text",
        "alter table entity_versions add column later text default 'x'",
        "create index later on entities (later)",
        "alter table entities drop column later",
        "analyze entities",
    ] {
        sql.batch_execute(change).await.expect(change);
        let items = batch();
        phone.sync(items.clone()).await;
        check_applied_once(change, &sql, &mut phone, &items).await;
    }
}

/// With all connections in use others are told to come back, soon, and so is whoever waits for the
/// lock, or for their turn at it, too long.
#[tokio::test]
async fn an_exhausted_pool_refuses_within_its_bound() {
    let database = TestDatabase::new().await;
    let store = database.store_with(1);
    let service = TestService::over(store, database, &[]).await;
    let sql = service.database.client().await;
    let mut mia = service.device("mia", "phone").await;
    let mut ben = service.device("ben", "phone").await;
    mia.sync(batch()).await;
    let lock = HeldScope::of(&service, "mia").await;
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let mut caller = mia.clone();
            let request = SyncRequest {
                items: batch(),
                ..mia.request()
            };
            tokio::spawn(async move { caller.send(request).await })
        })
        .collect();
    eventually("one waits", async || waiting_pushes(&sql).await == 1).await;
    // Whatever had no bound of its own would meet the call's and be DEADLINE_EXCEEDED.
    let request = SyncRequest {
        items: batch(),
        ..ben.request()
    };
    let refused = ben.send(request).await.expect_err("no connection is free");
    check_status("exhausted", &refused, Code::Unavailable, "OVERLOADED");
    for call in stuck {
        let refused = call.await.expect("no panic").expect_err("the lock is held");
        // One waits for the lock, the other for its turn at it.
        let info = refused.get_details_error_info();
        let turn = info.is_some_and(|info| info.reason == "OVERLOADED");
        match turn {
            true => check_status("turn", &refused, Code::Unavailable, "OVERLOADED"),
            false => check_unavailable("lock held", &refused),
        }
    }
    lock.release().await;
    mia.sync(batch()).await;
    ben.sync(batch()).await;
    check_sessions_are_clean(&sql).await;
}
