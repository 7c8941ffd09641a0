//! On a young database, and on one that was just restored, the planner knows nothing of the tables; later it knows
//! what was true some time ago. A statement must not read more than it names all the same.

use std::collections::BTreeMap;
use std::future::poll_fn;

use ironflow_sync::store::SESSION_OPTIONS;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::support::TestDatabase;
use crate::support::database::connect;

/// The statements that look something up, with arguments.
const LOOK_UPS: [(&str, &str); 38] = [
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
    ("export_conflicts", "'user/mia', null, 9"),
    ("export_devices", "'user/mia', '', 9"),
    ("delete_conflicts", "'user/mia', '{}', '{}'"),
    ("read_version", "'user/mia', 'workout', null, 1"),
    ("read_side", "'user/mia', 'workout', null, null"),
    ("find_conflict", "'user/mia', null"),
    ("count_waiting", "'user/mia', 'phone', 9"),
    ("allow_device", "'user/mia', 'phone'"),
    ("revoke_device", "'user/mia', 'phone', now()"),
    ("lock_devices", "'{}', '{}'"),
];

/// The tables that grow.
const TABLES: [&str; 8] = [
    "entities",
    "entity_versions",
    "scopes",
    "erasures",
    "conflicts",
    "losing_sides",
    "devices",
    "accounts",
];

/// Statements that go on step by step, and the index in whose order they read: they stop where the step ends.
const PAGES: [(&str, &str); 9] = [
    ("list_scopes", "scopes_pkey"),
    ("measure_conflicts", "conflicts_opened_at_idx"),
    ("read_old_versions", "entity_versions_held_idx"),
    ("read_old_conflicts", "conflicts_settled_at_idx"),
    ("erase_rows", "devices_pkey"),
    ("erase_rows", "entities_pkey"),
    ("erase_rows", "entity_versions_pkey"),
    ("erase_rows", "losing_sides_pkey"),
    ("erase_rows", "conflicts_pkey"),
];

/// What there may be in a database, and what the planner may know of it.
const STATES: [(&str, &[Step]); 4] = [
    ("empty, unknown", &[]),
    ("filled, unknown", &[Step::Fill(2_000)]),
    (
        "filled, known from when there was little",
        &[Step::Fill(20), Step::Analyze, Step::Fill(2_000)],
    ),
    ("filled, known", &[Step::Fill(2_000), Step::Analyze]),
];

/// What is done to a database.
enum Step {
    /// So many entities are written, with all that may hang on one.
    Fill(i32),
    /// The planner gets to know it.
    Analyze,
}

/// A database to which this was done, and nothing else.
async fn database(steps: &[Step]) -> TestDatabase {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    for table in TABLES {
        let unseen = format!("alter table {table} set (autovacuum_enabled = off)");
        client.batch_execute(&unseen).await.expect("altered");
    }
    for step in steps {
        let sql = match step {
            Step::Fill(rows) => include_str!("plans/fill.sql").replace("$rows", &rows.to_string()),
            Step::Analyze => format!("analyze {}", TABLES.join(", ")),
        };
        client.batch_execute(&sql).await.expect("done");
    }
    database
}

/// A session as the service has it: planned alike, and confined to a scope.
async fn confined(database: &TestDatabase) -> Client {
    let mut config = database.config();
    config.options(SESSION_OPTIONS);
    let client = connect(&config).await;
    let confine = "set role ironflow_sync_service;
        set ironflow.scope = 'user/mia'";
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
async fn look_ups_use_whole_keys_whatever_the_planner_knows() {
    for (known, steps) in STATES {
        let database = database(steps).await;
        let client = confined(&database).await;
        let indexes = indexes(&database).await;
        for (name, arguments) in LOOK_UPS {
            let plan = plan(&client, name, arguments).await;
            let name = format!("{name} on a database that is {known}");
            uses_whole_keys(&name, &plan, &indexes);
        }
    }
}

/// The columns of each index, in their order.
async fn indexes(database: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let columns = "select index.relname::text, array_agg(name.attname::text order by column_.place)
        from pg_index
        join pg_class as index on index.oid = pg_index.indexrelid
        cross join unnest(pg_index.indkey::smallint[]) with ordinality as column_ (number, place)
        join pg_attribute as name on name.attrelid = pg_index.indrelid and name.attnum = column_.number
        group by index.relname";
    let rows = database.client().await.query(columns, &[]).await;
    let rows = rows.expect("the indexes");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// That a plan looks nothing up by less than a whole key.
fn uses_whole_keys(name: &str, plan: &str, indexes: &BTreeMap<String, Vec<String>>) {
    for table in TABLES {
        for scan in ["Seq Scan on", "Bitmap Heap Scan on"] {
            assert!(
                !plan.contains(&format!("{scan} {table}")),
                "{name}:\n{plan}"
            );
        }
    }
    let lines: Vec<&str> = plan.lines().collect();
    for (scan, rest) in (1..lines.len()).map(|behind| (lines[behind - 1], &lines[behind..])) {
        let Some((scan, table)) = scan.split_once(" on ") else {
            continue;
        };
        let grows = ["entit", "conf", "los", "dev"];
        if !grows.iter().any(|grows| table.starts_with(grows)) || scan.contains("Tid Scan") {
            continue;
        }
        let Some((_, index)) = scan.split_once(" using ") else {
            continue;
        };
        // Columns of another table have its name before them.
        let is_name = |letter: char| letter.is_alphanumeric() || "_.".contains(letter);
        let condition = rest[0];
        let named: Vec<&str> = condition.split(|letter| !is_name(letter)).collect();
        let is_named = |column: &&String| named.contains(&column.as_str());
        // The scope alone would be the whole scope; what is not named makes those behind it no key.
        let columns = &indexes[index];
        let key = columns.iter().take_while(is_named).count();
        let whole_key = condition.contains("Index Cond:")
            && key > 1
            && key == columns.iter().filter(is_named).count();
        assert!(whole_key, "{name}: {index} by {condition}\n{plan}");
        // An entity has many versions and losing sides: one is looked up. The policies let nothing come before them
        // that may leak, as coalesce may, so a bound made with it is none.
        let filter = rest.get(1).filter(|line| line.contains("Filter:"));
        let sifts = |what: &str| filter.is_some_and(|filter| filter.contains(what));
        let many = ["entity_versions", "losing_sides"];
        let one_of_many = many.iter().any(|many| table.starts_with(many))
            && ["(version = ", "(mutation_id = "]
                .iter()
                .any(|one| sifts(one));
        let sifted = one_of_many || sifts("COALESCE(");
        assert!(!sifted, "{name}: {index} by {condition}\n{plan}");
    }
}

/// What a function does is planned where it runs, and told by Postgres as it does.
#[tokio::test]
async fn what_functions_look_up_they_look_up_by_whole_keys_too() {
    for (known, steps) in STATES {
        functions_use_whole_keys(known, &database(steps).await).await;
    }
}

async fn functions_use_whole_keys(known: &str, database: &TestDatabase) {
    let mut config = database.config();
    config.options(SESSION_OPTIONS);
    let (client, mut connection) = config.connect(NoTls).await.expect("Postgres answers");
    let (said, mut plans) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message.expect("a message") {
                let _ = said.send(notice.message().to_owned());
            }
        }
    });
    let explain = "load 'auto_explain'; set auto_explain.log_level = notice;
        set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
        insert into scopes values ('user/mia') on conflict do nothing;
        insert into devices (scope, device_id, pending_count, first_seen_at, last_seen_at)
            select 'user/mia', id, 0, '2000-01-01', '2000-01-01' from unnest('{phone,tablet}'::text[]) as id
            on conflict do nothing;
        set role ironflow_sync_service";
    client.batch_execute(explain).await.expect("may explain");
    let ids = [
        "00000000-0000-4000-8000-000000000001",
        "00000000-0000-4000-8000-000000000002",
    ];
    for (count, base, devices, ends, batches) in [
        (1, 0, "{phone}", "{1}", "{1}"),
        (1, 1, "{phone}", "{1}", "{1}"),
        (2, 0, "{phone}", "{2}", "{1,1}"),
        (2, 1, "{phone}", "{2}", "{1,1}"),
        (2, 2, "{phone,tablet}", "{1,2}", "{1,2}"),
    ] {
        let ids = ids[..count]
            .iter()
            .map(|id| id.replace("-8000-", ["-8000-", "-9000-"][count - 1]));
        let ids = ids.collect::<Vec<_>>().join(",");
        let all = |one: &str| format!("array_fill({one}, array[{count}])");
        let write = format!(
            "select write_batches('user/mia', 1000000, false, '{devices}', array[now(), now()], '{ends}',
                '{{a,b}}', '{{null,null}}', '{{null,null}}', '{{null,null}}', '{{null,null}}', '{{null,null}}',
                '{batches}', {}, '{{{ids}}}', {}, {},
                array(select gen_random_uuid() from generate_series(1, {count})), {}, {}, {}, {}, {}, {})",
            all("'workout'::text"),
            all(&base.to_string()),
            all("'{}'::text"),
            all("now()"),
            all("0::bigint"),
            all("now()"),
            all("3::smallint"),
            all("now()"),
            all("now()"),
        );
        let row = client.query_one(&write, &[]).await.expect("an answer");
        let before: Vec<Option<i64>> = row.get(0);
        assert!(before.iter().all(Option::is_some), "{count}, {base}");
    }
    let look = "select from look_for_news('{user/mia}', '{phone}')";
    client.execute(look, &[]).await.expect("an answer");
    let measure = "select from measure_page(
        '{user/mia}', '{0}', '{null}', '{null}', '{false}', null, null, '{}', '{}', 9, 9, 9)";
    client.execute(measure, &[]).await.expect("an answer");
    drop(client);
    let indexes = indexes(database).await;
    let mut told = [0; 2];
    while let Some(plan) = plans.recv().await {
        let name = format!("a function on a database that is {known}");
        uses_whole_keys(&name, &plan, &indexes);
        told[0] += usize::from(plan.contains(" on ent"));
        told[1] += usize::from(plan.contains(" on devices"));
    }
    assert!(
        told[0] > 15 && told[1] > 8,
        "{known}: {told:?} plans were told"
    );
}

#[tokio::test]
async fn what_goes_on_step_by_step_reads_in_the_order_of_an_index_and_no_further() {
    for (known, steps) in STATES {
        let database = database(steps).await;
        let client = confined(&database).await;
        for (name, index) in PAGES {
            let role = match name {
                "list_scopes" | "measure_conflicts" => "set role ironflow_sync_keeper",
                _ => "set role ironflow_sync_service",
            };
            client.batch_execute(role).await.expect("a role");
            let arguments = LOOK_UPS.iter().find(|(known, _)| *known == name);
            let unlisted = match name {
                "list_scopes" => "'', 9",
                "erase_rows" => "'user/mia', 9",
                _ => "9",
            };
            let arguments = arguments.map_or(unlisted, |(_, arguments)| arguments);
            let plan = plan(&client, name, arguments).await;
            let lines: Vec<&str> = plan.lines().map(str::trim).collect();
            let scan = format!("using {index} on");
            let page = lines
                .windows(2)
                .any(|pair| pair[0].ends_with("Limit") && pair[1].contains(&scan));
            assert!(page, "{name}, {known}:\n{plan}");
            assert!(!plan.contains("Seq Scan"), "{name}, {known}:\n{plan}");
        }
    }
}
