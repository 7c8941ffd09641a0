//! Pulls of devices that have missed nothing: those that wait are asked for together, and each gets what a page of its
//! own would have told it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::standing::{BatchNumber, Gate, Source, SubscriptionState};
use ironflow_sync::domain::version::Revision;
use ironflow_sync::error::{CallError, Refusal};
use ironflow_sync::metrics::Metrics;
use ironflow_sync::places::Places;
use ironflow_sync::presence::Presence;
use ironflow_sync::pull::{Page, Pull, PullRequest};
use ironflow_sync::store::Store;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::grpc::eventually;
use crate::support::{TestDatabase, WireCount};

const NOW: Millis = Millis(1_700_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

type Pulling = Pin<Box<dyn Future<Output = Result<Page, CallError>>>>;

fn pull_over(store: Store) -> Pull {
    let catalog = Arc::new(Catalog::builtin());
    let metrics = Metrics::new(&catalog);
    let places = Places::new(4, 4, PATIENCE);
    let (presence, tasks) = (Presence::new(100), TaskTracker::new());
    Pull::new(store, catalog, presence, places, metrics, tasks)
}

fn scope(user: &str) -> Scope {
    Scope::of(&UserId::new(user).expect("a user"))
}

fn request(user: &str, cursor: &str) -> PullRequest {
    PullRequest {
        scope: scope(user),
        device: DeviceId::new("phone").expect("a device"),
        cursor: cursor.to_owned(),
        types: Vec::new(),
        page_size: 10,
        include_own: false,
        schema: 0,
        batches: None,
        export: false,
        gate: Gate::default(),
    }
}

/// Users with a scope and a device, as they would be after so many changes.
async fn users(sql: &Client, users: &[(&str, i64)]) {
    for (user, revision) in users {
        let insert = format!(
            "insert into scopes (scope, revision, entities, open_conflicts)
                 values ('user/{user}', {revision}, {revision}, {revision} % 3);
             insert into devices (scope, device_id, pending_count, first_seen_at, last_seen_at)
                 values ('user/{user}', 'phone', 0, '2023-01-01', '2023-01-01')"
        );
        sql.batch_execute(&insert).await.expect("a user");
    }
}

/// What a device that has seen all pulls, and the same from a page.
async fn told(pull: &Pull, request: PullRequest) -> Result<Page, Refusal> {
    let refusal = |error| match error {
        CallError::Refused(refusal) => refusal,
        CallError::Failed(fault) => panic!("{fault}"),
    };
    let unchanged = pull.unchanged(&request, NOW).await.map_err(refusal);
    let paged = pull.page(&request, NOW).await.map_err(refusal);
    let known = |page: Page| {
        assert!(page.entities.is_empty() && !page.has_more && page.inbox.is_none());
        let Page {
            cursor,
            remaining,
            reached,
            open_conflicts,
            subscription,
            ..
        } = page;
        (cursor, remaining, reached, open_conflicts, subscription)
    };
    let from_page = paged.map(known);
    let shortly = unchanged.map(|page| known(page.expect("nothing is new")));
    assert_eq!(shortly, from_page);
    pull.run(&request, NOW).await.map_err(refusal)
}

#[tokio::test]
async fn who_has_seen_all_is_told_what_a_page_would_tell() {
    let database = TestDatabase::new().await;
    let (sql, pull) = (database.client().await, pull_over(database.store()));
    users(&sql, &[("mia", 7), ("leo", 3)]).await;
    let stranger = "Mia-7'\\;ü🏋";
    for user in ["mia", "leo", stranger] {
        let first = pull.run(&request(user, ""), NOW).await.expect("a page");
        let page = told(&pull, request(user, &first.cursor)).await;
        let page = page.expect("not refused");
        assert_eq!(page.cursor, first.cursor);
        assert_eq!(page.subscription, SubscriptionState::NotRequired);
        let expected = match user {
            "mia" => (7, 1),
            "leo" => (3, 0),
            _ => (0, 0),
        };
        let reached = (page.reached[1].number(), page.open_conflicts);
        assert_eq!(reached, expected, "{user}");
    }
}

#[tokio::test]
async fn who_may_not_read_is_refused_although_nothing_is_new() {
    let database = TestDatabase::new().await;
    let (sql, pull) = (database.client().await, pull_over(database.store()));
    users(&sql, &[("mia", 7), ("leo", 3)]).await;
    let mut cursors = Vec::new();
    for user in ["mia", "leo"] {
        let page = pull.run(&request(user, ""), NOW).await.expect("a page");
        cursors.push(page.cursor);
    }
    let paid = Gate {
        source: Source::Account,
        upgrade_url: None,
    };
    let behind = BatchNumber::new(4);
    let ask = |batches, gate: &Gate| PullRequest {
        batches,
        gate: gate.clone(),
        ..request("mia", &cursors[0])
    };
    let free = Gate::default();
    let expired = Refusal::SubscriptionRequired {
        expired_at: Some(Millis(1_640_995_200_000)),
        upgrade_url: None,
    };
    for (state, asked, expected) in [
        ("select", ask(behind, &free), None),
        (
            "insert into accounts values ('user/mia', 'premium', '2022-01-01', now())",
            ask(behind, &paid),
            Some(expired),
        ),
        (
            "update devices set batch_number = 5, batch_digest = gen_random_uuid() where scope = 'user/mia'",
            ask(behind, &free),
            Some(Refusal::DeviceIdReused),
        ),
        (
            "update devices set revoked_at = now() where scope = 'user/mia'",
            ask(None, &free),
            Some(Refusal::DeviceRevoked),
        ),
        (
            "insert into erasures (scope_digest, revision, erased_at)
                values (sha256('user/mia'), 7, now())",
            ask(None, &free),
            Some(Refusal::AccountDeleted),
        ),
    ] {
        sql.batch_execute(state).await.expect("a state");
        assert_eq!(told(&pull, asked).await.err(), expected, "{state}");
        // It is nobody else's.
        told(&pull, request("leo", &cursors[1]))
            .await
            .expect("a page");
    }
}

#[tokio::test]
async fn what_is_new_or_from_before_a_restore_needs_a_page() {
    let database = TestDatabase::new().await;
    let (sql, pull) = (database.client().await, pull_over(database.store()));
    users(&sql, &[("mia", 7)]).await;
    let first = pull.run(&request("mia", ""), NOW).await.expect("a page");
    let asked = request("mia", &first.cursor);
    for (state, expected) in [
        (
            "update scopes set revision = revision + 1 where scope = 'user/mia'",
            Ok([0, 8]),
        ),
        (
            "update scopes set revision = 7 where scope = 'user/mia';
             insert into scopes (scope, revision) values ('library', 1)
                on conflict (scope) do update set revision = 1",
            Ok([1, 7]),
        ),
        (
            "update scopes set revision = 0 where scope = 'library';
             update scopes set revision = 6, entities = 6 where scope = 'user/mia'",
            Err(Refusal::CursorReset),
        ),
        (
            "update scopes set revision = 7 where scope = 'user/mia';
             update service_state set epoch = gen_random_uuid()",
            Err(Refusal::CursorReset),
        ),
    ] {
        sql.batch_execute(state).await.expect("a state");
        let shortly = pull.unchanged(&asked, NOW).await.expect("not refused");
        assert!(shortly.is_none(), "{state}");
        let paged = pull.run(&asked, NOW).await;
        let reached = paged.map(|page| page.reached.map(Revision::number));
        let reached = reached.map_err(|error| match error {
            CallError::Refused(refusal) => refusal,
            CallError::Failed(fault) => panic!("{fault}"),
        });
        assert_eq!(reached, expected, "{state}");
    }
    // Nor is it short for an app with another schema, or for one that reads back everything.
    for asked in [
        PullRequest {
            schema: 1,
            ..asked.clone()
        },
        request("mia", ""),
    ] {
        let shortly = pull.unchanged(&asked, NOW).await;
        assert!(!matches!(shortly, Ok(Some(_))), "{asked:?}");
    }
}

#[tokio::test]
async fn those_who_come_while_others_are_asked_for_are_asked_for_together() {
    let database = TestDatabase::new().await;
    let (mut sql, watching) = (database.client().await, database.client().await);
    let wire = WireCount::before(&database.config()).await;
    let pull = pull_over(Store::new(wire.config(), 4).expect("a pool"));
    let named: Vec<(String, i64)> = (1..=40).map(|n| (Uuid::new_v4().to_string(), n)).collect();
    let known: Vec<(&str, i64)> = named.iter().map(|(user, n)| (user.as_str(), *n)).collect();
    users(&sql, &known).await;
    let mut asked = Vec::new();
    for (user, _) in &known {
        let first = pull.run(&request(user, ""), NOW).await.expect("a page");
        asked.push(request(user, &first.cursor));
    }
    // So that both that ask have a connection that knows the statement.
    join_all(asked.iter().map(|asked| pull.run(asked, NOW))).await;

    // Two ask at a time. Both wait for somebody, and the others for them.
    let held = sql.transaction().await.expect("a transaction");
    let lock = "lock table accounts in access exclusive mode";
    held.batch_execute(lock).await.expect("a lock");
    wire.take();
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let mut begun: Vec<Pulling> = Vec::new();
    for (at, asked) in asked.into_iter().enumerate() {
        let pull = pull.clone();
        let mut pulling: Pulling = Box::pin(async move { pull.run(&asked, NOW).await });
        assert!((&mut pulling).now_or_never().is_none(), "it waits");
        begun.push(pulling);
        if at < 2 {
            eventually("it waits for the lock", async || {
                let row = watching.query_one(waits, &[]).await.expect("activity");
                row.get::<_, i64>(0) == at as i64 + 1
            })
            .await;
        }
    }
    // Who hangs up is not asked for, and in nobody's way.
    drop(begun.pop());
    held.rollback().await.expect("the lock is free");
    for ((user, revision), pulling) in known.iter().zip(begun) {
        let page = pulling.await.expect("a page");
        assert_eq!(page.reached[1].number(), *revision, "{user}");
    }
    // Begin, the question, commit.
    assert_eq!(wire.take(), 3 * 3);
}

#[tokio::test]
async fn the_next_page_of_a_first_sync_is_read_without_asking() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    users(&sql, &[("mia", 9)]).await;
    let insert = "insert into entities (
            scope, entity_type, entity_id, version, revision, deleted, data, data_bytes, resolution,
            device_id, foreign_version, mutation_id, edit_time, created_at, updated_at
        )
        select
            'user/mia', 'workout', gen_random_uuid(), 1, revision, false, '{}', 2, 'applied',
            'tablet', 0, gen_random_uuid(), now(), now(), now()
        from generate_series(1, 9) as revision";
    sql.batch_execute(insert).await.expect("entities");
    let wire = WireCount::before(&database.config()).await;
    let pull = pull_over(Store::new(wire.config(), 1).expect("a pool"));
    let mut asked = PullRequest {
        page_size: 3,
        ..request("mia", "")
    };
    // So that the connection knows the statements.
    let all = pull.run(&request("mia", ""), NOW).await.expect("a page");
    let nothing = pull.run(&request("mia", &all.cursor), NOW).await;
    nothing.expect("a page");
    // Begin, the page, how the device stands, commit; and who has seen all is asked for in three.
    for expected in [(4, true), (4, true), (4, false), (3, false)] {
        wire.take();
        let page = pull.run(&asked, NOW).await.expect("a page");
        assert_eq!((wire.take(), page.has_more), expected);
        asked.cursor = page.cursor;
    }
}
