//! Promise 10: no one sees or touches another user's data, whatever they send.

use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use serde_json::json;
use uuid::Uuid;

use super::count;
use crate::support::database::contents;
use crate::support::{TestService, delete, put};

/// User ids that would name another user's scope if they were not kept apart with care.
fn users() -> Vec<String> {
    let mut users: Vec<String> = [
        "mia",
        "Mia",
        "mia ",
        " mia",
        "mi",
        "user/mia",
        "user/user/mia",
        "../mia",
        "library",
        "../library",
        "user/library",
        "user/",
        "mia%",
        "m_a",
        "mia'--",
        "mia\u{301}",
        "*",
        "{mia}",
        "null",
        "0",
    ]
    .map(str::to_owned)
    .to_vec();
    users.push("💪".repeat(64)); // 256 bytes
    users.push("💪".repeat(63) + "abcd");
    users
}

/// What a user's phone is called.
fn label(user: &str) -> String {
    user.chars().take(20).collect()
}

#[tokio::test]
async fn users_with_the_same_ids_never_meet() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let id = Uuid::new_v4();
    let mutation = Uuid::new_v4().to_string();
    // The same device id, entity id and mutation id under every user.
    let item = |user: &str| {
        let mut item = put(id, 0, &json!({"owner": user}));
        item.mutation_id.clone_from(&mutation);
        item
    };
    for user in users() {
        let mut phone = service.device(&user, "phone").await.called(&label(&user));
        let answer = phone.sync_one(item(&user)).await;
        assert_eq!(
            (answer.resolution(), answer.server_version),
            (Applied, 1),
            "{user}"
        );
    }
    for user in users() {
        let mut tablet = service.device(&user, "tablet").await;
        let answer = tablet.sync_one(put(id, 0, &json!({}))).await;
        assert_eq!(answer.resolution(), NeedsUser, "{user}");
        let copy: serde_json::Value = serde_json::from_slice(&answer.server_data).expect("JSON");
        assert_eq!(copy, json!({"owner": user}));
        let detail = answer.conflict.expect("details");
        assert_eq!(detail.server_device_label, label(&user));
    }
    let all = i64::try_from(users().len()).expect("fits");
    assert_eq!(count(&sql, "select count(*) from entities").await, all);
    assert_eq!(
        count(&sql, "select count(distinct scope) from entities").await,
        all
    );
    assert_eq!(
        count(&sql, "select count(*) from scopes where scope = 'library'").await,
        0
    );
    // The entity, and the conflict the tablet's edit opened.
    assert_eq!(count(&sql, "select max(revision) from scopes").await, 2);
}

#[tokio::test]
async fn what_one_user_does_leaves_the_rows_of_another_alone() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let id = Uuid::new_v4();
    let mut mia = service.device("mia", "phone").await;
    mia.sync_one(put(id, 0, &json!({"of": "mia"}))).await;
    mia.sync_one(put(id, 1, &json!({"of": "mia still"}))).await;
    let all = contents(&sql).await;
    let hers: Vec<_> = all.iter().filter(|row| row.contains("user/mia")).collect();
    assert_eq!(hers.len(), 4, "a scope, a device and two versions");

    let mut ben = service.device("ben", "phone").await;
    let unknown = ben.sync_one(delete(id, 2)).await;
    assert_eq!(unknown.server_timestamp, 0, "to Ben it does not exist");
    let mut forced = put(id, 2, &json!({"of": "ben"}));
    forced.force = true;
    assert_eq!(ben.sync_one(forced).await.server_version, 3);
    assert_eq!(ben.sync_one(delete(id, 3)).await.server_version, 4);
    assert_eq!(
        ben.sync_one(put(id, 0, &json!({"of": "ben"})))
            .await
            .server_version,
        5
    );

    let now = contents(&sql).await;
    let kept = now.iter().filter(|row| row.contains("user/mia")).count();
    assert_eq!(kept, hers.len());
    assert!(
        hers.iter().all(|row| now.contains(*row)),
        "a row of Mia's changed"
    );
}
