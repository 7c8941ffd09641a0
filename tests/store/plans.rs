//! On a young database the planner knows nothing of the tables. A push must not read more than it
//! names all the same.

use ironflow_sync::store::SESSION_OPTIONS;
use tokio_postgres::Client;

use crate::support::TestDatabase;
use crate::support::database::connect;

/// The statements that look something up, with arguments.
const LOOK_UPS: [(&str, &str); 31] = [
    ("read_entities", "'user/mia', '{}', '{}', '{}', 9"),
    ("read_written", "'user/mia', '{}', '{}', '{}', 9"),
    ("read_bases", "'user/mia', '{}', '{}', '{}', 9"),
    ("read_kept", "'user/mia', '{}', '{}', '{}', '{}'"),
    ("read_open", "'user/mia', '{}', '{}', 'phone'"),
    ("read_own_sides", "'user/mia', '{}', '{}', '{}', 9"),
    ("read_neighbours", "'user/mia', '{}', '{}', '{}', '{}', '{}'"),
    ("read_standing", "'user/mia', 'phone'"),
    ("read_conflict", "'user/mia', null"),
    ("read_sides", "'user/mia', null, null, 9, 9"),
    ("list_conflicts", "'user/mia', true, null, 9, 9"),
    ("follow_conflicts", "'user/mia', 1, 2, 3, 9"),
    (
        "list_versions",
        "'user/mia', 'user/mia', 'workout', null, null, null, 9, 9",
    ),
    ("list_deleted", "'user/mia', null, null, 9, 9, 9"),
    ("keep_superseded", "'user/mia', '{}', '{}', '{}'"),
    (
        "update_entities",
        "'user/mia', 'phone', now(), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
         '{}', '{}', '{}', '{}', '{}'",
    ),
    (
        "read_page",
        "'{user/mia}', '{0}', '{null}', '{null}', '{false}', 'x', null, '{}', '{}', 10, 9, 9",
    ),
    (
        "read_old_versions",
        "'user/mia', now(), 'workout', null, 1, now(), 9, '{}', '{}', '{}', '{}', now(), 9, now()",
    ),
    ("empty_versions", "'user/mia', '{}', '{}', '{}'"),
    (
        "read_old_conflicts",
        "'user/mia', now(), null, now(), 9, '{}', '{}', now()",
    ),
    ("delete_sides", "'user/mia', '{}', '{}', 9"),
    ("read_erasure", "'user/mia'"),
    ("explain_types", "'user/mia', '{}', null"),
    ("explain_versions", "'user/mia', 'workout', null, 9"),
    ("explain_sides", "'user/mia', 'workout', null, 9"),
    ("export_entities", "'user/mia', '', null, 9, 9"),
    ("export_versions", "'user/mia', '', null, 0, 9, 9"),
    ("export_sides", "'user/mia', '', null, null, 9, 9"),
    ("export_devices", "'user/mia', '', 9"),
    ("delete_conflicts", "'user/mia', '{}', '{}'"),
    (
        "write_uncontested",
        "'user/mia', 'phone', now(), '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 9, null,
         null, null, null, null, null",
    ),
];

/// Statements that read pages, and the index in whose order they do: they stop where the page ends.
const PAGES: [(&str, &str); 4] = [
    ("list_scopes", "scopes_pkey"),
    ("measure_conflicts", "conflicts_opened_at_idx"),
    ("read_old_versions", "entity_versions_held_idx"),
    ("read_old_conflicts", "conflicts_settled_at_idx"),
];

/// A session as the service has it: planned alike, and confined to a scope.
async fn confined(database: &TestDatabase) -> Client {
    let mut config = database.config();
    config.options(SESSION_OPTIONS);
    let client = connect(&config).await;
    let confine = "set role ironflow_sync_service;
        set ironflow.scope = '757365722f6d6961' /* user/mia */";
    client.batch_execute(confine).await.expect("a scope");
    client
}

async fn plan(client: &Client, name: &str, arguments: &str) -> String {
    let path = format!("{}/src/store/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(path).expect("a statement");
    let prepare = format!("prepare look_up as {sql}");
    client.batch_execute(&prepare).await.expect("prepares");
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
    let client = confined(&database).await;
    for (name, arguments) in LOOK_UPS {
        let plan = plan(&client, name, arguments).await;
        for table in [
            "entities",
            "entity_versions",
            "scopes",
            "erasures",
            "conflicts",
            "losing_sides",
            "devices",
            "accounts",
        ] {
            for scan in ["Seq Scan on", "Bitmap Heap Scan on"] {
                assert!(
                    !plan.contains(&format!("{scan} {table}")),
                    "{name}:\n{plan}"
                );
            }
        }
        // An index condition on the scope alone would be the whole scope.
        let lines: Vec<&str> = plan.lines().collect();
        for scan in lines.windows(2).filter(|scan| {
            [" on entit", " on conf", " on los", " on dev"]
                .iter()
                .any(|on| scan[0].contains(on))
        }) {
            let whole_key = !scan[1].contains("Index Cond:") || scan[1].contains(" AND ");
            assert!(whole_key, "{name}: {scan:?}\n{plan}");
        }
    }
}

#[tokio::test]
async fn retention_reads_a_page_in_the_order_of_an_index_and_no_further() {
    let database = TestDatabase::new().await;
    let client = confined(&database).await;
    for (name, index) in PAGES {
        let role = match name {
            "list_scopes" | "measure_conflicts" => "set role ironflow_sync_keeper",
            _ => "set role ironflow_sync_service",
        };
        client.batch_execute(role).await.expect("a role");
        let arguments = LOOK_UPS.iter().find(|(known, _)| *known == name);
        let unlisted = if name == "list_scopes" { "'', 9" } else { "9" };
        let arguments = arguments.map_or(unlisted, |(_, arguments)| arguments);
        let plan = plan(&client, name, arguments).await;
        // Without what works out the scope of the session.
        let is_policy = |line: &&str| line.contains("InitPlan") || line.ends_with("->  Result");
        let lines = plan.lines().map(str::trim).filter(|line| !is_policy(line));
        let lines: Vec<&str> = lines.collect();
        let scan = format!("using {index} on");
        let page = lines
            .windows(2)
            .any(|pair| pair[0].ends_with("Limit") && pair[1].contains(&scan));
        assert!(page, "{name}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}
