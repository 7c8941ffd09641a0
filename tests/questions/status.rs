//! How the whole is doing.

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::SyncRequest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{object, told};
use crate::support::account::live;
use crate::support::database::contents;
use crate::support::{TestDatabase, TestService, put};

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

#[tokio::test]
async fn it_tells_instances_the_database_all_users_and_the_devices_that_are_stuck() {
    let service = TestService::start().await;
    live(&service, "mia").await;
    let mut queue = service.device("leo", "leo's \u{1b}[2J phone").await;
    let request = SyncRequest {
        pending_count: 7,
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..queue.request()
    };
    let answer = queue.send(request).await.expect("an answer");
    assert_eq!(answer.results[0].resolution(), Applied);
    let status = ["status", "--over-s", "0"];
    let fresh = object(&service.database, &status).await;
    assert_eq!(fresh["stuck_devices"], json!([]), "seen just now");

    let sql = service.database.client().await;
    // Leo's phone has something queued; one of mia's is far behind, the others are not, or have no use any more.
    let age = "
        update devices set last_seen_at = now() - interval '25 hours' where scope = 'user/leo';
        update scopes set revision = 1000 where scope = 'user/mia';
        insert into devices
            (scope, device_id, pending_count, first_seen_at, last_seen_at, pulled_revision, revoked_at)
        values
            ('user/mia', 'behind', 0, now(), now() - interval '30 hours', 899, null),
            ('user/mia', 'near', 0, now(), now() - interval '30 hours', 900, null),
            ('user/mia', 'writes only', 0, now(), now() - interval '30 hours', null, null),
            ('user/mia', 'revoked', 3, now(), now() - interval '30 hours', 1, now()),
            ('user/mia', 'seen', 3, now(), now() - interval '23 hours', 1, null)";
    sql.batch_execute(age).await.expect("aged");
    let before = contents(&sql).await;
    let overview = object(&service.database, &status).await;
    let stuck: Vec<(&str, &str, i64)> = overview["stuck_devices"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|stuck| {
            let text = |name: &str| stuck[name].as_str().expect(name);
            (
                text("user_id"),
                text("device_id"),
                number(&stuck["pending_count"]),
            )
        })
        .collect();
    let phone = "leo's \u{1b}[2J phone";
    assert_eq!(stuck, [("leo", phone, 7), ("mia", "behind", 0)]);
    assert_eq!(overview["stuck_devices"][1]["revisions_behind"], 101);
    assert_eq!(
        overview["stuck_devices"][0]["revisions_behind"],
        Value::Null
    );
    assert_eq!(overview["stuck_count"], 2);
    assert_eq!(
        (
            &overview["users"],
            &overview["open_conflicts"],
            &overview["users_in_conflict"]
        ),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(overview["revisions"], 1_001);
    assert_eq!(overview["revisions_per_s"], Value::Null, "one look");
    let instances = overview["instances"].as_array().expect("a list");
    assert_eq!(instances.len(), 1, "{overview}");
    assert!(number(&instances[0]["connections"]) >= 1);
    let database = &overview["database"];
    assert!(number(&database["size_bytes"]) > 1024 * 1024);
    assert!(
        database["server_version"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
    );
    assert_eq!(contents(&sql).await, before, "only looked");

    let later = ["status", "--over-s", "0", "--stuck-after-h", "26"];
    assert_eq!(object(&service.database, &later).await["stuck_count"], 1);
    let text = told(&service.database, &status).await;
    for words in [
        "2 users",
        "2 open conflicts, of 1 users",
        "leo\\'s \\u{1b}[2J phone",
        "never pulled",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn the_rate_is_what_was_written_between_two_looks() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let quiet = object(&database, &["status", "--over-s", "1"]).await;
    assert_eq!(quiet["revisions_per_s"], 0.0);
    assert_eq!(quiet["instances"], json!([]));
    assert!(
        told(&database, &["status", "--over-s", "0"])
            .await
            .contains("none is connected")
    );

    sql.batch_execute("insert into scopes (scope) values ('user/mia')")
        .await
        .expect("a scope");
    let writing = async {
        loop {
            sql.batch_execute("update scopes set revision = revision + 10")
                .await
                .expect("written");
        }
    };
    let asked = ["status", "--over-s", "1"];
    let busy = tokio::select! {
        never = writing => never,
        busy = object(&database, &asked) => busy,
    };
    assert!(
        busy["revisions_per_s"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0),
        "{busy}"
    );
}
