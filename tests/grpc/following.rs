//! A watch at the moment of a change: nobody else tells it again.

use std::sync::Arc;
use std::time::Duration;

use ironflow_sync::grpc::proto::WatchResponse;
use ironflow_sync::grpc::proto::watch_response::Event;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tonic::Streaming;
use uuid::Uuid;

use super::{PATIENCE, eventually, waiting_pushes};
use crate::support::service::QUIET;
use crate::support::{Device, TestService, put};

/// Users at once, and how often each of them tries: what lies between a first read and the wish to be woken takes
/// no time to speak of.
const USERS: u64 = 16;
const TRIES: u64 = 30;

/// The longest a push is held back behind the beginning of the watch, in microseconds.
const BEHIND_US: u64 = 20_000;

/// Watches until an entity has come.
async fn until(mut device: Device, id: Uuid) {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
    comes(&mut stream, id).await;
}

async fn comes(stream: &mut Streaming<WatchResponse>, id: Uuid) {
    loop {
        let message = stream.message().await.expect("goes on").expect("no end");
        if let Some(Event::Changes(changes)) = message.event
            && changes
                .entities
                .iter()
                .any(|e| e.entity_id == id.to_string())
        {
            return;
        }
    }
}

async fn try_often(service: Arc<TestService>, number: u64) {
    let mut rng = fastrand::Rng::with_seed(number);
    for n in 0..TRIES {
        let user = format!("user-{number}-{n}");
        let tablet = service.device(&user, "tablet").await;
        let mut phone = service.device(&user, "phone").await;
        let id = Uuid::new_v4();
        let behind = Duration::from_micros(rng.u64(..BEHIND_US));
        let push = async {
            sleep(behind).await;
            phone.sync_one(put(id, 0, &json!({}))).await
        };
        let (_, told) = tokio::join!(push, timeout(PATIENCE, until(tablet, id)));
        told.unwrap_or_else(|_| panic!("never told, pushed {behind:?} after it began"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_commits_while_a_watch_begins_arrives_without_poll_or_signal() {
    let service = Arc::new(TestService::with(&QUIET).await);
    let tries = (0..USERS).map(|number| tokio::spawn(try_often(service.clone(), number)));
    for tried in futures_util::future::join_all(tries).await {
        tried.expect("told every time");
    }
}

/// Commits wait as long as somebody holds this advisory lock.
const COMMITS_WAIT: &str = "
    create function wait_for_the_test() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
    create constraint trigger commits_wait after insert on entities deferrable initially deferred
        for each row execute function wait_for_the_test()";

#[tokio::test]
async fn a_watch_hears_of_a_batch_once_it_is_committed_and_not_before() {
    let service = TestService::with(&QUIET).await;
    let (sql, holder) = (
        service.database.client().await,
        service.database.client().await,
    );
    sql.batch_execute(COMMITS_WAIT).await.expect("a trigger");
    let mut phone = service.device("mia", "phone").await;
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let mut tablet = service.device("mia", "tablet").await;
    let request = tablet.page_after("");
    let mut stream = tablet.watch(request).await.expect("a stream");
    // It follows by now. The device of the push is known by now, so that what it sends meets nothing.
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    phone.sync_one(put(first, 0, &json!({}))).await;
    comes(&mut stream, first).await;
    let hold = "select pg_advisory_lock(4711)";
    holder.batch_execute(hold).await.expect("held");
    let pushing = tokio::spawn(async move { phone.sync_one(put(second, 0, &json!({}))).await });
    eventually("the commit waits", async || waiting_pushes(&sql).await == 1).await;
    // Whoever was told too early has read in vain by now, and nobody tells again.
    let reading = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name = 'ironflow-sync' and state <> 'idle' and wait_event_type is distinct from 'Lock'";
    eventually("nobody reads", async || {
        let row = sql.query_one(reading, &[]).await.expect("activity");
        row.get::<_, i64>(0) == 0
    })
    .await;
    let release = "select pg_advisory_unlock(4711)";
    holder.batch_execute(release).await.expect("released");
    pushing.await.expect("pushed");
    let told = timeout(PATIENCE, comes(&mut stream, second)).await;
    told.expect("never told");
}
