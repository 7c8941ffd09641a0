//! Taking everything along: an export has every row there is of its user, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use ironflow_sync::grpc::proto::export_account_response::Record;
use ironflow_sync::grpc::proto::{
    AccountCounts, Conflict, ConflictKind, ExportedDevice, ExportedLosingSide, ExportedVersion,
    LastError, Resolution, Settlement,
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tokio_postgres::Client;
use tonic::Code;
use uuid::Uuid;

use super::{PATIENCE, check_status};
use crate::support::account::live;
use crate::support::service::{token, token_until};
use crate::support::{Device, TestService, delete, put};

/// Every table with a scope, and its columns that an export leaves out, with reason.
const LEFT_OUT: [(&str, &[&str]); 7] = [
    // Its revision is in the first record; the others are counts.
    (
        "scopes",
        &["revision", "entities", "open_conflicts", "inbox_revision"],
    ),
    // What tells a copy of the device.
    ("devices", &["batch_digest"]),
    // In the first record.
    ("accounts", &["plan", "expires_at", "updated_at"]),
    // Sizes.
    ("entities", &["data_bytes"]),
    ("entity_versions", &[]),
    // Which side counts and where watchers hear of it: how the inbox works.
    ("conflicts", &["mutation_id", "revision"]),
    ("losing_sides", &["data_bytes", "content_id"]),
];

/// Rows by table, each without what is null, zero or empty, as a message leaves it out.
type Rows = BTreeMap<String, Vec<String>>;

/// A row to compare: what is nothing is left out.
fn plain(row: Value) -> String {
    said(row).to_string()
}

fn said(row: Value) -> Value {
    let Value::Object(columns) = row else {
        panic!("a row is an object: {row}")
    };
    let nothing = [json!(null), json!(0), json!(""), json!(false)];
    let said = columns.into_iter();
    let said: Map<String, Value> = said.filter(|(_, value)| !nothing.contains(value)).collect();
    Value::Object(said)
}

/// What the database has of a user, in every table that has a scope.
async fn stored(sql: &Client, user: &str) -> Rows {
    let columns = "select table_name::text, column_name::text, data_type::text
        from information_schema.columns
        join information_schema.tables using (table_schema, table_name)
        where table_schema = 'public' and table_type = 'BASE TABLE' and table_name in (
            select table_name from information_schema.columns where column_name = 'scope'
        )
        order by table_name, ordinal_position";
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in sql.query(columns, &[]).await.expect("a catalog") {
        let [table, column, kind]: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        let left_out = LEFT_OUT.iter().find(|(known, _)| *known == table);
        let (_, left_out) = left_out.unwrap_or_else(|| panic!("{table} is not exported"));
        let columns = tables.entry(table).or_default();
        if column == "scope" || left_out.contains(&column.as_str()) {
            continue;
        }
        columns.push(match kind.as_str() {
            "timestamp with time zone" => {
                format!("'{column}', floor(extract(epoch from {column}) * 1000)::bigint")
            }
            _ => format!("'{column}', {column}"),
        });
    }
    let mut rows = Rows::new();
    for (table, columns) in tables {
        if ["scopes", "accounts"].contains(&table.as_str()) {
            continue;
        }
        let columns = columns.join(", ");
        let read =
            format!("select jsonb_build_object({columns})::text from {table} where scope = $1");
        let found = sql.query(&read, &[&format!("user/{user}")]).await;
        let found = found.expect("rows");
        let mut found: Vec<String> = found
            .iter()
            .map(|row| plain(serde_json::from_str(row.get(0)).expect("JSON")))
            .collect();
        found.sort();
        rows.insert(table, found);
    }
    rows
}

fn data(bytes: &[u8]) -> Value {
    match bytes {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).expect("JSON"),
    }
}

fn resolution(number: i32) -> &'static str {
    match Resolution::try_from(number).expect("known") {
        Resolution::Applied => "applied",
        Resolution::ClientWon => "client_won",
        Resolution::Resurrected => "resurrected",
        Resolution::Merged => "merged",
        other => panic!("no version is {other:?}"),
    }
}

fn settlement(number: i32) -> &'static str {
    match Settlement::try_from(number).expect("known") {
        Settlement::Unspecified => "",
        Settlement::ServerWon => "server_won",
        Settlement::Merged => "merged",
        Settlement::Pushed => "pushed",
        Settlement::KeepServer => "keep_server",
        Settlement::KeepClient => "keep_client",
        Settlement::UseData => "use_data",
        Settlement::KeepBoth => "keep_both",
    }
}

fn of_device(d: &ExportedDevice) -> Value {
    json!({
        "device_id": d.device_id, "label": d.label, "platform": d.platform, "app_version": d.app_version,
        "pending_count": d.pending_count, "first_seen_at": d.first_seen_time,
        "last_seen_at": d.last_seen_time, "pulled_revision": d.pulled_revision, "revoked_at": d.revoked_time, "batch_number": d.batch_number,
        "last_errors": d.last_errors.iter().map(of_error).collect::<Vec<_>>(),
    })
}

fn of_error(e: &LastError) -> Value {
    said(json!({
        "code": e.code, "message": e.message, "count": e.count, "first_time": e.first_time, "last_time": e.last_time,
        "entity_type": e.entity_type, "entity_id": e.entity_id,
    }))
}

fn of_version(v: &ExportedVersion) -> Value {
    json!({
        "entity_type": v.entity_type, "entity_id": v.entity_id, "version": v.version,
        "revision": v.revision, "deleted": v.deleted, "data": data(&v.data), "device_id": v.device_id,
        "edit_time": v.edit_time, "created_at": v.created_at, "updated_at": v.updated_at,
        "mutation_id": v.mutation_id, "resolution": resolution(v.resolution), "cause": v.cause,
        "rule": v.rule, "policy": v.policy, "base_version": v.base_version,
        "foreign_version": v.foreign_version, "clock_offset_ms": v.clock_offset_ms,
        "began_at": v.began_at,
    })
}

fn of_side(s: &ExportedLosingSide) -> Value {
    json!({
        "entity_type": s.entity_type, "entity_id": s.entity_id, "mutation_id": s.mutation_id,
        "conflict_id": s.conflict_id, "device_id": s.device_id, "base_version": s.base_version,
        "server_version": s.server_version, "deleted": s.deleted, "data": data(&s.data),
        "edit_time": s.edit_time, "received_at": s.received_at,
    })
}

fn of_conflict(c: &Conflict) -> Value {
    let kind = match c.kind() {
        ConflictKind::Edit => "edit",
        ConflictKind::Duplicate => "duplicate",
        ConflictKind::Unspecified => panic!("never sent"),
    };
    json!({
        "conflict_id": c.conflict_id, "kind": kind, "entity_type": c.entity_type,
        "entity_id": c.entity_id, "other_id": c.possible_duplicate_of, "device_id": c.device_id,
        "base_version": c.base_version, "server_version": c.server_version, "rule": c.rule,
        "policy": c.policy, "asked": c.asked, "open": c.open, "opened_at": c.opened_at,
        "settlement": settlement(c.settlement), "settled_by": c.settled_by_device_id,
        "settled_at": c.settled_at, "settled_version": c.settled_version,
    })
}

/// An export as rows, once its first and last records are what they have to be.
fn exported(records: &[Record], user: &str) -> Rows {
    let mut rows = Rows::new();
    for table in [
        "devices",
        "entities",
        "entity_versions",
        "conflicts",
        "losing_sides",
    ] {
        rows.insert(table.to_owned(), Vec::new());
    }
    let mut add = |table: &str, row: Value| {
        let table = rows.get_mut(table).expect("a table");
        table.push(plain(row));
    };
    for (place, record) in records.iter().enumerate() {
        match record {
            Record::Account(account) => {
                assert_eq!((place, account.user_id.as_str()), (0, user));
            }
            Record::Device(device) => add("devices", of_device(device)),
            Record::Entity(entity) => add("entities", of_version(entity)),
            Record::OldVersion(old) => add("entity_versions", of_version(old)),
            Record::LosingSide(side) => add("losing_sides", of_side(side)),
            Record::Conflict(conflict) => add("conflicts", of_conflict(conflict)),
            Record::Done(_) => assert_eq!(place, records.len() - 1, "the last"),
        }
    }
    for rows in rows.values_mut() {
        rows.sort();
    }
    let Some(Record::Done(done)) = records.last() else {
        panic!("cut short: {:?}", records.last())
    };
    assert_eq!(done.counts, Some(counts(&rows)), "what was sent");
    rows
}

fn counts(rows: &Rows) -> AccountCounts {
    let count = |table: &str| rows[table].len() as i64;
    AccountCounts {
        devices: count("devices"),
        entities: count("entities"),
        old_versions: count("entity_versions"),
        losing_sides: count("losing_sides"),
        conflicts: count("conflicts"),
    }
}

#[tokio::test]
async fn an_export_has_every_row_of_its_user_and_no_other() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let [mut phone, _tablet] = live(&service, "mia").await;
    live(&service, "leo").await;
    let pay = "insert into accounts values ('user/mia', 'premium', null, now())";
    sql.batch_execute(pay).await.expect("paid");
    let told = r#"[
        {"code": "TOO_LARGE", "message": "data: expected less", "count": 3, "first_time": 1, "last_time": 7,
         "entity_type": "workout", "entity_id": "6f1c5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10"},
        {"code": "CURSOR_RESET", "message": "cursor: start again", "count": 1, "first_time": 5, "last_time": 5}]"#;
    let tell = "update devices set last_errors = $1::text::jsonb where scope = 'user/mia' and device_id = 'phone'";
    assert_eq!(sql.execute(tell, &[&told]).await.expect("told"), 1);
    let revision: i64 = sql
        .query_one("select revision from scopes where scope = 'user/mia'", &[])
        .await
        .expect("a row")
        .get(0);
    let records = phone.export_all().await;
    let expected = stored(&sql, "mia").await;
    assert_eq!(exported(&records, "mia"), expected);
    let Record::Account(account) = &records[0] else {
        panic!("{:?}", records[0])
    };
    assert_eq!(account.revision, revision);
    assert!(account.subscribed && account.subscription_expiry_time == 0);
    assert_eq!(account.counts, Some(counts(&expected)));
    for (table, rows) in &expected {
        assert!(!rows.is_empty(), "nothing to export in {table}");
    }
}

#[tokio::test]
async fn pages_of_an_export_meet_without_a_gap_or_a_double() {
    let service = TestService::with(&["--account-devices-max", "10000"]).await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    // More rows than a page has, of which some have a history, and more bytes than a page has.
    for batch in 0..10 {
        let large = "x".repeat(if batch == 0 { 4_000 } else { 10 });
        let mut ids: Vec<Uuid> = (0..500).map(|_| Uuid::new_v4()).collect();
        let new = |id: &Uuid| put(*id, 0, &json!({"notes": large}));
        phone.sync(ids.iter().map(new).collect()).await;
        ids.truncate(60);
        let edit = |id: &Uuid| put(*id, 1, &json!({"notes": large, "edited": true}));
        phone.sync(ids.iter().map(edit).collect()).await;
        let late = |id: &Uuid| put(*id, 1, &json!({"notes": large, "late": true}));
        tablet.sync(ids.iter().map(late).collect()).await;
        tablet
            .sync(ids.iter().take(20).map(|id| delete(*id, 2)).collect())
            .await;
    }
    let client = service.client().await;
    for n in 0..600 {
        let mut device = Device::new(client.clone(), token("mia"), &format!("device-{n:03}"));
        device.sync(Vec::new()).await;
    }
    let records = phone.export_all().await;
    let expected = stored(&sql, "mia").await;
    let counted = counts(&expected);
    assert_eq!(counted.entities, 5_000);
    assert!(counted.old_versions > 500 && counted.losing_sides > 500);
    assert!(counted.conflicts > 500);
    let exported = exported(&records, "mia");
    for (table, rows) in &expected {
        // Not assert_eq: nobody reads thousands of rows.
        assert_eq!(exported[table].len(), rows.len(), "{table}");
        assert!(exported[table] == *rows, "{table}");
    }
}

#[tokio::test]
async fn an_export_of_nobody_says_so_and_ends() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let records = phone.export_all().await;
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(counts(&exported(&records, "mia")), AccountCounts::default());
}

#[tokio::test]
async fn an_export_ends_with_its_token_and_with_the_service() {
    let mut service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    // More than the windows of a stream hold, so that the rest is asked for later.
    for _ in 0..40 {
        let notes = "x".repeat(200_000);
        phone
            .sync_one(put(Uuid::new_v4(), 0, &json!({"notes": notes})))
            .await;
    }
    let valid = Duration::from_secs(2);
    let mut expiring = Device::new(service.client().await, token_until("mia", valid), "phone");
    let streams = [
        (
            expiring.export().await,
            Code::Unauthenticated,
            "TOKEN_EXPIRED",
        ),
        (phone.export().await, Code::Unavailable, "SHUTTING_DOWN"),
    ];
    for (stream, code, reason) in streams {
        let mut stream = stream.expect("a stream");
        let first = stream.message().await.expect("no error");
        assert!(first.is_some());
        match reason {
            // A reader that takes its time: the server has sent what the windows hold, and waits.
            "TOKEN_EXPIRED" => tokio::time::sleep(valid + Duration::from_secs(1)).await,
            _ => service.begin_stop(),
        }
        let end = timeout(PATIENCE, async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => (),
                    Ok(None) => panic!("it came to its end"),
                    Err(status) => return status,
                }
            }
        });
        let status = end.await.expect("an end");
        check_status(reason, &status, code, reason);
    }
}
