//! The second wall (promise 10): a statement that forgot its `where` still sees only the scope of its
//! session, and the library.

mod attempts;

use std::collections::BTreeSet;
use std::fs;

use futures_util::FutureExt;
use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use serde_json::json;
use tokio_postgres::{Client, SimpleQueryMessage};
use tonic::Code;
use uuid::Uuid;

use attempts::{
    INSERTS, NOT_OF_A_SCOPE, SEEKING, WRITING, looking_without_its_scope,
    measuring_without_its_scope, source, without_its_scope, writing_without_its_scope,
};

use crate::support::{Device, TestDatabase, TestService, delete, put};

/// A user with rows in every table: an open conflict, a settled one, a deletion, workouts with a time.
async fn live(service: &TestService, user: &str) {
    let named = |device: &str| format!("{user}-{device}");
    let mut phone = service.device(user, &named("phone")).await;
    let mut tablet = service.device(user, &named("tablet")).await;
    let [contested, settled, gone] = [0; 3].map(|_| Uuid::new_v4());
    let workout = |day: u32, title: &str| json!({"title": title, "owner": user, "date": format!("2026-11-{day}T18:00:00Z")});
    for (day, id) in [(10, contested), (11, settled), (12, gone)] {
        applied(&mut phone, put(id, 0, &workout(day, "a"))).await;
        applied(&mut phone, put(id, 1, &workout(day, "b"))).await;
    }
    for (day, id) in [(10, contested), (11, settled)] {
        let answer = tablet.sync_one(put(id, 1, &workout(day, "c"))).await;
        assert_eq!(answer.resolution(), NeedsUser);
    }
    applied(&mut tablet, put(settled, 2, &workout(11, "d"))).await;
    applied(&mut phone, delete(gone, 2)).await;
    let sql = service.database.client().await;
    let pay = format!("insert into accounts values ('user/{user}', 'premium', null, now())");
    sql.batch_execute(&pay).await.expect("paid");
}

async fn applied(device: &mut Device, item: SyncItem) {
    assert_eq!(device.sync_one(item).await.resolution(), Applied);
}

/// Mia, leo and a library, and a session that may do anything.
async fn world() -> (TestService, Client) {
    let service = TestService::start().await;
    // Leo's revisions are not mia's.
    let mut phone = service.device("leo", "leo-phone").await;
    applied(&mut phone, put(Uuid::new_v4(), 0, &json!({"owner": "leo"}))).await;
    live(&service, "mia").await;
    live(&service, "leo").await;
    let sql = service.database.client().await;
    let library = "insert into scopes (scope, revision, entities) values ('library', 1, 1);
        insert into entities
            (scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
             device_id, foreign_version, mutation_id, edit_time, created_at, updated_at)
        values ('library', 'exercise_definition', gen_random_uuid(), 1, 1, false, '{}', 2, 'applied',
            'operator', 0, gen_random_uuid(), now(), now(), now());
        insert into erasures values (sha256('user/leo'), now(), 1)";
    sql.batch_execute(library).await.expect("a library");
    (service, sql)
}

/// Arguments that name leo's rows.
async fn of_leo(sql: &Client, arguments: &str) -> String {
    let find = "select
        (select revision::text from scopes where scope = 'user/leo') as revision,
        entity_id::text as contested,
        (select mutation_id::text from losing_sides as side where side.conflict_id = open.conflict_id)
            as contested_side,
        (select mutation_id::text from entity_versions as old
         where old.scope = open.scope and old.entity_id = open.entity_id and version = 1) as contested_mutation,
        conflict_id::text as open,
        (select conflict_id::text from conflicts where scope = 'user/leo' and not open) as settled,
        (select quote_literal(settled_at) || '::timestamptz' from conflicts
         where scope = 'user/leo' and not open) as settled_at,
        (select entity_id::text from entities where scope = 'user/leo' and deleted) as deleted
        from conflicts as open where scope = 'user/leo' and open and kind = 'edit'";
    let row = sql.query_one(find, &[]).await.expect("leo's rows");
    let mut text = arguments.to_owned();
    for (place, column) in row.columns().iter().enumerate() {
        let value: String = row.get(place);
        text = text.replace(&format!("{{{}}}", column.name()), &value);
    }
    text
}

/// The rows a statement gives, in any order, or the SQLSTATE it fails with.
async fn run(sql: &Client, statement: &str, arguments: &str) -> Result<Vec<String>, String> {
    let prepare = format!("prepare tried as {statement}");
    sql.batch_execute(&prepare).await.expect("prepares");
    let execute = format!("execute tried({arguments})");
    let ran = sql.simple_query(&execute).await;
    let rows = ran.map_err(|error| {
        let code = error.code().map(|code| code.code().to_owned());
        code.expect("an error of Postgres")
    })?;
    let mut texts: Vec<String> = rows
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|place| row.get(place).unwrap_or("-").to_owned() + "|"))
            }
            _ => None,
        })
        .map(Iterator::collect)
        .collect();
    texts.sort();
    Ok(texts)
}

const CONFINED_TO_MIA: &str =
    "set local role ironflow_sync_service; set local ironflow.scope = 'user/mia'";

/// All rows of others than mia, each with its place: equal only if nothing was written.
async fn of_others(sql: &Client) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for table in [
        "scopes",
        "entities",
        "entity_versions",
        "devices",
        "conflicts",
        "losing_sides",
        "accounts",
    ] {
        let read = format!("select ctid || t::text from {table} as t where scope <> 'user/mia'");
        let found = sql.query(&read, &[]).await.expect("rows");
        rows.extend(
            found
                .iter()
                .map(|row| format!("{table} {}", row.get::<_, String>(0))),
        );
    }
    rows
}

#[tokio::test]
async fn a_statement_without_its_where_sees_its_own_scope_and_the_library_and_nothing_else() {
    let (_service, sql) = world().await;
    let others = of_others(&sql).await;
    for (name, arguments) in SEEKING {
        let statement = without_its_scope(name);
        let given = of_leo(&sql, arguments).await;
        let scope = if name == "read_page" {
            "'{user/mia}'"
        } else {
            "'user/mia'"
        };
        let separator = if given.is_empty() { "" } else { ", " };
        let given = format!("{scope}{separator}{given}");
        // What it gives where there is nobody else; as anybody; and as the service works.
        let mut gave = Vec::new();
        let mut touched = Vec::new();
        let alone = match name {
            // It can read the library, not delete it.
            "erase_rows" => "delete from entities where scope = 'library';",
            _ => "",
        };
        for before in [
            &*format!(
                "{alone} delete from scopes where scope not in ('user/mia', 'library');
             delete from erasures;
             delete from entities where scope not in ('user/mia', 'library');
             delete from entity_versions where scope <> 'user/mia';
             delete from devices where scope <> 'user/mia';
             delete from conflicts where scope <> 'user/mia';
             delete from losing_sides where scope <> 'user/mia';
             delete from accounts where scope <> 'user/mia'"
            ),
            "select",
            CONFINED_TO_MIA,
        ] {
            sql.batch_execute(&format!("begin; {before}"))
                .await
                .expect("begins");
            gave.push(run(&sql, &statement, &given).await);
            if gave.last().is_some_and(Result::is_ok) {
                sql.batch_execute("reset role").await.expect("anybody");
                touched.push(of_others(&sql).await != others);
            }
            sql.batch_execute("rollback; deallocate all")
                .await
                .expect("ends");
        }
        let [alone, anybody, confined] = gave.try_into().expect("three");
        if name == "lock_scope" {
            // The library can be read, not locked.
            assert_eq!(confined.expect("locks").len(), 1, "{name}");
            continue;
        }
        assert_eq!(
            alone, confined,
            "{name} sees more than mia's and the library"
        );
        assert_eq!(touched.last(), Some(&false), "{name} touches others");
        let leaks = anybody != alone || touched[1];
        assert!(
            leaks || WRITING.contains(&name),
            "{name}: nothing to leak, so nothing is shown"
        );
    }
}

#[tokio::test]
async fn no_statement_writes_into_another_scope_than_its_sessions() {
    let (_service, sql) = world().await;
    let writing = SEEKING.iter().filter(|(name, _)| WRITING.contains(name));
    let mut tried = 0;
    for (name, arguments) in writing.chain(&INSERTS) {
        for (scope, refused) in [("user/mia", false), ("user/ben", true), ("library", true)] {
            let given = of_leo(&sql, arguments).await;
            let separator = if given.is_empty() { "" } else { ", " };
            let begin = format!("begin; {CONFINED_TO_MIA}");
            sql.batch_execute(&begin).await.expect("begins");
            let ran = run(&sql, &source(name), &format!("'{scope}'{separator}{given}")).await;
            sql.batch_execute("rollback; deallocate all")
                .await
                .expect("ends");
            let code = ran.err();
            assert_eq!(
                code.as_deref(),
                refused.then_some("42501"),
                "{name} into {scope}"
            );
            tried += 1;
        }
    }
    assert_eq!(tried, 3 * (WRITING.len() + INSERTS.len()));
}

/// Begins a transaction of a role in which there is a function.
async fn begin_as(sql: &Client, role: &str, function: &str) {
    let begin = match role {
        "current_user" => format!("begin; {function}"),
        _ => format!("begin; {function}; set local role {role}"),
    };
    sql.batch_execute(&begin).await.expect("begins");
}

/// What is written at once comes from a function, for one scope after the other in one transaction.
#[tokio::test]
async fn the_function_that_writes_at_once_reaches_its_own_scope_and_nothing_else() {
    let service = TestService::start().await;
    let ids: Vec<Uuid> = (0..2).map(|_| Uuid::new_v4()).collect();
    for user in ["mia", "leo"] {
        let mut phone = service.device(user, "phone").await;
        let mut tablet = service.device(user, "tablet").await;
        for device in [&mut phone, &mut tablet] {
            applied(device, put(Uuid::new_v4(), 0, &json!({"owner": user}))).await;
        }
        if user == "leo" {
            for id in &ids {
                applied(&mut phone, put(*id, 0, &json!({"owner": "leo"}))).await;
            }
        }
    }
    let sql = service.database.client().await;
    let others = of_others(&sql).await;
    // Mia's statement names rows of leo's.
    let stolen = |count: usize, devices: &str, ends: &str| {
        let together = ends.split(',').count();
        let columns = ids[..count].iter().enumerate().map(|(nth, id)| {
            let batch = (nth + 1).min(together);
            format!(
                "({batch}, 'workout', '{id}'::uuid, 1, '{{\"stolen\": 1}}', gen_random_uuid(), now(), 0, 3)"
            )
        });
        let columns: Vec<String> = columns.collect();
        format!(
            "select write_batches(
                'user/mia', 100, false, '{devices}', array[now(), now()], '{ends}',
                '{{mine,mine}}', '{{null,null}}', '{{null,null}}', '{{null,null}}', '{{null,null}}', '{{null,null}}',
                array_agg(b), array_agg(t), array_agg(id), array_agg(base), array_agg(d),
                array_agg(m), array_agg(at), array_agg(o::bigint), array_agg(null::timestamptz),
                array_agg(r::smallint), array_agg(null::timestamptz), array_agg(null::timestamptz))
            from (values {}) as item (b, t, id, base, d, m, at, o, r)",
            columns.join(", ")
        )
    };
    for (function, leaks_to_anybody) in
        [(String::new(), false), (writing_without_its_scope(), true)]
    {
        for (count, devices, ends) in [
            (1, "{phone}", "{1}"),
            (2, "{phone}", "{2}"),
            (2, "{phone,tablet}", "{1,2}"),
        ] {
            for (role, leaks) in [
                ("ironflow_sync_service", false),
                ("current_user", leaks_to_anybody),
            ] {
                begin_as(&sql, role, &function).await;
                let stolen = stolen(count, devices, ends);
                sql.execute(&stolen, &[]).await.expect("an answer");
                sql.batch_execute("reset role").await.expect("anybody");
                let touched = of_others(&sql).await != others;
                assert_eq!(touched, leaks, "{role}, {count} of {devices}");
                sql.batch_execute("rollback").await.expect("ends");
            }
        }
    }
}

#[tokio::test]
async fn the_function_that_measures_pages_sees_its_sessions_scope_and_nothing_else() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let leo = "insert into scopes (scope, revision, entities) values ('user/leo', 999, 9);
        insert into entities (
            scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
            device_id, foreign_version, mutation_id, edit_time, created_at, updated_at
        )
        values (
            'user/leo', 'workout', gen_random_uuid(), 1, 5, false, '{}', 2, 'applied',
            'phone', 0, gen_random_uuid(), now(), now(), now()
        )";
    sql.batch_execute(leo).await.expect("leo");
    for (function, leaks_to_anybody) in [
        (String::new(), false),
        (measuring_without_its_scope(), true),
    ] {
        for (role, leaks) in [
            ("ironflow_sync_service", false),
            ("current_user", leaks_to_anybody),
        ] {
            begin_as(&sql, role, &function).await;
            let confine = "set local ironflow.scope = 'user/mia'";
            sql.batch_execute(confine).await.expect("confines");
            let measure = "select head, last from measure_page(
                '{user/mia}', '{0}', '{999}', '{0}', '{false}', null, null, '{}', '{}', 9, 9, 9)";
            let row = sql.query_one(measure, &[]).await.expect("a lane");
            let seen: (i64, Option<i64>) = (row.get(0), row.get(1));
            assert_eq!(
                seen,
                if leaks { (999, Some(5)) } else { (0, None) },
                "{role}"
            );
            sql.batch_execute("rollback").await.expect("ends");
        }
    }
}

#[tokio::test]
async fn the_function_that_looks_for_news_sees_one_scope_after_the_other_and_nothing_else() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let leo = "insert into scopes (scope, revision, entities) values ('user/leo', 999, 9);
        insert into devices (scope, device_id, pending_count, first_seen_at, last_seen_at, revoked_at)
            values ('user/leo', 'phone', 0, '2023-01-01', '2023-01-01', '2023-01-01');
        insert into accounts values ('user/leo', 'premium', null, now());
        insert into erasures (scope_digest, revision, erased_at) values (sha256('user/leo'), 999, now())";
    sql.batch_execute(leo).await.expect("leo");
    let nothing = (0, false, None, false);
    let all = (999, true, Some("premium".to_owned()), true);
    for (function, leaks_to_anybody) in
        [(String::new(), false), (looking_without_its_scope(), true)]
    {
        for (role, leaks) in [
            ("ironflow_sync_service", false),
            ("current_user", leaks_to_anybody),
        ] {
            begin_as(&sql, role, &function).await;
            let look = "select own_revision, revoked_at is not null, plan, erased
                from look_for_news('{user/mia,user/leo,user/zoe}', '{phone,phone,phone}')";
            let rows = sql.query(look, &[]).await.expect("news");
            let seen: Vec<(i64, bool, Option<String>, bool)> = rows
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
                .collect();
            let others = if leaks { &all } else { &nothing };
            assert_eq!(
                seen,
                [others.clone(), all.clone(), others.clone()],
                "{role}"
            );
            sql.batch_execute("rollback").await.expect("ends");
        }
    }
}

#[tokio::test]
async fn without_a_scope_the_service_sees_the_library_alone_and_may_nothing_else() {
    let (_service, sql) = world().await;
    for confine in ["", "set local ironflow.scope = ''"] {
        let begin = format!("begin; set local role ironflow_sync_service; {confine}");
        sql.batch_execute(&begin).await.expect("begins");
        for (table, expected) in [
            ("scopes", 1),
            ("entities", 1),
            ("entity_versions", 0),
            ("devices", 0),
        ] {
            let count = format!("select count(*) from {table}");
            let seen: i64 = sql.query_one(&count, &[]).await.expect("a count").get(0);
            assert_eq!(seen, expected, "{table}");
        }
        sql.batch_execute("rollback").await.expect("ends");
    }
    for forbidden in [
        "drop table entities",
        "alter table entities disable row level security",
        "create table mine ()",
        "truncate entities",
        "delete from erasures",
        "update erasures set revision = 9",
        "update service_state set epoch = gen_random_uuid()",
        "insert into schema_migrations values ('x', '', now())",
        "select * from changes",
    ] {
        for role in ["ironflow_sync_service", "ironflow_sync_keeper"] {
            let confine = format!("begin; set local role {role}");
            sql.batch_execute(&confine).await.expect("begins");
            let refused = sql.batch_execute(forbidden).await.expect_err(forbidden);
            let code = refused.code().map(|code| code.code().to_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {forbidden}");
            sql.batch_execute("rollback").await.expect("ends");
        }
    }
    for table in ["scopes", "entities", "entity_versions", "devices"] {
        let delete = format!("delete from {table}");
        sql.batch_execute("begin; set local role ironflow_sync_service")
            .await
            .expect("begins");
        assert_eq!(sql.execute(&delete, &[]).await.expect("no rows"), 0);
        sql.batch_execute("rollback; begin; set local role ironflow_sync_keeper")
            .await
            .expect("begins");
        sql.batch_execute(&delete).await.expect_err("never its");
        sql.batch_execute("rollback").await.expect("ends");
    }
    sql.batch_execute("begin; set local role ironflow_sync_service")
        .await
        .expect("begins");
    sql.batch_execute("select cursor_key from service_state")
        .await
        .expect_err("what signs cursors is the keeper's");
    sql.batch_execute("rollback").await.expect("ends");
    for data in [
        "select data from entities",
        "select label from devices",
        "select * from conflicts",
    ] {
        sql.batch_execute("begin; set local role ironflow_sync_keeper")
            .await
            .expect("begins");
        sql.batch_execute(data)
            .await
            .expect_err("the keeper reads no data");
        sql.batch_execute("rollback").await.expect("ends");
    }
}

#[tokio::test]
async fn every_table_with_a_scope_is_behind_the_wall_also_for_its_owner() {
    let (service, sql) = world().await;
    let open = "select relname::text from pg_class
        join pg_attribute on attrelid = pg_class.oid and attname in ('scope', 'scope_digest')
        where relkind = 'r' and relnamespace = 'public'::regnamespace
            and not (relrowsecurity and relforcerowsecurity)";
    let open = sql.query(open, &[]).await.expect("a catalog");
    let open: Vec<String> = open.iter().map(|row| row.get(0)).collect();
    assert!(open.is_empty(), "{open:?}");
    let bypass = "select count(*) from pg_roles
        where rolname like 'ironflow_sync_%' and (rolsuper or rolbypassrls or rolcanlogin or rolcreaterole)";
    let bypass: i64 = sql.query_one(bypass, &[]).await.expect("a catalog").get(0);
    assert_eq!(bypass, 0);
    let owns = "select count(*) from pg_class join pg_roles on relowner = pg_roles.oid
        where rolname like 'ironflow_sync_%'";
    let owns: i64 = sql.query_one(owns, &[]).await.expect("a catalog").get(0);
    assert_eq!(owns, 0);
    drop(service);
}

#[tokio::test]
async fn every_statement_is_tried_without_its_scope() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sql");
    let known: BTreeSet<&str> = NOT_OF_A_SCOPE
        .into_iter()
        .chain(SEEKING.map(|(name, _)| name))
        .chain(INSERTS.map(|(name, _)| name))
        .collect();
    let files = fs::read_dir(folder).expect("the statements");
    let names: BTreeSet<String> = files
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, known);
}

#[tokio::test]
async fn a_pooled_connection_carries_nothing_over_also_from_a_caller_that_stopped_waiting() {
    let (service, sql) = world().await;
    let store = service.database.store_with(1);
    let [mia, leo] = ["mia", "leo"].map(|user| Scope::of(&UserId::new(user).expect("an id")));
    let devices = async |scope: &Scope| -> Vec<String> {
        let known = store.read_devices(scope, 9).await.expect("devices");
        let mut ids: Vec<String> = known
            .iter()
            .map(|device| device.device.as_str().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(devices(&mia).await, ["mia-phone", "mia-tablet"]);
    let backends = "select pid, state from pg_stat_activity
        where datname = current_database() and application_name = 'ironflow-sync'
        order by pid";
    let backend = async || -> Vec<i32> {
        let rows = sql.query(backends, &[]).await.expect("activity");
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = backend().await;
    // The first poll sends the question; nobody waits for the answer.
    for _ in 0..20 {
        let asked = store.read_devices(&mia, 9).now_or_never();
        assert!(asked.is_none(), "the answer takes a while");
        assert_eq!(devices(&leo).await, ["leo-phone", "leo-tablet"]);
    }
    assert_eq!(
        backend().await,
        before,
        "the connection was clean enough to be kept"
    );
    // What only the login itself may do: no role was left behind either.
    store.new_epoch().await.expect("as the login");
    assert_eq!(devices(&leo).await, ["leo-phone", "leo-tablet"]);
    // A transaction that failed is not kept.
    sql.batch_execute("alter table devices rename column label to name")
        .await
        .expect("renamed");
    store
        .read_devices(&mia, 9)
        .await
        .expect_err("no such column");
    sql.batch_execute("alter table devices rename column name to label")
        .await
        .expect("renamed");
    assert_eq!(devices(&leo).await, ["leo-phone", "leo-tablet"]);
    drop(service);
}

#[tokio::test]
async fn the_service_is_behind_the_wall_also_where_its_login_could_look_over_it() {
    let (service, sql) = world().await;
    let store = service.database.store();
    let mia = Scope::of(&UserId::new("mia").expect("an id"));
    let mut phone = service.device("mia", "mia-phone").await;
    let superuser = "select rolsuper from pg_roles where rolname = session_user";
    let superuser: bool = sql.query_one(superuser, &[]).await.expect("a login").get(0);
    assert!(superuser, "as the private Postgres has it");

    let seen = async || store.read_devices(&mia, 9).await.expect("devices").len();
    let heard = async || {
        let revisions = store.read_revisions(std::slice::from_ref(&mia)).await;
        revisions.expect("revisions").len()
    };
    assert_eq!((seen().await, heard().await), (2, 1));
    applied(&mut phone, put(Uuid::new_v4(), 0, &json!({}))).await;

    // Only who climbs over the wall still sees anything.
    for table in ["scopes", "devices"] {
        let close = format!("create policy closed on {table} as restrictive using (false)");
        sql.batch_execute(&close).await.expect("closed");
    }
    assert_eq!((seen().await, heard().await), (0, 0));
    let request = SyncRequest {
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..phone.request()
    };
    let refused = phone.send(request).await.expect_err("its scope is closed");
    assert_eq!(refused.code(), Code::Internal, "{refused}");
}
