//! A corpus of hostile requests, through the real program: each gets its defined answer, nothing panics,
//! nothing leaks, nobody else notices. The corpus is `tests/data/hostile`: see its README.

mod entry;
mod expect;
mod message;
mod send;
mod stage;
mod value;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use ironflow_sync::grpc::proto::Resolution;
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::program::{Program, program};
use crate::support::service::{SECRET, UNHURRIED};
use crate::support::{TestDatabase, put};
use entry::{Entry, corpus};
use stage::CANARY;
use value::Names;

/// Entries under way at a time.
const AT_ONCE: usize = 12;

/// The corpus is at least so large.
const ENTRIES_MIN: usize = 500;

#[test]
fn the_corpus_is_large_and_its_names_are_unique() {
    let entries = corpus();
    assert!(entries.len() >= ENTRIES_MIN, "{} entries", entries.len());
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), entries.len(), "a name occurs twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_their_answers_and_nobody_else_notices() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let mut serve = program(&["--jwt-secret", SECRET]);
    serve.args(UNHURRIED);
    serve.env("DATABASE_URL", database.url());
    let service = Program::serve(serve);
    let address = service.address;

    let mut neighbours = Names::default();
    stage::prepare(
        &mut neighbours,
        "neighbour",
        address,
        &stage::neighbour(),
        CANARY,
    )
    .await;
    let before = rows_of(&sql, &stage::neighbour()).await;
    assert!(before.len() > 5, "{before:?}");

    let done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let run_all = async {
        let wrong = run(corpus(), &service, &neighbours).await;
        done.store(true, Ordering::SeqCst);
        wrong
    };
    let (wrong, ()) = tokio::join!(run_all, work(address, &done, &rounds));
    assert!(
        wrong.is_empty(),
        "{} of the corpus:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        rounds.load(Ordering::SeqCst) > 3,
        "the neighbour's calls went on"
    );
    assert_eq!(
        rows_of(&sql, &stage::neighbour()).await,
        before,
        "a neighbour's rows"
    );
    check_pool_is_clean(&sql).await;

    let (status, _, log) = service.stop();
    assert!(status.success(), "{status}");
    for word in ["panicked", "\"ERROR\"", "a push did not finish", CANARY] {
        assert!(!log.contains(word), "{word} in the log: {log}");
    }
}

/// Runs entries, each as a user of its own; what was wrong.
async fn run(entries: Vec<Entry>, service: &Program, neighbours: &Names) -> Vec<String> {
    let runs = entries
        .into_iter()
        .enumerate()
        .map(|(i, entry)| async move {
            let user = format!("hostile-{i}");
            let mut names = stage::names(&user);
            names.0.extend(neighbours.0.clone());
            if entry.prepared {
                stage::prepare(&mut names, "own", service.address, &user, "own").await;
            }
            let heard = send::send(&entry, service.address, &names).await;
            let checked = expect::check(&entry, &heard);
            checked
                .err()
                .map(|wrong| format!("{}: {wrong:.600}", entry.name))
        });
    let wrong = stream::iter(runs).buffer_unordered(AT_ONCE);
    wrong.filter_map(async |wrong| wrong).collect().await
}

/// A well-behaved user, who pushes and pulls until the others are done.
async fn work(address: std::net::SocketAddr, done: &AtomicBool, rounds: &AtomicUsize) {
    let mut phone = stage::device(address, "otto", "phone").await;
    let mut tablet = stage::device(address, "otto", "tablet").await;
    let (entity, mut version, mut cursor) = (Uuid::new_v4(), 0, String::new());
    while !done.load(Ordering::SeqCst) {
        let data = json!({"title": "Push day", "round": version});
        let answer = phone.sync_one(put(entity, version, &data)).await;
        assert_eq!(answer.resolution(), Resolution::Applied, "{answer:?}");
        version = answer.server_version;
        let (entities, next) = tablet.pull_all(tablet.page_after(&cursor)).await;
        cursor = next;
        let [seen] = entities.as_slice() else {
            panic!("one entity was written: {entities:?}");
        };
        let data_seen: Value = serde_json::from_slice(&seen.data).expect("JSON");
        assert_eq!((seen.version, data_seen), (version, data));
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// All rows of a user, each with the transaction that wrote it; of devices, when they were last seen is
/// written later.
async fn rows_of(sql: &Client, user: &str) -> Vec<String> {
    let whole = "t.xmin::text || ' ' || t::text";
    let mut rows = Vec::new();
    for (table, row) in [
        ("scopes", whole),
        ("entities", whole),
        ("entity_versions", whole),
        ("conflicts", whole),
        ("losing_sides", whole),
        ("devices", "device_id || ' ' || coalesce(label, '')"),
    ] {
        let read = format!("select {row} from {table} as t where scope = $1 order by 1");
        let found = sql.query(&read, &[&format!("user/{user}")]).await;
        let texts = found.expect("rows").into_iter().map(|row| row.get(0));
        rows.extend(texts.map(|text: String| format!("{table}: {text}")));
    }
    rows
}

/// That no connection of the service is left in a transaction.
async fn check_pool_is_clean(sql: &Client) {
    let states = "select state, count(*) from pg_stat_activity where datname = current_database() \
                  and application_name = 'ironflow-sync' group by state";
    let open = async || {
        let states = sql.query(states, &[]).await.expect("rows");
        states
            .iter()
            .any(|row| row.get::<_, Option<String>>(0).as_deref() != Some("idle"))
    };
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(40);
    while open().await {
        assert!(
            std::time::Instant::now() < patience,
            "a connection is not idle"
        );
        tokio::task::yield_now().await;
    }
}
