//! On a young database the planner knows nothing of the tables. A push must not read more than it
//! names all the same.

use ironflow_sync::store::SESSION_OPTIONS;
use tokio_postgres::Client;

use crate::support::TestDatabase;
use crate::support::database::connect;

/// The statements of a push that look something up, with the types of their arrays.
const LOOK_UPS: [(&str, &str); 5] = [
    ("read_entities", "int4[], 9"),
    ("read_written", "uuid[]"),
    ("keep_superseded", "int4[]"),
    ("update_entities", "update"),
    ("read_page", ""),
];

async fn plan(client: &Client, name: &str, third: &str) -> String {
    let path = format!("{}/src/store/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(path).expect("a statement");
    let prepare = format!("prepare look_up as {sql}");
    client.batch_execute(&prepare).await.expect("prepares");
    let arguments = match third {
        "update" => format!("'user/mia', 'phone', now(){}", ", '{}'".repeat(10)),
        "" => "'{user/mia}', '{0}', '{null}', '{null}', '{false}', 'x', null, '{}', '{}', 10, 9, 9"
            .to_owned(),
        array => format!("'user/mia', '{{}}', '{{}}', '{{}}'::{array}"),
    };
    let explain = format!("explain (costs off) execute look_up({arguments})");
    let rows = client.simple_query(&explain).await.expect("a plan");
    client
        .batch_execute("deallocate look_up")
        .await
        .expect("done");
    let line = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn look_ups_use_whole_keys_even_without_statistics() {
    let database = TestDatabase::new().await;
    let mut config = database.config();
    config.options(SESSION_OPTIONS);
    let client = connect(&config).await;
    for (name, third) in LOOK_UPS {
        let plan = plan(&client, name, third).await;
        for table in ["entities", "entity_versions", "scopes"] {
            for scan in ["Seq Scan on", "Bitmap Heap Scan on"] {
                assert!(
                    !plan.contains(&format!("{scan} {table}")),
                    "{name}:\n{plan}"
                );
            }
        }
        // An index condition on the scope alone would be the whole scope.
        let lines: Vec<&str> = plan.lines().collect();
        for scan in lines
            .windows(2)
            .filter(|scan| scan[0].contains(" on entit"))
        {
            let whole_key = !scan[1].contains("Index Cond:") || scan[1].contains(" AND ");
            assert!(whole_key, "{name}: {scan:?}\n{plan}");
        }
    }
}
