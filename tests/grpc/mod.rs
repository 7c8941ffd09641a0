//! The service as a device sees it; sections, rules and promises are those of docs/protocol.md.
//!
//! - Items: `rules`, `replays`, `groups`, `queues`, `races`, `verbatim`, `bad_input`, `wire` (the bytes of apps in
//!   the field), `catalog` (entity types).
//! - Conflicts: `policies`, `inbox`, `duplicates`. What was before: `history`, `retention`.
//! - Reading along: `pull`, `watch`, `following`, `convergence`.
//! - Devices and accounts: `devices`, `clones`, `counted`, `revocation`, `subscriptions`, `account`, `erasure`,
//!   `isolation`.
//! - Limits: `limits`, `admission`, `quotas`, `floods`, `bad_calls`.
//! - What breaks: `faults`, `sessions`, `outage`. What stands around the calls: `service`, `shutdown`, `ageing`.

mod account;
mod admission;
mod ageing;
mod bad_calls;
mod bad_input;
mod catalog;
mod clones;
mod convergence;
mod counted;
mod devices;
mod duplicates;
mod erasure;
mod faults;
mod floods;
mod following;
mod groups;
mod history;
mod inbox;
mod isolation;
mod limits;
mod outage;
mod policies;
mod pull;
mod queues;
mod quotas;
mod races;
mod replays;
mod retention;
mod revocation;
mod rules;
mod service;
mod sessions;
mod shutdown;
mod subscriptions;
mod verbatim;
mod watch;
mod wire;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio_postgres::Client;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::TestService;

/// More than anything that is waited for takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(40);

/// The clock.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.expect("after 1970").as_millis() as i64
}

/// All versions the store holds of an entity, oldest first, with their data (`None`: a tombstone).
async fn versions(sql: &Client, entity_id: Uuid) -> Vec<(i32, Option<Value>)> {
    let read = "select version, data::text from entities where entity_id = $1 \
                union all \
                select version, data::text from entity_versions where entity_id = $1 \
                order by version";
    let rows = sql.query(read, &[&entity_id]).await.expect("versions");
    rows.iter()
        .map(|row| {
            let data: Option<String> = row.get(1);
            let data = data.map(|text| serde_json::from_str(&text).expect("JSON"));
            (row.get(0), data)
        })
        .collect()
}

/// A number the database is asked for.
async fn count(sql: &Client, query: &str) -> i64 {
    sql.query_one(query, &[]).await.expect("a row").get(0)
}

/// Watches a condition until it holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What every failed call must be: the code, an ErrorInfo of ours with the reason, and a text that
/// gives nothing away (section 7).
fn check_status(name: &str, status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{name}: {status:?}");
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("{name}: no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "ironflow.sync.v1", "{name}");
    assert_eq!(info.reason, reason, "{name}");
    let message = status.message().to_lowercase();
    assert!(!message.is_empty(), "{name}");
    for secret in [
        "select",
        "insert",
        "postgres",
        "sqlstate",
        "57p0",
        "127.0.0.1",
        "/tmp",
        "secret",
        "eyj",
        "relation",
        "panicked",
        "user/",
    ] {
        assert!(!message.contains(secret), "{name}: {message}");
    }
}

/// That a call was refused because the store is out of reach, with when to come back.
fn check_unavailable(name: &str, refused: &Status) {
    check_status(name, refused, Code::Unavailable, "STORE_UNAVAILABLE");
    let retry = refused.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some(), "{name}");
}

/// The lock of a user's scope, held as a push that takes its time would.
struct HeldScope(Client);

impl HeldScope {
    /// Takes the lock; the user has pushed before.
    async fn of(service: &TestService, user: &str) -> Self {
        let client = service.database.client().await;
        client.batch_execute("begin").await.expect("begun");
        let lock = "select from scopes where scope = $1 for no key update";
        let locked = client.execute(lock, &[&format!("user/{user}")]).await;
        assert_eq!(locked.expect("locked"), 1, "{user} has a scope");
        Self(client)
    }

    async fn release(self) {
        self.0.batch_execute("rollback").await.expect("released");
    }
}

/// How many pushes wait for the lock of their scope.
async fn waiting_pushes(sql: &Client) -> i64 {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() \
                   and application_name = 'ironflow-sync' and wait_event_type = 'Lock'";
    count(sql, waiting).await
}

/// What a call refused for its fields must name.
fn check_field(name: &str, status: &Status, field: &str) {
    check_status(name, status, Code::InvalidArgument, "INVALID_REQUEST");
    let bad = status.get_details_bad_request();
    let bad = bad.unwrap_or_else(|| panic!("{name}: no BadRequest in {status:?}"));
    let fields: Vec<&str> = bad
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, [field], "{name}");
}
