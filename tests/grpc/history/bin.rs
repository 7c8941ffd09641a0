//! The recycle bin: what was deleted, and what it held.

use ironflow_sync::grpc::proto::restore_version_request::Source;
use ironflow_sync::grpc::proto::{DeletedEntity, ListDeletedRequest, SyncItem};
use serde_json::Value;
use tonic::Code;
use uuid::Uuid;

use super::{edit, fields, phone_and_tablet, wish};
use crate::grpc::{check_status, now_ms};
use crate::support::{Device, TestService};

async fn bin(device: &mut Device, entity_type: &str, page_size: i32) -> Vec<DeletedEntity> {
    let mut request = ListDeletedRequest {
        entity_type: entity_type.to_owned(),
        page_size,
        ..ListDeletedRequest::default()
    };
    let mut entities = Vec::new();
    loop {
        let page = device.list_deleted(request.clone()).await.expect("a page");
        if page_size > 0 {
            assert!(page.entities.len() <= page_size as usize);
        }
        entities.extend(page.entities);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return entities;
        }
    }
}

/// Creates an entity and deletes it; its title is its type.
async fn delete_one(device: &mut Device, entity_type: &str) -> Uuid {
    let id = Uuid::new_v4();
    device
        .sync_one(edit(entity_type, id, 0, Some(entity_type)))
        .await;
    device.sync_one(edit(entity_type, id, 1, None)).await;
    id
}

fn ids(entities: &[DeletedEntity]) -> Vec<Uuid> {
    entities
        .iter()
        .map(|entity| entity.entity_id.parse().expect("a UUID"))
        .collect()
}

fn titled(entity: &DeletedEntity) -> String {
    let data: Value = serde_json::from_slice(&entity.last_data).expect("JSON");
    data["title"].as_str().expect("a title").to_owned()
}

#[tokio::test]
async fn the_bin_tells_what_was_deleted_by_whom_and_what_it_held() {
    let service = TestService::start().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let begun = now_ms();
    let id = Uuid::new_v4();
    phone.sync_one(edit("workout", id, 0, Some("a"))).await;
    phone.sync_one(edit("workout", id, 1, None)).await;
    phone.sync_one(edit("workout", id, 2, Some("b"))).await;
    let deletion = SyncItem {
        timestamp: begun - 60_000,
        ..edit("workout", id, 3, None)
    };
    tablet.sync_one(deletion).await;
    phone
        .sync_one(edit("workout", Uuid::new_v4(), 0, Some("alive")))
        .await;

    let entities = bin(&mut phone, "", 0).await;
    assert_eq!(ids(&entities), [id]);
    let gone = &entities[0];
    assert_eq!((gone.entity_type.as_str(), gone.version), ("workout", 4));
    let by = (gone.device_id.as_str(), gone.device_label.as_str());
    assert_eq!(by, ("tablet", "Mia's tablet"));
    assert_eq!(gone.edit_time, begun - 60_000);
    assert!(gone.deleted_at >= begun);
    assert_eq!((gone.last_version, titled(gone).as_str()), (3, "b"));
    assert!(!gone.data_removed);

    // What the entry says is what a restore takes, and then it has left the bin.
    let back = wish(id, Source::Version(gone.last_version), gone.version);
    let back = phone.restore(back).await.expect("an answer");
    assert!(back.restored && !back.server.expect("a copy").deleted);
    assert!(bin(&mut phone, "", 0).await.is_empty());
}

#[tokio::test]
async fn what_retention_has_removed_is_said_to_be_gone() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let id = delete_one(&mut phone, "workout").await;
    let compact = "update entity_versions set data = null";
    sql.execute(compact, &[]).await.expect("compacted");
    let entities = bin(&mut phone, "", 0).await;
    assert_eq!(ids(&entities), [id]);
    let gone = &entities[0];
    assert_eq!((gone.last_version, gone.data_removed), (1, true));
    assert!(gone.last_data.is_empty());
}

#[tokio::test]
async fn the_bin_is_listed_by_type_and_in_pages_the_last_deletion_first() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let types = ["workout", "routine", "workout", "superset", "workout"];
    let mut deleted = Vec::new();
    for entity_type in types {
        deleted.push((entity_type, delete_one(&mut phone, entity_type).await));
    }
    deleted.reverse();
    let of_type = |wanted: &str| -> Vec<Uuid> {
        let fits = |entity_type: &str| wanted.is_empty() || entity_type == wanted;
        let found = deleted.iter().filter(|(entity_type, _)| fits(entity_type));
        found.map(|(_, id)| *id).collect()
    };
    for wanted in [
        "",
        "workout",
        "routine",
        "superset",
        "progression",
        "spaceship",
    ] {
        for page_size in [0, 1, 2, 3, 500] {
            let entities = bin(&mut phone, wanted, page_size).await;
            assert_eq!(ids(&entities), of_type(wanted), "{wanted} {page_size}");
            for entity in &entities {
                assert_eq!(titled(entity), entity.entity_type);
            }
        }
    }
}

#[tokio::test]
async fn pages_of_the_bin_neither_miss_nor_repeat_while_others_delete() {
    let service = TestService::start().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let mut before = Vec::new();
    for _ in 0..12 {
        before.push(delete_one(&mut phone, "workout").await);
    }
    before.reverse();
    let [mut reader, _] = phone_and_tablet(&service, "mia").await;
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        for page_size in [1, 2, 3] {
            all.push(ids(&bin(&mut reader, "", page_size).await));
        }
        all
    });
    for _ in 0..10 {
        delete_one(&mut tablet, "workout").await;
    }
    for seen in reader.await.expect("pages") {
        let known: Vec<_> = seen.iter().filter(|id| before.contains(id)).collect();
        assert_eq!(known, before.iter().collect::<Vec<_>>());
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "something came twice");
    }
}

#[tokio::test]
async fn a_rare_type_is_found_behind_any_number_of_others() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let rare = delete_one(&mut phone, "superset").await;
    for _ in 0..3 {
        let created: Vec<SyncItem> = (0..400)
            .map(|_| edit("workout", Uuid::new_v4(), 0, Some("w")))
            .collect();
        let gone = created.iter().map(|item| SyncItem {
            operation: "delete".to_owned(),
            version: 1,
            mutation_id: Uuid::new_v4().to_string(),
            ..item.clone()
        });
        let gone: Vec<SyncItem> = gone.collect();
        phone.sync(created).await;
        phone.sync(gone).await;
    }
    let request = ListDeletedRequest {
        entity_type: "superset".to_owned(),
        ..ListDeletedRequest::default()
    };
    // A page looks at a bounded number of deletions, so the first finds nothing yet.
    let first = phone.list_deleted(request).await.expect("a page");
    assert!(first.entities.is_empty() && !first.next_page_token.is_empty());
    assert_eq!(ids(&bin(&mut phone, "superset", 0).await), [rare]);
    assert_eq!(bin(&mut phone, "", 0).await.len(), 1_201);
}

#[tokio::test]
async fn a_page_of_the_bin_ends_at_about_a_mebibyte() {
    let service = TestService::start().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    let title = "x".repeat(240_000);
    for _ in 0..6 {
        let id = Uuid::new_v4();
        phone.sync_one(edit("workout", id, 0, Some(&title))).await;
        phone.sync_one(edit("workout", id, 1, None)).await;
        // Of another type, which has no part in it.
        delete_one(&mut phone, "routine").await;
    }
    let mut request = ListDeletedRequest {
        entity_type: "workout".to_owned(),
        ..ListDeletedRequest::default()
    };
    let first = phone.list_deleted(request.clone()).await.expect("a page");
    assert_eq!(first.entities.len(), 4);
    request.page_token = first.next_page_token;
    let second = phone.list_deleted(request).await.expect("a page");
    assert_eq!(
        (second.entities.len(), second.next_page_token.as_str()),
        (2, "")
    );
}

#[tokio::test]
async fn bad_requests_for_the_bin_are_refused_field_by_field() {
    let service = TestService::start().await;
    let [mut phone, mut ben] = [
        service.device("mia", "phone").await,
        service.device("ben", "phone").await,
    ];
    delete_one(&mut phone, "workout").await;
    let long = "1".repeat(100_000);
    for token in [
        "x",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        " 1",
        "9223372036854775808",
        &long,
    ] {
        let request = ListDeletedRequest {
            page_token: token.to_owned(),
            ..ListDeletedRequest::default()
        };
        let refused = phone.list_deleted(request).await.expect_err(token);
        check_status(token, &refused, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&refused), ["page_token"], "{token}");
    }
    let request = ListDeletedRequest {
        entity_type: "Workout".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
    };
    let refused = phone.list_deleted(request).await.expect_err("all of it");
    assert_eq!(fields(&refused), ["entity_type", "page_size", "page_token"]);
    // A token that points behind everything shows no more than the caller's own (promise 10).
    let request = ListDeletedRequest {
        page_token: i64::MAX.to_string(),
        ..ListDeletedRequest::default()
    };
    let hers = phone.list_deleted(request.clone()).await.expect("a page");
    assert_eq!(hers.entities.len(), 1);
    let his = ben.list_deleted(request).await.expect("a page");
    assert!(his.entities.is_empty());
    let foreign = &hers.entities[0];
    let id: Uuid = foreign.entity_id.parse().expect("a UUID");
    let wish = wish(id, Source::Version(1), 2);
    ben.restore(wish).await.expect_err("not his");
}
