//! Retention: what is no longer current goes at its age, and nothing else does.
//!
//! `runs`: how compaction goes about it.

mod runs;

use std::sync::Arc;
use std::time::Duration;

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::grpc::proto::Resolution::{Applied, Merged, NeedsUser, Resurrected, ServerWon};
use ironflow_sync::grpc::proto::{SyncItem, SyncResult, SyncStatus};
use ironflow_sync::retention::{Compacted, Retention, RetentionOptions};
use ironflow_sync::store::Store;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{count, now_ms, versions};
use crate::support::database::contents;
use crate::support::{Device, TestDatabase, TestService, delete, put};

const DAY_MS: i64 = 86_400_000;

/// Everything of every type goes at 10 days, and no version is spared for being among the newest.
const TEN_DAYS: &str = "
    default_policy = 'ask'
    [retention]
    versions_days = 10
    versions_min = 0
    deleted_days = 10
    conflicts_days = 10
    [types.settings]
    policy = 'last_write_wins'
    [types.exercise]
    policy = 'merge_fields'
    on_overlap = 'latest'
";

fn catalog(text: &str) -> Catalog {
    let none: &dyn Fn(&str) -> Result<String, String> = &|_| Err("no files".to_owned());
    Catalog::parse(text, none).expect("a catalog")
}

/// A service whose catalog says what to keep, and time to come.
struct Kept {
    service: TestService,
    catalog: Catalog,
    sql: Client,
}

impl Kept {
    async fn by(text: &str) -> Self {
        let catalog = catalog(text);
        let database = TestDatabase::new().await;
        let sql = database.client().await;
        let service = TestService::knowing(database, &[], catalog.clone()).await;
        Self {
            service,
            catalog,
            sql,
        }
    }

    async fn device(&self, name: &str) -> Device {
        self.service.device("mia", name).await
    }

    fn retention(&self, store: Store, options: RetentionOptions) -> Retention {
        Retention::new(store, Arc::new(self.catalog.clone()), options)
    }

    /// Compacts as if so many days had passed, in steps so small that each test takes several.
    async fn after_days(&self, days: i64) -> Compacted {
        let compacted = self.compact(days, quickly(3)).await;
        assert!(compacted.finished);
        compacted
    }

    async fn compact(&self, days: i64, options: RetentionOptions) -> Compacted {
        let retention = self.retention(self.service.database.store(), options);
        let never = CancellationToken::new();
        let compacted = retention.run_once(in_days(days), &never).await;
        compacted.expect("compacts")
    }

    /// The superseded versions of an entity that still have their data.
    async fn held(&self, id: Uuid) -> Vec<i32> {
        let select = "select version from entity_versions
            where entity_id = $1 and data is not null order by version";
        let rows = self.sql.query(select, &[&id]).await.expect("versions");
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn count(&self, select: &str) -> i64 {
        count(&self.sql, select).await
    }
}

/// Steps of so many rows without pauses.
fn quickly(step_rows: u16) -> RetentionOptions {
    RetentionOptions {
        step_rows,
        pause: Duration::ZERO,
        dry_run: false,
    }
}

fn in_days(days: i64) -> Millis {
    // A bit more, so that what is written meanwhile is as old.
    Millis(now_ms() + days * DAY_MS + DAY_MS / 2)
}

fn gone(versions: u64, conflicts: u64, sides: u64) -> Compacted {
    Compacted {
        versions,
        conflicts,
        sides,
        erased: 0,
        finished: true,
    }
}

fn of_type(entity_type: &str, item: SyncItem) -> SyncItem {
    SyncItem {
        entity_type: entity_type.to_owned(),
        ..item
    }
}

/// Writes versions 1 to `last` of a new entity.
async fn chain(device: &mut Device, entity_type: &str, last: i32) -> Uuid {
    let id = Uuid::new_v4();
    for base in 0..last {
        let item = of_type(entity_type, put(id, base, &json!({"n": base + 1})));
        assert_eq!(device.sync_one(item).await.resolution(), Applied);
    }
    id
}

fn data(answer: &SyncResult) -> Value {
    serde_json::from_slice(&answer.server_data).expect("JSON")
}

#[tokio::test]
async fn contents_go_at_the_age_of_their_type_except_the_newest() {
    let kept = Kept::by(
        "default_policy = 'ask'
        [retention]
        versions_days = 20
        versions_min = 1
        [types.workout]
        policy = 'ask'
        retention = { versions_days = 10, versions_min = 2 }
        [types.routine]
        policy = 'ask'
        retention = { versions_days = 30, versions_min = 0 }",
    )
    .await;
    let mut phone = kept.device("phone").await;
    let workout = chain(&mut phone, "workout", 7).await;
    let routine = chain(&mut phone, "routine", 7).await;
    let unlisted = chain(&mut phone, "anything", 7).await;
    let short = chain(&mut phone, "workout", 2).await;
    let before = [1, 2, 3, 4, 5, 6];
    for (days, emptied, expected) in [
        (9, 0, [&before[..], &before, &before]),
        (10, 4, [&[5, 6], &before, &before]),
        (20, 5, [&[5, 6], &before, &[6]]),
        (30, 6, [&[5, 6], &[], &[6]]),
        (5_000, 0, [&[5, 6], &[], &[6]]),
    ] {
        assert_eq!(kept.after_days(days).await, gone(emptied, 0, 0), "{days}");
        let held = [workout, routine, unlisted].map(|id| kept.held(id));
        let [a, b, c] = held;
        let held = [a.await, b.await, c.await];
        assert_eq!(held.each_ref().map(Vec::as_slice), expected, "{days}");
        assert_eq!(kept.held(short).await, [1], "few versions stay");
    }
    let current = versions(&kept.sql, workout).await.pop();
    assert_eq!(current, Some((7, Some(json!({"n": 7})))));
    let rows = kept.count("select count(*) from entity_versions").await;
    assert_eq!(rows, 19, "no version is ever removed");
}

#[tokio::test]
async fn young_versions_stay_however_many_there_are() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let id = chain(&mut phone, "workout", 9).await;
    let age = "update entity_versions set updated_at = updated_at - interval '20 days'
        where version in (1, 2, 5)";
    kept.sql.execute(age, &[]).await.expect("aged");
    assert_eq!(kept.after_days(0).await, gone(3, 0, 0));
    assert_eq!(kept.held(id).await, [3, 4, 6, 7, 8]);
}

#[tokio::test]
async fn after_compaction_deletions_versions_replays_and_cursors_are_what_they_were() {
    let kept = Kept::by(
        "default_policy = 'ask'
        [retention]
        versions_days = 10_000
        versions_min = 1_000
        deleted_days = 10",
    )
    .await;
    let mut phone = kept.device("phone").await;
    let mut tablet = kept.device("tablet").await;
    let id = Uuid::new_v4();
    let create = put(id, 0, &json!({"n": 1}));
    let update = put(id, 1, &json!({"n": 2}));
    let first = phone.sync(vec![create.clone(), update.clone()]).await;
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;
    let remove = delete(id, 2);
    let removed = phone.sync_one(remove.clone()).await;

    assert_eq!(kept.after_days(9).await, gone(0, 0, 0));
    assert_eq!(kept.after_days(10).await, gone(2, 0, 0));
    assert_eq!(kept.after_days(11).await, gone(0, 0, 0), "once");
    assert_eq!(
        versions(&kept.sql, id).await,
        [(1, None), (2, None), (3, None)],
        "also those that would have been kept"
    );
    let logged = "select count(*) from changes where data is null and not change_type = 'deleted'";
    assert_eq!(kept.count(logged).await, 2, "the log has all changes");

    // Promise 8: the cursor from before leads to the deletion, also for a device that starts again.
    let (changes, _) = tablet.pull_all(tablet.page_after(&cursor)).await;
    assert_eq!(changes.len(), 1);
    assert!(changes[0].deleted && changes[0].version == 3, "{changes:?}");
    // Promise 4: edits that are long compacted are still recognised.
    let before = contents(&kept.sql).await;
    assert_eq!(phone.sync(vec![create, update]).await, first);
    assert_eq!(phone.sync_one(remove).await, removed);
    assert_eq!(contents(&kept.sql).await, before, "nothing was written");
    // Promise 6: versions go on.
    let back = phone.sync_one(put(id, 3, &json!({"n": 4}))).await;
    assert_eq!((back.resolution(), back.server_version), (Resurrected, 4));
    let stale = tablet.sync_one(put(id, 1, &json!({"n": 5}))).await;
    assert_eq!((stale.resolution(), stale.server_version), (NeedsUser, 4));
    assert_eq!(stale.conflict.expect("details").base_data, b"");
}

#[tokio::test]
async fn what_an_open_conflict_needs_stays_until_it_is_settled() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let mut tablet = kept.device("tablet").await;
    let id = chain(&mut phone, "workout", 4).await;
    let stale = put(id, 2, &json!({"n": "tablet"}));
    let asked = tablet.sync_one(stale.clone()).await;
    assert_eq!((asked.resolution(), asked.server_version), (NeedsUser, 4));
    for base in 4..7 {
        let item = put(id, base, &json!({"n": base + 1}));
        phone.sync_one(item).await;
    }
    assert_eq!(kept.after_days(10).await, gone(4, 0, 0));
    assert_eq!(kept.held(id).await, [2, 4], "its base, and what it met");
    let again = tablet.sync_one(stale.clone()).await;
    let detail = again.conflict.clone().expect("details");
    assert_eq!(again.resolution(), NeedsUser);
    assert_eq!(detail.base_data, br#"{"n": 2}"#);
    let open = "select open_conflicts::bigint from scopes";
    assert_eq!(kept.count(open).await, 1);

    let chosen = tablet.sync_one(put(id, 7, &json!({"n": "both"}))).await;
    assert_eq!(chosen.resolution(), Applied);
    assert_eq!(kept.count(open).await, 0);
    let revision = kept.count("select revision from scopes").await;
    assert_eq!(kept.after_days(9).await, gone(0, 0, 0), "not yet");
    assert_eq!(kept.after_days(10).await, gone(3, 1, 1), "7 too");
    assert_eq!(kept.held(id).await, [0; 0]);
    assert_eq!(kept.count("select count(*) from conflicts").await, 0);
    assert_eq!(kept.count("select revision from scopes").await, revision);
    assert_eq!(kept.count(open).await, 0);
}

#[tokio::test]
async fn settled_conflicts_go_with_all_their_sides_and_open_ones_never() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let mut tablet = kept.device("tablet").await;
    let settings = chain(&mut phone, "settings", 2).await;
    for n in 0..5 {
        let lost = of_type("settings", put(settings, 1, &json!({ "lost": n })));
        let lost = tablet.sync_one(SyncItem {
            timestamp: 1,
            ..lost
        });
        assert_eq!(lost.await.resolution(), ServerWon);
    }
    let workout = chain(&mut phone, "workout", 2).await;
    let sides: Vec<SyncItem> = (0..8)
        .map(|n| put(workout, 1, &json!({ "side": n })))
        .collect();
    // More sides of one conflict than a step has rows.
    for answer in tablet.sync(sides.clone()).await {
        assert_eq!(answer.resolution(), NeedsUser);
    }
    let open = "select open_conflicts::bigint from scopes";
    let all = "select count(*) from conflicts";
    assert_eq!((kept.count(all).await, kept.count(open).await), (6, 1));

    let counted = RetentionOptions {
        dry_run: true,
        ..quickly(3)
    };
    assert_eq!(kept.compact(9, counted).await, gone(0, 0, 0));
    assert_eq!(kept.compact(10, counted).await, gone(1, 5, 5));
    assert_eq!(kept.after_days(9).await, gone(0, 0, 0));
    assert_eq!(kept.after_days(10).await, gone(1, 5, 5));
    assert_eq!(kept.after_days(5_000).await, gone(0, 0, 0), "it is open");
    assert_eq!((kept.count(all).await, kept.count(open).await), (1, 1));
    let kept_sides = "select count(*) from losing_sides";
    assert_eq!(kept.count(kept_sides).await, 8);

    tablet.sync_one(put(workout, 2, &json!({"side": 7}))).await;
    let settled = tablet.sync_one(sides[3].clone()).await;
    assert_eq!(settled.resolution(), ServerWon, "it never asks again");
    assert_eq!(kept.compact(10, counted).await, gone(2, 1, 8));
    assert_eq!(kept.after_days(10).await, gone(2, 1, 8));
    assert_eq!(
        (kept.count(all).await, kept.count(kept_sides).await),
        (0, 0)
    );
    // An edit that nobody remembers is decided afresh.
    let ancient = tablet.sync_one(sides[3].clone()).await;
    assert_eq!(ancient.resolution(), NeedsUser);
}

#[tokio::test]
async fn the_answer_to_a_merge_that_is_gone_is_what_the_server_holds() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut phone = kept.device("phone").await;
    let mut tablet = kept.device("tablet").await;
    let id = Uuid::new_v4();
    let item = |base, data: Value| of_type("exercise", put(id, base, &data));
    phone.sync_one(item(0, json!({"a": 1, "b": 1}))).await;
    tablet.sync_one(item(1, json!({"a": 2, "b": 1}))).await;
    let edit = item(1, json!({"a": 1, "b": 2}));
    let merged = phone.sync_one(edit.clone()).await;
    assert_eq!((merged.resolution(), merged.server_version), (Merged, 3));
    let last = json!({"a": 2, "b": 2, "c": 1});
    tablet.sync_one(item(3, last.clone())).await;
    let again = phone.sync_one(edit.clone()).await;
    assert_eq!((again.resolution(), again.server_version), (Merged, 3));
    assert_eq!(data(&again), data(&merged));

    assert_eq!(kept.after_days(10).await, gone(3, 1, 1));
    let late = phone.sync_one(edit).await;
    assert_eq!(late.status(), SyncStatus::Conflict);
    assert_eq!((late.resolution(), late.server_version), (ServerWon, 4));
    assert_eq!(data(&late), last);
    assert_eq!(versions(&kept.sql, id).await.len(), 4, "applied once");
}

#[tokio::test]
async fn every_scope_is_gone_through_and_keeps_to_itself() {
    let kept = Kept::by(TEN_DAYS).await;
    let mut ids = Vec::new();
    for user in ["mia", "leo", "the operator"] {
        let mut phone = kept.service.device(user, "phone").await;
        ids.push(chain(&mut phone, "workout", 3).await);
    }
    // Mia's are young, and what the operator wrote is the library.
    for (table, change, user) in [
        (
            "entity_versions",
            "updated_at = now() + interval '90 days'",
            "mia",
        ),
        ("scopes", "scope = 'library'", "the operator"),
        ("entities", "scope = 'library'", "the operator"),
        ("entity_versions", "scope = 'library'", "the operator"),
    ] {
        let update = format!("update {table} set {change} where scope = 'user/{user}'");
        kept.sql.execute(&update, &[]).await.expect("changed");
    }
    let current = "select md5(string_agg(entities::text, ' ' order by scope)) from entities";
    let current = async || -> String {
        let row = kept.sql.query_one(current, &[]).await;
        row.expect("entities").get(0)
    };
    let before = current().await;
    assert_eq!(kept.after_days(10).await, gone(4, 0, 0));
    assert_eq!(kept.held(ids[0]).await, [1, 2]);
    assert_eq!(kept.held(ids[1]).await, [0; 0]);
    assert_eq!(kept.held(ids[2]).await, [0; 0]);
    assert_eq!(current().await, before);
}
