//! A watch at the moment of a change: nobody else tells it again.

use ironflow_sync::grpc::proto::WatchResponse;
use ironflow_sync::grpc::proto::watch_response::Event;
use serde_json::json;
use tokio::time::timeout;
use tonic::Streaming;
use uuid::Uuid;

use super::{PATIENCE, eventually, waiting_pushes};
use crate::support::service::QUIET;
use crate::support::{Device, TestService, put};

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

/// Takes and gives back the advisory lock that the tests below make others wait for.
const HOLD: &str = "select pg_advisory_lock(4711)";
const RELEASE: &str = "select pg_advisory_unlock(4711)";

/// A page that has been read waits, in its own transaction, as long as somebody holds this advisory lock: how the
/// device stands is read behind it.
const READERS_WAIT: &str = "
    create function wait_for_the_test() returns boolean language plpgsql as $$
        begin
            if current_setting('transaction_read_only') = 'on' then
                perform pg_advisory_xact_lock_shared(4711);
            end if;
            return true;
        end $$;
    create policy readers_wait on accounts as restrictive using (wait_for_the_test());
    insert into accounts (scope, plan, updated_at) values ('user/mia', 'premium', now())";

#[tokio::test]
async fn what_commits_behind_the_first_read_of_a_watch_is_told_it() {
    let service = TestService::with(&QUIET).await;
    let (sql, holder) = (
        service.database.client().await,
        service.database.client().await,
    );
    sql.batch_execute(READERS_WAIT).await.expect("a policy");
    let mut phone = service.device("mia", "phone").await;
    let tablet = service.device("mia", "tablet").await;
    holder.batch_execute(HOLD).await.expect("held");
    let id = Uuid::new_v4();
    let watching = tokio::spawn(until(tablet, id));
    eventually("its first page is read", async || {
        waiting_pushes(&sql).await == 1
    })
    .await;
    phone.sync_one(put(id, 0, &json!({}))).await;
    holder.batch_execute(RELEASE).await.expect("released");
    let told = timeout(PATIENCE, watching).await;
    told.expect("never told").expect("no panic");
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
    // It follows by now.
    let first = Uuid::new_v4();
    phone.sync_one(put(first, 0, &json!({}))).await;
    comes(&mut stream, first).await;
    holder.batch_execute(HOLD).await.expect("held");
    // Not known yet, so its batch goes the long way, on which the revision is known before the commit.
    let mut laptop = service.device("mia", "laptop").await;
    let second = Uuid::new_v4();
    let pushing = tokio::spawn(async move { laptop.sync_one(put(second, 0, &json!({}))).await });
    eventually("the commit waits", async || waiting_pushes(&sql).await == 1).await;
    // Whoever was told too early has read in vain by now, and nobody tells again.
    let reading = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name = 'ironflow-sync' and state <> 'idle' and wait_event_type is distinct from 'Lock'";
    eventually("nobody reads", async || {
        let row = sql.query_one(reading, &[]).await.expect("activity");
        row.get::<_, i64>(0) == 0
    })
    .await;
    holder.batch_execute(RELEASE).await.expect("released");
    pushing.await.expect("pushed");
    let told = timeout(PATIENCE, comes(&mut stream, second)).await;
    told.expect("never told");
}
