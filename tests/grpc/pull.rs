//! Section 6: pages, cursors, schema versions, the library.

use std::collections::HashSet;

use ironflow_sync::domain::catalog::{Catalog, TypeRules};
use ironflow_sync::domain::policy::Policy;
use ironflow_sync::grpc::proto::{Entity, PullRequest, SyncItem};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::{Device, LocalStore, TestDatabase, TestService, adopt, delete, put};

fn ids(entities: &[Entity]) -> Vec<String> {
    entities
        .iter()
        .map(|entity| entity.entity_id.clone())
        .collect()
}

fn of_type(entity_type: &str, item: SyncItem) -> SyncItem {
    SyncItem {
        entity_type: entity_type.to_owned(),
        ..item
    }
}

/// Pushes new workouts and returns their ids in order.
async fn push_new(device: &mut Device, count: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    for chunk in ids.chunks(500) {
        let items = chunk
            .iter()
            .map(|id| put(*id, 0, &json!({"id": id.to_string()})))
            .collect();
        device.sync(items).await;
    }
    ids
}

#[tokio::test]
async fn pages_come_in_the_order_of_changes_and_remaining_falls_to_zero() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let pushed = push_new(&mut phone, 25).await;

    let mut request = PullRequest {
        page_size: 10,
        ..tablet.page_after("")
    };
    let mut pulled = Vec::new();
    let mut pages = Vec::new();
    loop {
        let page = tablet.pull(request.clone()).await.expect("a page");
        pages.push((page.entities.len(), page.remaining, page.has_more));
        pulled.extend(ids(&page.entities));
        request.cursor = page.cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(pages, [(10, 15, true), (10, 5, true), (5, 0, false)]);
    assert_eq!(
        pulled,
        pushed.iter().map(Uuid::to_string).collect::<Vec<_>>()
    );
    let after = tablet.pull(request).await.expect("a page");
    assert_eq!((after.entities.len(), after.has_more), (0, false));
}

#[tokio::test]
async fn an_entity_comes_once_at_its_newest_version_with_who_and_when() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    let edit = SyncItem {
        timestamp: 1_600_000_000_000,
        ..put(id, 1, &json!({"n": 2}))
    };
    phone.sync(vec![put(id, 0, &json!({"n": 1})), edit]).await;

    let (entities, _) = tablet.pull_all(tablet.page_after("")).await;
    let [entity] = entities.as_slice() else {
        panic!("one entity: {entities:?}")
    };
    assert_eq!((entity.version, entity.device_id.as_str()), (2, "phone"));
    assert_eq!(entity.data, br#"{"n": 2}"#);
    assert_eq!(entity.edit_time, 1_600_000_000_000);
    assert!(entity.created_at > 0 && entity.updated_at >= entity.created_at);
}

#[tokio::test]
async fn a_new_device_gets_no_tombstones_and_a_returning_one_does() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let pushed = push_new(&mut phone, 3).await;
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;
    phone.sync_one(delete(pushed[1], 1)).await;

    let (returning, _) = tablet.pull_all(tablet.page_after(&cursor)).await;
    let [entity] = returning.as_slice() else {
        panic!("one entity: {returning:?}")
    };
    assert!(entity.deleted && entity.data.is_empty());
    assert_eq!(
        (entity.entity_id.clone(), entity.version),
        (pushed[1].to_string(), 2)
    );

    let mut watch = service.device("mia", "watch").await;
    let (new, _) = watch.pull_all(watch.page_after("")).await;
    assert_eq!(ids(&new), [pushed[0].to_string(), pushed[2].to_string()]);
}

/// The contents of the tombstone are long gone; the fact is not (promise 8).
#[tokio::test]
async fn a_deletion_is_seen_however_late_a_device_comes_back() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let pushed = push_new(&mut phone, 1).await;
    let (entities, cursor) = tablet.pull_all(tablet.page_after("")).await;
    let mut store = LocalStore::new();
    adopt(&mut store, &entities);
    phone.sync_one(delete(pushed[0], 1)).await;
    push_new(&mut phone, 40).await;
    // What compaction may take away: every superseded version.
    let client = service.database.client().await;
    client
        .execute("delete from entity_versions", &[])
        .await
        .expect("compacted");

    let (entities, _) = tablet.pull_all(tablet.page_after(&cursor)).await;
    let deleted = entities
        .iter()
        .find(|entity| entity.entity_id == pushed[0].to_string());
    let deleted = deleted.expect("the deletion arrives");
    assert!(deleted.deleted);
    assert_eq!(deleted.version, 2);
    adopt(&mut store, &entities);
    assert_eq!(store.len(), 40);
}

#[tokio::test]
async fn what_was_deleted_while_a_new_device_pages_arrives_as_a_tombstone() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let pushed = push_new(&mut phone, 4).await;
    let mut request = PullRequest {
        page_size: 2,
        ..tablet.page_after("")
    };
    let mut store = LocalStore::new();
    let page = tablet.pull(request.clone()).await.expect("the first page");
    adopt(&mut store, &page.entities);
    phone
        .sync(vec![delete(pushed[0], 1), delete(pushed[3], 1)])
        .await;

    request.cursor = page.cursor;
    let (entities, _) = tablet.pull_all(request).await;
    adopt(&mut store, &entities);
    let left: Vec<&String> = store.keys().map(|(_, id)| id).collect();
    let mut expected = [pushed[1].to_string(), pushed[2].to_string()];
    expected.sort();
    assert_eq!(left, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn own_writes_are_left_out_after_a_cursor_unless_asked_for() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let before = push_new(&mut phone, 1).await;
    let (all, cursor) = phone.pull_all(phone.page_after("")).await;
    assert_eq!(
        ids(&all),
        [before[0].to_string()],
        "from the beginning: everything"
    );
    let own = push_new(&mut phone, 2).await;
    let others = push_new(&mut tablet, 1).await;

    let (changes, _) = phone.pull_all(phone.page_after(&cursor)).await;
    assert_eq!(ids(&changes), [others[0].to_string()]);
    let request = PullRequest {
        include_own: true,
        ..phone.page_after(&cursor)
    };
    let (changes, _) = phone.pull_all(request).await;
    assert_eq!(changes.len(), own.len() + others.len());
}

#[tokio::test]
async fn a_page_ends_at_about_a_mebibyte_but_holds_one_entity_however_large() {
    let service = TestService::with(&[
        "--message-bytes-max",
        "16777216",
        "--item-bytes-max",
        "2097152",
    ])
    .await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    for kibibytes in [1500, 400, 400, 400] {
        let notes = "x".repeat(kibibytes * 1024);
        phone
            .sync_one(put(Uuid::new_v4(), 0, &json!({"notes": notes})))
            .await;
    }
    let mut request = tablet.page_after("");
    let mut sizes = Vec::new();
    loop {
        let page = tablet.pull(request.clone()).await.expect("a page");
        sizes.push(page.entities.len());
        request.cursor = page.cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(sizes, [1, 2, 1]);
}

#[tokio::test]
async fn a_type_filter_shows_those_types_and_binds_the_cursor() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let routine = Uuid::new_v4();
    push_new(&mut phone, 3).await;
    phone
        .sync_one(of_type("routine", put(routine, 0, &json!({}))))
        .await;
    push_new(&mut phone, 3).await;

    let only = |types: &[&str], cursor: &str| PullRequest {
        entity_types: types.iter().map(|name| (*name).to_owned()).collect(),
        device_id: "tablet".to_owned(),
        cursor: cursor.to_owned(),
        ..PullRequest::default()
    };
    let (entities, cursor) = tablet.pull_all(only(&["routine"], "")).await;
    assert_eq!(ids(&entities), [routine.to_string()]);
    let (entities, _) = tablet
        .pull_all(only(&["routine", "routine"], &cursor))
        .await;
    assert!(entities.is_empty(), "the same types, said twice");
    for other in [only(&[], &cursor), only(&["routine", "workout"], &cursor)] {
        let refused = tablet.pull(other).await.expect_err("another filter");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn forged_and_foreign_cursors_are_refused_and_name_the_field() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut stranger = service.device("leo", "phone").await;
    push_new(&mut phone, 1).await;
    let (_, cursor) = phone.pull_all(phone.page_after("")).await;
    let mut forged = cursor.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    for (case, device, cursor) in [
        ("forged", &mut phone, forged.as_str()),
        ("foreign", &mut stranger, cursor.as_str()),
    ] {
        let refused = device
            .pull(device.page_after(cursor))
            .await
            .expect_err(case);
        assert_eq!(refused.code(), Code::InvalidArgument, "{case}");
        let details = refused.get_details_bad_request().expect("a BadRequest");
        assert_eq!(details.field_violations[0].field, "cursor", "{case}");
    }
    for garbage in ["x", "AAAA", "\u{1f3cb}", &"A".repeat(10_000)] {
        let refused = phone
            .pull(phone.page_after(garbage))
            .await
            .expect_err(garbage);
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let bad = PullRequest {
        page_size: -1,
        schema_version: -1,
        ..PullRequest::default()
    };
    let refused = phone.pull(bad).await.expect_err("bad fields");
    let details = refused.get_details_bad_request().expect("a BadRequest");
    let fields: HashSet<_> = details
        .field_violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(
        fields,
        HashSet::from(["page_size", "schema_version", "device_id"])
    );
}

#[tokio::test]
async fn a_cursor_from_before_a_restore_resets_and_what_the_device_holds_is_not_lost() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    phone.sync_one(put(id, 0, &json!({"n": 1}))).await;
    let client = service.database.client().await;
    for table in ["entities", "scopes"] {
        let backup = format!("create table backup_{table} as select * from {table}");
        client.batch_execute(&backup).await.expect("a backup");
    }
    phone.sync_one(put(id, 1, &json!({"n": 2}))).await;
    let newest = phone.sync_one(put(id, 2, &json!({"n": 3}))).await;
    assert_eq!(newest.server_version, 3);
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;

    // The restore: older rows come back; at first nobody says so.
    let restore = "truncate entities, entity_versions, scopes;
        insert into entities select * from backup_entities;
        insert into scopes select * from backup_scopes;";
    client.batch_execute(restore).await.expect("restored");
    let ahead = tablet
        .pull(tablet.page_after(&cursor))
        .await
        .expect_err("ahead");
    assert_eq!(ahead.code(), Code::FailedPrecondition);
    let info = ahead.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, "CURSOR_RESET");

    // The operator begins a new epoch: now every cursor from before resets.
    let (_, older) = phone.pull_all(phone.page_after("")).await;
    service
        .database
        .store()
        .new_epoch()
        .await
        .expect("a new epoch");
    let reset = phone
        .pull(phone.page_after(&older))
        .await
        .expect_err("an old epoch");
    assert_eq!(
        reset.get_details_error_info().expect("an ErrorInfo").reason,
        "CURSOR_RESET"
    );

    // The phone pulls from the beginning, keeps its queue, and pushes what it holds: version 3.
    phone.pull_all(phone.page_after("")).await;
    let forced = SyncItem {
        force: true,
        ..put(id, 3, &json!({"n": 3}))
    };
    let pushed = phone.sync_one(forced).await;
    assert_eq!(pushed.server_version, 4, "no version is used twice");
    let (entities, _) = tablet.pull_all(tablet.page_after("")).await;
    assert_eq!(entities[0].data, br#"{"n": 3}"#);
}

#[tokio::test]
async fn a_restore_in_the_midst_of_a_first_sync_is_noticed() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    push_new(&mut phone, 4).await;
    let request = PullRequest {
        page_size: 2,
        ..tablet.page_after("")
    };
    let page = tablet.pull(request).await.expect("the first page");
    // Back to behind where the device is, but before where it began.
    let client = service.database.client().await;
    let restore =
        "delete from entities where revision > 3; update scopes set revision = 3, entities = 3";
    client.batch_execute(restore).await.expect("restored");
    let reset = tablet.pull(tablet.page_after(&page.cursor)).await;
    let reset = reset.expect_err("what it has not seen yet may be gone");
    assert_eq!(
        reset.get_details_error_info().expect("an ErrorInfo").reason,
        "CURSOR_RESET"
    );
}

fn since(since: i32) -> TypeRules {
    TypeRules {
        since,
        ..TypeRules::with(Policy::Ask)
    }
}

#[tokio::test]
async fn types_newer_than_the_app_are_withheld_and_arrive_from_the_beginning_after_its_upgrade() {
    let catalog = Catalog::new([
        ("workout", since(1)),
        ("superset", since(2)),
        ("readiness", since(3)),
    ]);
    let service = TestService::knowing(TestDatabase::new().await, &[], catalog).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let superset = |n: u128| of_type("superset", put(Uuid::from_u128(n), 0, &json!({})));
    let readiness = |n: u128| of_type("readiness", put(Uuid::from_u128(n), 0, &json!({})));
    let workouts = push_new(&mut phone, 2).await;
    phone
        .sync(vec![superset(1), readiness(2), superset(3)])
        .await;

    let page = |schema_version, cursor: &str, page_size| PullRequest {
        device_id: "tablet".to_owned(),
        cursor: cursor.to_owned(),
        schema_version,
        page_size,
        ..PullRequest::default()
    };
    let (entities, cursor) = tablet.pull_all(page(1, "", 0)).await;
    assert_eq!(
        ids(&entities),
        workouts.iter().map(Uuid::to_string).collect::<Vec<_>>()
    );

    phone.sync(vec![superset(4), delete(workouts[0], 1)]).await;
    for page_size in [0, 1] {
        let (entities, cursor) = tablet.pull_all(page(2, &cursor, page_size)).await;
        let expected = [1, 3, 4].map(|n| Uuid::from_u128(n).to_string());
        assert_eq!(
            ids(&entities)[..3],
            expected,
            "new types from the beginning"
        );
        assert_eq!(
            entities[3].entity_id,
            workouts[0].to_string(),
            "the rest from the cursor"
        );
        assert_eq!(entities.len(), 4);
        let (again, _) = tablet.pull_all(page(2, &cursor, page_size)).await;
        assert!(again.is_empty());
        let older = tablet
            .pull(page(1, &cursor, 0))
            .await
            .expect_err("an older app");
        assert_eq!(older.code(), Code::InvalidArgument);
    }

    // Upgrading again half way through the catch-up loses nothing.
    let half = tablet.pull(page(2, &cursor, 1)).await.expect("a page");
    let (entities, _) = tablet.pull_all(page(3, &half.cursor, 1)).await;
    let seen: HashSet<String> = ids(&half.entities)
        .into_iter()
        .chain(ids(&entities))
        .collect();
    for n in [1, 2, 3, 4] {
        assert!(
            seen.contains(&Uuid::from_u128(n).to_string()),
            "{n} of {seen:?}"
        );
    }
}

#[tokio::test]
async fn on_demand_types_come_only_when_named_and_shared_types_are_read_only() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let samples = of_type("metric_sample_set", put(Uuid::new_v4(), 0, &json!({})));
    phone.sync_one(samples.clone()).await;
    assert!(tablet.pull_all(tablet.page_after("")).await.0.is_empty());
    let named = PullRequest {
        entity_types: vec!["metric_sample_set".to_owned()],
        ..tablet.page_after("")
    };
    assert_eq!(ids(&tablet.pull_all(named).await.0), [samples.entity_id]);

    let definition = of_type("exercise_definition", put(Uuid::new_v4(), 0, &json!({})));
    let refused = phone.sync_one(definition).await;
    assert_eq!(refused.error_code().as_str_name(), "ERROR_CODE_READ_ONLY");
}

#[tokio::test]
async fn status_and_server_info_tell_what_an_app_shows() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    push_new(&mut phone, 3).await;
    let status = tablet.status().await;
    assert_eq!((status.last_sync_time, status.waiting_changes), (0, 3));
    let devices: Vec<&str> = status
        .devices
        .iter()
        .map(|d| d.device_id.as_str())
        .collect();
    assert_eq!(devices, ["phone"]);
    assert!(status.devices[0].last_seen_time > 0);
    assert_eq!(phone.status().await.waiting_changes, 0, "its own");

    let info = tablet.server_info().await;
    let limits = info.limits.expect("limits");
    assert_eq!(
        (limits.batch_items_max, limits.item_bytes_max),
        (500, 262_144)
    );
    assert_eq!(
        (limits.page_size_default, limits.page_size_max),
        (500, 2_000)
    );
    let shared = info
        .entity_types
        .iter()
        .find(|t| t.entity_type == "exercise_definition");
    assert_eq!(shared.expect("listed").policy, "server_authoritative");
}
