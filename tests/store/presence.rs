//! Writing who was here, for many users in one transaction, beside those that push.

use std::time::Duration;

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::version::Revision;
use ironflow_sync::presence::Presence;
use ironflow_sync::store::device::{LastError, Seen};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::support::TestDatabase;

/// Longer than Postgres takes to find a deadlock.
const PATIENCE: Duration = Duration::from_secs(20);

fn scope(user: &str) -> Scope {
    Scope::of(&UserId::new(user).expect("a user"))
}

fn phone() -> DeviceId {
    DeviceId::new("phone").expect("a device")
}

async fn pulled(sql: &Client) -> Vec<(String, i64)> {
    let select = "select scope, pulled_revision from devices order by scope";
    let rows = sql.query(select, &[]).await.expect("devices");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A transaction that writes devices of several users, as pushes that are written together do, would otherwise wait
/// for this one while this one waits for it.
#[tokio::test]
async fn a_device_that_somebody_else_is_writing_is_passed_over_and_written_the_next_time() {
    let database = TestDatabase::new().await;
    let (store, sql) = (database.store(), database.client().await);
    let presence = Presence::new(100);
    let saw = |revision| {
        for user in ["ada", "mia", "zoe"] {
            presence.saw(Seen {
                scope: scope(user),
                device: phone(),
                at: Millis(1_700_000_000_000 + revision),
                pulled: Some(Revision::new(revision)),
            });
        }
    };
    saw(1);
    presence.write(&store).await;
    let all = |revisions: [i64; 3]| {
        let scopes = ["user/ada", "user/mia", "user/zoe"].map(str::to_owned);
        scopes.into_iter().zip(revisions).collect::<Vec<_>>()
    };
    assert_eq!(pulled(&sql).await, all([1, 1, 1]));

    let mut pushing = database.client().await;
    let pushes = pushing.transaction().await.expect("a transaction");
    let write = "update devices set pending_count = 7 where scope = $1";
    pushes.execute(write, &[&"user/mia"]).await.expect("mia's");
    saw(2);
    let error = |count| LastError {
        last_time: 5,
        first_time: 5,
        count,
        code: "TOO_LARGE".to_owned(),
        message: "data: expected less".to_owned(),
        entity_type: None,
        entity_id: None,
    };
    for user in ["mia", "zoe"] {
        presence.told(&scope(user), &phone(), [error(1), error(2)]);
    }
    let written = timeout(PATIENCE, presence.write(&store)).await;
    written.expect("it waits for nobody");
    assert_eq!(pulled(&sql).await, all([2, 1, 2]));
    pushes.execute(write, &[&"user/ada"]).await.expect("ada's");
    pushes.commit().await.expect("no deadlock");

    presence.write(&store).await;
    assert_eq!(pulled(&sql).await, all([2, 2, 2]));
    let count =
        "select (last_errors -> 0 ->> 'count')::bigint from devices where scope = 'user/zoe'";
    let count: i64 = sql.query_one(count, &[]).await.expect("a row").get(0);
    assert_eq!(count, 3);
}
