//! A watch that begins at the moment of a change: nobody else tells it again.

use std::sync::Arc;
use std::time::Duration;

use ironflow_sync::grpc::proto::watch_response::Event;
use serde_json::json;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::PATIENCE;
use crate::support::service::QUIET;
use crate::support::{Device, TestService, put};

/// Users at once, and how often each of them tries: what lies between a first read and the wish to be woken takes
/// no time to speak of.
const USERS: u64 = 16;
const TRIES: u64 = 30;

/// The longest a push is held back behind the beginning of the watch, in microseconds.
const BEHIND_US: u64 = 20_000;

async fn until(mut device: Device, id: Uuid) {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
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
