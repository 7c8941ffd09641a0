//! The view `changes`, as docs/operations.md describes it.

use ironflow_sync::grpc::proto::SyncItem;
use ironflow_sync::grpc::proto::restore_version_request::Source;
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::{edit, phone_and_tablet, wish};
use crate::grpc::now_ms;
use crate::support::{TestService, put};

/// The entity of the examples on the page.
const EXAMPLE: Uuid = Uuid::from_u128(0x6f1c_5a4e_0d5b_4c57_9d0e_3f6f_4f3a_2b10);

/// The rows of a query as text, a column each.
async fn rows(sql: &Client, query: &str) -> Vec<Vec<String>> {
    let messages = sql.simple_query(query).await.expect("rows");
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let column = |i| row.get(i).unwrap_or("-").to_owned();
                Some((0..row.len()).map(column).collect())
            }
            _ => None,
        })
        .collect()
}

async fn log(sql: &Client, id: Uuid) -> Vec<String> {
    let query = format!(
        "select version, change_type, device_id, data->>'title', cause from changes \
         where entity_id = '{id}' order by scope, revision"
    );
    let rows = rows(sql, &query).await;
    rows.iter().map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn the_log_has_every_change_with_its_type() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let id = Uuid::new_v4();
    phone.sync_one(edit("workout", id, 0, Some("a"))).await;
    tablet.sync_one(edit("workout", id, 1, Some("b"))).await;
    tablet.sync_one(edit("workout", id, 2, None)).await;
    phone.sync_one(edit("workout", id, 3, Some("c"))).await;
    // Kept in the inbox, which takes a revision: no change.
    tablet.sync_one(edit("workout", id, 1, Some("lost"))).await;
    phone.sync_one(edit("workout", id, 4, None)).await;
    let forced = SyncItem {
        force: true,
        ..edit("workout", id, 1, Some("d"))
    };
    tablet.sync_one(forced.clone()).await;
    let forced = SyncItem {
        mutation_id: Uuid::new_v4().to_string(),
        ..edit("workout", id, 1, Some("e"))
    };
    let forced = SyncItem {
        force: true,
        ..forced
    };
    phone.sync_one(forced).await;
    phone
        .restore(wish(id, Source::Version(3), 7))
        .await
        .expect("deleted");
    phone
        .restore(wish(id, Source::Version(1), 8))
        .await
        .expect("restored");
    let expected = [
        "1 created phone a push",
        "2 updated tablet b push",
        "3 deleted tablet - push",
        "4 created phone c push",
        "5 deleted phone - push",
        "6 created tablet d push",
        "7 updated phone e push",
        "8 deleted phone - restore",
        "9 created phone a restore",
    ];
    assert_eq!(log(&sql, id).await, expected);

    // An entity the server did not know, though the device had a version: created, behind that version.
    let id = Uuid::new_v4();
    phone.sync_one(edit("workout", id, 6, Some("a"))).await;
    assert_eq!(log(&sql, id).await, ["7 created phone a push"]);

    // Retention leaves the change and takes its data.
    phone.sync_one(edit("workout", id, 7, Some("b"))).await;
    let compact = "update entity_versions set data = null where entity_id = $1";
    sql.execute(compact, &[&id]).await.expect("compacted");
    let expected = ["7 created phone - push", "8 updated phone b push"];
    assert_eq!(log(&sql, id).await, expected);
}

#[tokio::test]
async fn the_log_can_only_be_read() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _] = phone_and_tablet(&service, "mia").await;
    phone.sync_one(edit("workout", EXAMPLE, 0, Some("a"))).await;
    for write in [
        "insert into changes (scope, version) values ('user/mia', 1)",
        "update changes set version = 7",
        "delete from changes",
        "truncate changes",
    ] {
        sql.execute(write, &[]).await.expect_err(write);
    }
    assert_eq!(log(&sql, EXAMPLE).await, ["1 created phone a push"]);
}

/// The queries of the page about the view.
fn examples() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let page = std::fs::read_to_string(path).expect("the page");
    page.split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|query| query.contains("from changes"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_queries_of_the_page_answer_what_they_say() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, mut tablet] = phone_and_tablet(&service, "mia").await;
    let day = |days: i64| now_ms() - days * 86_400_000;
    let edited = |base, days, title| SyncItem {
        timestamp: day(days),
        ..put(EXAMPLE, base, &json!({"title": title}))
    };
    phone.sync_one(edited(0, 2, "a")).await;
    tablet.sync_one(edited(1, 1, "b")).await;
    tablet.sync_one(edited(2, 1, "c")).await;

    let [per_day, life]: [String; 2] = examples().try_into().expect("two queries");
    let per_day = rows(&sql, &per_day).await;
    let columns: Vec<_> = per_day.iter().map(|row| row[1..].join(" ")).collect();
    assert_eq!(columns, ["user/mia phone 1", "user/mia tablet 2"]);
    assert!(per_day[0][0] < per_day[1][0], "the older day first");

    let life = rows(&sql, &life).await;
    let columns: Vec<_> = life.iter().map(|row| row[..3].join(" ")).collect();
    assert_eq!(
        columns,
        ["1 created phone", "2 updated tablet", "3 updated tablet"]
    );
}
