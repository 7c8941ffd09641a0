//! Deleting an account: every row goes, nobody else's, and nothing brings any back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::erasure::CONFIRMATION_VALID_MS;
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::version::Revision;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, GetStatusRequest, ListConflictsRequest, ListDeletedRequest, ListVersionsRequest,
    PullRequest, Resolution, RestoreVersionRequest, SyncRequest, WatchResponse,
    restore_version_request,
};
use ironflow_sync::presence::Presence;
use ironflow_sync::retention::{Retention, RetentionOptions};
use ironflow_sync::store::device::Seen;
use serde_json::json;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::{
    HeldScope, PATIENCE, check_field, check_status, count, eventually, now_ms, waiting_pushes,
};
use crate::support::account::live;
use crate::support::program::Program;
use crate::support::service::token;
use crate::support::{Device, TestDatabase, TestService, put};

/// All rows of all tables with a scope, by scope; the tables are those of the catalog.
async fn rows_by_scope(sql: &Client) -> BTreeMap<String, Vec<String>> {
    let tables = "select table_name::text from information_schema.columns
        join information_schema.tables using (table_schema, table_name)
        where table_schema = 'public' and table_type = 'BASE TABLE' and column_name = 'scope'
        order by 1";
    let tables = sql.query(tables, &[]).await.expect("a catalog");
    assert!(tables.len() >= 6, "scopes and what is in them");
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in tables {
        let table: String = table.get(0);
        let read = format!("select scope, ctid || t::text from {table} as t order by 2");
        for row in sql.query(&read, &[]).await.expect("rows") {
            let of_scope = rows.entry(row.get(0)).or_default();
            of_scope.push(format!("{table} {}", row.get::<_, String>(1)));
        }
    }
    rows
}

fn scope(user: &str) -> Scope {
    Scope::of(&UserId::new(user).expect("an id"))
}

fn check_deleted(name: &str, status: &Status) {
    check_status(name, status, Code::PermissionDenied, "ACCOUNT_DELETED");
    assert!(status.message().contains("wipe the local data"), "{name}");
}

/// Pushes one new item.
async fn push(device: &mut Device) -> Result<(), Status> {
    let request = SyncRequest {
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..device.request()
    };
    device.send(request).await.map(|_| ())
}

/// That every call about data of the user's is refused.
async fn check_all_calls(device: &mut Device) {
    check_deleted("Sync", &push(device).await.expect_err("a late push"));
    let empty = device.request();
    check_deleted("Sync", &device.send(empty).await.expect_err("of nothing"));
    let request = device.page_after("");
    let pulled = device.pull(request.clone()).await;
    check_deleted("Pull", &pulled.expect_err("nothing is given"));
    let mut watch = device.watch(request).await.expect("a stream");
    check_deleted("Watch", &end(&mut watch).await);
    let conflicts = device.conflict_page(ListConflictsRequest::default()).await;
    check_deleted("ListConflicts", &conflicts.expect_err("nothing is given"));
    let id = Uuid::new_v4().to_string();
    let conflict = device.conflict(&id).await;
    check_deleted("GetConflict", &conflict.expect_err("nothing is given"));
    let decision = device.decision(&id, Choice::KeepClient, 1);
    let resolved = device.resolve(decision).await;
    check_deleted("ResolveConflict", &resolved.expect_err("nothing is taken"));
    let of = |id: &str| ListVersionsRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_owned(),
        ..ListVersionsRequest::default()
    };
    let listed = device.list_versions(of(&id)).await;
    check_deleted("ListVersions", &listed.expect_err("nothing is given"));
    let restored = device.restore(RestoreVersionRequest {
        device_id: "phone".to_owned(),
        entity_type: "workout".to_owned(),
        entity_id: id,
        source: Some(restore_version_request::Source::Version(1)),
        expected_version: 1,
        ..RestoreVersionRequest::default()
    });
    check_deleted("RestoreVersion", &restored.await.expect_err("not taken"));
    let deleted = device.list_deleted(ListDeletedRequest::default()).await;
    check_deleted("ListDeleted", &deleted.expect_err("nothing is given"));
    let status = device.get_status(GetStatusRequest {
        device_id: "phone".to_owned(),
    });
    check_deleted("GetStatus", &status.await.expect_err("nothing is given"));
    let mut export = device.export().await.expect("a stream");
    let exported = loop {
        match export.message().await {
            Ok(Some(_)) => (),
            Ok(None) => panic!("an export of a deleted account"),
            Err(status) => break status,
        }
    };
    check_deleted("ExportAccount", &exported);
}

/// Reads a watch until it ends, and returns how.
async fn end(stream: &mut Streaming<WatchResponse>) -> Status {
    loop {
        match timeout(PATIENCE, stream.message()).await.expect("an end") {
            Ok(Some(_)) => (),
            Ok(None) => panic!("the stream ended without a status"),
            Err(status) => return status,
        }
    }
}

async fn caught_up(device: &mut Device) -> Streaming<WatchResponse> {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
    loop {
        let message = timeout(PATIENCE, stream.message()).await.expect("in time");
        let event = message.expect("no error").expect("no end").event;
        if let Some(Event::CaughtUp(_)) = event {
            return stream;
        }
    }
}

#[tokio::test]
async fn a_deletion_takes_every_row_of_its_user_and_of_nobody_else() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    sql.batch_execute(
        "insert into scopes (scope, revision, entities) values ('library', 1, 1);
        insert into entities (scope, entity_type, entity_id, version, revision, deleted, data, data_bytes,
            resolution, device_id, foreign_version, mutation_id, edit_time, created_at, updated_at)
        values ('library', 'exercise_definition', gen_random_uuid(), 1, 1, false, '{}', 2, 'applied',
            'operator', 0, gen_random_uuid(), now(), now(), now())",
    )
    .await
    .expect("a library");
    let [mut phone, mut tablet] = live(&service, "mia").await;
    let [mut leos, _] = live(&service, "leo").await;
    let before = rows_by_scope(&sql).await;
    let all = before["user/mia"].len() as i64 - 1;

    let offer = phone.delete_account("").await.expect("an offer");
    assert!(!offer.deleted);
    assert!(offer.confirmation_expires_time <= now_ms() + CONFIRMATION_VALID_MS);
    let counts = offer.counts.expect("counts");
    let offered = counts.devices + counts.entities + counts.old_versions;
    assert_eq!(offered + counts.losing_sides + counts.conflicts, all);
    assert_eq!(
        rows_by_scope(&sql).await,
        before,
        "an offer deletes nothing"
    );

    let text = offer.confirmation_token;
    let mut forged = text.clone();
    forged.replace_range(3..4, if &text[3..4] == "A" { "B" } else { "A" });
    for (device, token) in [(&mut phone, forged.as_str()), (&mut leos, &text)] {
        let refused = device.delete_account(token).await.expect_err("no token");
        check_field("a wrong token", &refused, "confirmation_token");
    }
    assert_eq!(rows_by_scope(&sql).await, before, "nor does a wrong token");

    let deleted = tablet.delete_account(&text).await.expect("deleted");
    assert!(deleted.deleted && deleted.confirmation_token.is_empty());
    assert_eq!(deleted.counts, Some(counts), "what was said before");
    let mut expected = before;
    expected.remove("user/mia");
    assert_eq!(rows_by_scope(&sql).await, expected);
    let left = sql.query_one("select row_to_json(e)::text from erasures as e", &[]);
    let left: String = left.await.expect("one mark").get(0);
    assert!(!left.contains("mia"), "{left}");

    check_all_calls(&mut phone).await;
    push(&mut leos).await.expect("leo goes on");
    let again = phone.delete_account(&text).await.expect("asking again");
    assert!(again.deleted);
    assert_eq!(again.counts, Some(Default::default()), "nothing was left");
    assert!(phone.leave_for_good().await.deleted, "also from the start");
    assert!(!rows_by_scope(&sql).await.contains_key("user/mia"));
}

#[tokio::test]
async fn an_account_without_a_row_can_be_deleted_too() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    phone.leave_for_good().await;
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
    check_deleted("Sync", &push(&mut phone).await.expect_err("a first push"));
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
}

#[tokio::test]
async fn watches_end_on_all_instances_by_signal_or_by_poll() {
    let signals = ["--poll-interval-ms", "3600000"];
    let polls = ["--notify", "false", "--poll-interval-ms", "50"];
    let here = TestService::with(&signals).await;
    let there = here.beside(&signals).await;
    let deaf = here.beside(&polls).await;
    for user in ["mia", "nobody"] {
        let mut phone = here.device(user, "phone").await;
        if user == "mia" {
            push(&mut phone).await.expect("pushed");
        }
        let mut watches = Vec::new();
        for (name, service) in [("here", &here), ("there", &there), ("deaf", &deaf)] {
            let mut device = service.device(user, name).await;
            watches.push((name, caught_up(&mut device).await));
        }
        let mut leo = caught_up(&mut deaf.device("leo", "phone").await).await;
        phone.leave_for_good().await;
        for (name, mut watch) in watches {
            check_deleted(name, &end(&mut watch).await);
        }
        let mut pushing = deaf.device("leo", "tablet").await;
        push(&mut pushing).await.expect("pushed");
        let event = timeout(PATIENCE, leo.message()).await.expect("leo goes on");
        event.expect("no error").expect("no end");
    }
}

#[tokio::test]
async fn a_push_that_waited_while_the_account_was_deleted_does_not_bring_it_back() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    push(&mut phone).await.expect("pushed");
    let held = HeldScope::of(&service, "mia").await;
    // The deletion waits for the lock first, then pushes of another instance.
    let mut leaving = phone.clone();
    let leaving = tokio::spawn(async move { leaving.leave_for_good().await });
    eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
    let other = service.beside(&[]).await;
    let mut late = other.device("mia", "late").await;
    let late = tokio::spawn(async move { push(&mut late).await });
    eventually("it waits", async || waiting_pushes(&sql).await == 2).await;
    held.release().await;
    leaving.await.expect("no panic");
    let refused = late.await.expect("no panic").expect_err("too late");
    check_deleted("the late push", &refused);
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_go_on_pushing_and_pulling_leave_nothing_behind() {
    let here = TestService::start().await;
    let there = here.beside(&[]).await;
    let sql = here.database.client().await;
    let mut phone = here.device("mia", "phone").await;
    push(&mut phone).await.expect("pushed");
    let mut busy = Vec::new();
    for n in 0..12 {
        let service = [&here, &there][n % 2];
        let mut device = service.device("mia", &format!("device-{n}")).await;
        busy.push(tokio::spawn(async move {
            let mut pushed = 0;
            // Each goes on for a while after it was told.
            let mut told = 0;
            while told < 5 {
                match push(&mut device).await {
                    Ok(()) => pushed += 1,
                    Err(status) => {
                        check_deleted("a push", &status);
                        told += 1;
                    }
                }
                if let Err(status) = device.pull(device.page_after("")).await {
                    check_deleted("a pull", &status);
                }
            }
            pushed
        }));
    }
    eventually("they push", async || {
        count(
            &sql,
            "select count(*) from devices where scope = 'user/mia'",
        )
        .await
            == 13
    })
    .await;
    phone.leave_for_good().await;
    for device in busy {
        assert!(device.await.expect("no panic") > 0);
    }
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
}

#[tokio::test]
async fn a_device_that_was_seen_before_is_not_remembered_after() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let store = database.store();
    let presence = Presence::new(100);
    let saw = |user: &str| {
        presence.saw(Seen {
            scope: scope(user),
            device: DeviceId::new("phone").expect("an id"),
            at: Millis(now_ms()),
            pulled: Some(Revision::new(1)),
        });
    };
    saw("mia");
    saw("leo");
    let now = Millis(now_ms());
    store.mark_erased(&scope("mia"), now).await.expect("marked");
    presence.write(&store).await;
    let devices = "select count(*) from devices where scope = 'user/mia'";
    assert_eq!(count(&sql, devices).await, 0, "marked, not yet gone");
    while !store
        .erase_some(&scope("mia"), 9)
        .await
        .expect("erased")
        .finished
    {}
    saw("mia");
    presence.write(&store).await;
    let rows = rows_by_scope(&sql).await;
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["user/leo"]);
}

#[tokio::test]
async fn a_device_that_is_being_remembered_while_the_last_rows_go_is_gone_too() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let store = database.store();
    let now = Millis(now_ms());
    store.mark_erased(&scope("mia"), now).await.expect("marked");
    // As an instance that began to write before the mark was there, and is not done.
    let slow = database.client().await;
    let write = "begin; select pg_advisory_xact_lock_shared(520969956);
        insert into devices (scope, device_id, pending_count, first_seen_at, last_seen_at)
        values ('user/mia', 'phone', 0, now(), now())";
    assert_eq!(0x1F0D_5EE4, 520_969_956);
    slow.batch_execute(write).await.expect("written");
    let erasing = async {
        while !store
            .erase_some(&scope("mia"), 9)
            .await
            .expect("erased")
            .finished
        {}
    };
    let finishing = async {
        eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
        slow.batch_execute("commit").await.expect("committed");
    };
    tokio::join!(erasing, finishing);
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
}

/// Gives mia an entity with a history of so many versions.
async fn history(sql: &Client, versions: i32) {
    let insert = format!(
        "insert into scopes (scope, revision, entities) values ('user/mia', {versions} + 1, 1)
            on conflict on constraint scopes_pkey do update set revision = excluded.revision;
        insert into entity_versions (scope, entity_type, entity_id, version, revision, deleted, data,
            resolution, device_id, mutation_id, edit_time, updated_at)
        select 'user/mia', 'workout', '00000000-0000-0000-0000-000000000001', n, n, false,
            jsonb_build_object('n', n), 'applied', 'phone', gen_random_uuid(), now(), now()
        from generate_series(1, {versions}) as n"
    );
    sql.batch_execute(&insert).await.expect("a history");
}

const VERSIONS: &str = "select count(*) from entity_versions where scope = 'user/mia'";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_account_goes_beside_the_traffic_of_others() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    history(&sql, 20_000).await;
    let mut phone = service.device("mia", "phone").await;
    let mut leo = service.device("leo", "phone").await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let traffic = tokio::spawn(async move {
        let mut pushed = 0;
        while !stopped.is_cancelled() {
            push(&mut leo).await.expect("leo is not held up");
            pushed += 1;
        }
        pushed
    });
    let deleted = phone.leave_for_good().await;
    stop.cancel();
    let pushed = traffic.await.expect("no panic");
    assert_eq!(deleted.counts.expect("counts").old_versions, 20_000);
    let rows = rows_by_scope(&sql).await;
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["user/leo"]);
    // Each push is an entity; and there are the scope and the device.
    assert_eq!(rows["user/leo"].len(), pushed + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_leaves_of_a_deletion_is_refused_at_once_and_goes_with_retention() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    history(&sql, 5_000).await;
    let mut program = Program::start(&database, &[]);
    let address = program.url();
    let client = SyncServiceClient::connect(address).await.expect("listens");
    let mut phone = Device::new(client, token("mia"), "phone");
    // In the middle of the history somebody holds a row.
    let holder = database.client().await;
    let hold = "begin; select from entity_versions where version = 3500 for update";
    holder.batch_execute(hold).await.expect("held");
    let leaving = tokio::spawn(async move {
        let offer = phone.delete_account("").await.expect("an offer");
        phone.delete_account(&offer.confirmation_token).await
    });
    eventually("some are gone, some are not", async || {
        waiting_pushes(&sql).await == 1 && count(&sql, VERSIONS).await < 5_000
    })
    .await;
    program.kill();
    leaving.await.expect("no panic").expect_err("killed");
    holder.batch_execute("rollback").await.expect("released");

    let service = TestService::on(database, &[]).await;
    let mut tablet = service.device("mia", "tablet").await;
    check_deleted("at once", &push(&mut tablet).await.expect_err("late"));
    let left = count(&sql, VERSIONS).await;
    assert!((1..5_000).contains(&left), "{left}");
    let options = RetentionOptions {
        step_rows: 300,
        pause: Duration::ZERO,
        dry_run: true,
    };
    let store = service.database.store();
    let compact = async |options| {
        let retention = Retention::new(store.clone(), Arc::new(Catalog::builtin()), options);
        let never = CancellationToken::new();
        let compacted = retention.run_once(Millis(now_ms()), &never).await;
        compacted.expect("compacts")
    };
    assert_eq!(compact(options).await.erased, left as u64, "counted only");
    assert_eq!(count(&sql, VERSIONS).await, left);
    let options = RetentionOptions {
        dry_run: false,
        ..options
    };
    let compacted = compact(options).await;
    assert_eq!((compacted.erased, compacted.finished), (left as u64, true));
    assert_eq!(rows_by_scope(&sql).await, BTreeMap::new());
}

#[tokio::test]
async fn a_deletion_that_comes_late_leaves_an_account_that_was_opened_again() {
    let service = TestService::start().await;
    let store = service.database.store();
    let scope = Scope::of(&UserId::new("mia").expect("an id"));
    let mut phone = service.device("mia", "phone").await;
    phone
        .sync_one(put(Uuid::new_v4(), 0, &json!({"title": "a"})))
        .await;
    let now = Millis(1_800_000_000_000);
    store
        .mark_erased(&scope, now)
        .await
        .expect("marked")
        .expect("now");
    while !store.erase_some(&scope, 10).await.expect("erases").finished {}
    assert!(store.reopen(&scope).await.expect("opened"));
    let again = phone
        .sync_one(put(Uuid::new_v4(), 0, &json!({"title": "b"})))
        .await;
    assert_eq!(again.resolution(), Resolution::Applied);

    let late = store.erase_some(&scope, 10).await.expect("looks");
    assert!(late.finished && late.counts.all() == 0, "{late:?}");
    let (entities, _) = phone
        .pull_all(PullRequest {
            include_own: true,
            ..phone.page_after("")
        })
        .await;
    assert_eq!(entities.len(), 1);
}
