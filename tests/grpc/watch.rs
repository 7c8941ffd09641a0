//! Watching: nothing missed or doubled between catch-up and live, whatever happens to signals,
//! Postgres, the service or the reader.

use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;

use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Entity, PullRequest, WatchResponse};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, NoTls};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::support::service::token_until;
use crate::support::{Device, LocalStore, TestDatabase, TestService, adopt, put};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// No poll and no heartbeat for the length of a test: only signals wake.
const SIGNALS_ONLY: [&str; 4] = [
    "--poll-interval-ms",
    "3600000",
    "--heartbeat-interval-ms",
    "3600000",
];

/// A watch, with what it has sent.
struct Watcher {
    stream: Streaming<WatchResponse>,
    cursor: String,
    store: LocalStore,
    /// How often each version of an entity came.
    seen: HashMap<(String, i32), usize>,
}

impl Watcher {
    async fn open(device: &mut Device, cursor: &str) -> Self {
        let request = device.page_after(cursor);
        Self {
            stream: device.watch(request).await.expect("a stream"),
            cursor: cursor.to_owned(),
            store: LocalStore::new(),
            seen: HashMap::new(),
        }
    }

    /// A watch that has caught up.
    async fn caught_up(device: &mut Device, cursor: &str) -> Self {
        let mut watcher = Self::open(device, cursor).await;
        while !matches!(watcher.next().await, Event::CaughtUp(_)) {}
        watcher
    }

    async fn next(&mut self) -> Event {
        let message = timeout(PATIENCE, self.stream.message())
            .await
            .expect("an event in time");
        let event = message
            .expect("no error")
            .expect("no end")
            .event
            .expect("an event");
        match &event {
            Event::Changes(changes) => {
                self.adopt(&changes.entities);
                self.cursor.clone_from(&changes.cursor);
            }
            Event::CaughtUp(caught_up) => self.cursor.clone_from(&caught_up.cursor),
            Event::Heartbeat(heartbeat) => self.cursor.clone_from(&heartbeat.cursor),
            Event::Conflict(_) => (),
        }
        event
    }

    fn adopt(&mut self, entities: &[Entity]) {
        adopt(&mut self.store, entities);
        for entity in entities {
            *self
                .seen
                .entry((entity.entity_id.clone(), entity.version))
                .or_default() += 1;
        }
    }

    /// Follows until an entity is there.
    async fn until(&mut self, id: Uuid) {
        let key = ("workout".to_owned(), id.to_string());
        // Heartbeats may come for ever.
        let come = async {
            while !self.store.contains_key(&key) {
                self.next().await;
            }
        };
        timeout(PATIENCE, come).await.expect("it comes in time");
    }

    /// Follows until the stream ends, and returns how.
    async fn end(&mut self) -> tonic::Status {
        loop {
            match timeout(PATIENCE, self.stream.message())
                .await
                .expect("an end in time")
            {
                Ok(Some(_)) => (),
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    }
}

async fn push_one(device: &mut Device) -> Uuid {
    let id = Uuid::new_v4();
    device
        .sync_one(put(id, 0, &json!({"id": id.to_string()})))
        .await;
    id
}

#[tokio::test]
async fn a_watch_catches_up_says_so_once_and_then_follows() {
    let service = TestService::with(&SIGNALS_ONLY).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let before = push_one(&mut phone).await;
    let mut watcher = Watcher::open(&mut tablet, "").await;
    let Event::Changes(changes) = watcher.next().await else {
        panic!("what was there")
    };
    assert_eq!(changes.entities[0].entity_id, before.to_string());
    assert!(matches!(watcher.next().await, Event::CaughtUp(_)));
    for _ in 0..3 {
        let id = push_one(&mut phone).await;
        let Event::Changes(changes) = watcher.next().await else {
            panic!("a change, nothing else")
        };
        assert_eq!(changes.entities[0].entity_id, id.to_string());
    }
}

#[tokio::test]
async fn the_cursor_of_a_watch_goes_on_in_a_pull_and_the_other_way_round() {
    let service = TestService::with(&SIGNALS_ONLY).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    push_one(&mut phone).await;
    let watcher = Watcher::caught_up(&mut tablet, "").await;
    drop(watcher.stream);
    let second = push_one(&mut phone).await;
    let (entities, cursor) = tablet.pull_all(tablet.page_after(&watcher.cursor)).await;
    assert_eq!(entities[0].entity_id, second.to_string());
    assert_eq!(entities.len(), 1);
    let mut watcher = Watcher::open(&mut tablet, &cursor).await;
    assert!(
        matches!(watcher.next().await, Event::CaughtUp(_)),
        "nothing new"
    );
}

#[tokio::test]
async fn a_quiet_watch_sends_heartbeats_with_a_fresh_cursor() {
    let service = TestService::with(&["--heartbeat-interval-ms", "20"]).await;
    let mut phone = service.device("mia", "phone").await;
    let mut watcher = Watcher::caught_up(&mut phone, "").await;
    let before = watcher.cursor.clone();
    // Its own change is not shown, but the cursor moves past it.
    push_one(&mut phone).await;
    while watcher.cursor == before {
        assert!(matches!(watcher.next().await, Event::Heartbeat(_)));
    }
}

#[tokio::test]
async fn heartbeats_come_however_busy_the_device_itself_is() {
    let service = TestService::with(&["--heartbeat-interval-ms", "300"]).await;
    let mut phone = service.device("mia", "phone").await;
    let mut watcher = Watcher::caught_up(&mut phone, "").await;
    let mut pusher = phone.clone();
    let pushing = tokio::spawn(async move {
        loop {
            // Wakes the watch more often than it beats, and shows it nothing.
            push_one(&mut pusher).await;
        }
    });
    for _ in 0..3 {
        assert!(matches!(watcher.next().await, Event::Heartbeat(_)));
    }
    pushing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_or_doubled_between_catch_up_and_live() {
    const WATCHES: usize = 40;
    let service = TestService::with(&SIGNALS_ONLY).await;
    let mut phone = service.device("mia", "phone").await;
    let writer = {
        let mut phone = phone.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..150 {
                ids.push(push_one(&mut phone).await);
            }
            ids
        })
    };
    // Watches that begin in the midst of it.
    let mut watches = JoinSet::new();
    let (last, lasts) = tokio::sync::watch::channel::<Option<Uuid>>(None);
    for n in 0..WATCHES {
        let mut tablet = service.device("mia", &format!("tablet-{n}")).await;
        let mut lasts = lasts.clone();
        watches.spawn(async move {
            let mut watcher = Watcher::open(&mut tablet, "").await;
            while lasts.borrow().is_none() {
                tokio::select! {
                    _ = watcher.next() => (),
                    changed = lasts.changed() => changed.expect("a last one"),
                }
            }
            let last: Uuid = lasts.borrow().expect("is some");
            watcher.until(last).await;
            watcher
        });
    }
    let ids = writer.await.expect("no panic");
    last.send(Some(push_one(&mut phone).await))
        .expect("watched");
    for watcher in watches.join_all().await {
        assert_eq!(watcher.store.len(), ids.len() + 1);
        let doubled: Vec<_> = watcher
            .seen
            .iter()
            .filter(|(_, times)| **times > 1)
            .collect();
        assert!(doubled.is_empty(), "{doubled:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let service = TestService::with(&SIGNALS_ONLY).await;
    let token = token_until("mia", Duration::from_secs(2));
    let mut phone = Device::new(service.client().await, token, "phone");
    let mut watcher = Watcher::caught_up(&mut phone, "").await;
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(
        status
            .get_details_error_info()
            .expect("an ErrorInfo")
            .reason,
        "TOKEN_EXPIRED"
    );
}

#[tokio::test]
async fn a_stream_ends_when_the_service_does_and_is_told_when_to_come_back() {
    let mut service = TestService::with(&SIGNALS_ONLY).await;
    let mut phone = service.device("mia", "phone").await;
    let mut watcher = Watcher::caught_up(&mut phone, "").await;
    let (stopped, status) = tokio::join!(service.stop(), watcher.end());
    stopped.expect("a clean end");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status
            .get_details_error_info()
            .expect("an ErrorInfo")
            .reason,
        "SHUTTING_DOWN"
    );
    let retry = status.get_details_retry_info().expect("a RetryInfo");
    assert!(retry.retry_delay.expect("a delay") > Duration::ZERO);
}

#[tokio::test]
async fn a_bad_cursor_ends_the_stream_with_its_reason() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut watcher = Watcher::open(&mut phone, "nonsense").await;
    assert_eq!(watcher.end().await.code(), Code::InvalidArgument);
    let mut watcher = Watcher::caught_up(&mut phone, "").await;
    service
        .database
        .store()
        .new_epoch()
        .await
        .expect("a new epoch");
    push_one(&mut service.device("mia", "tablet").await).await;
    let reset = watcher.end().await;
    assert_eq!(
        reset.get_details_error_info().expect("an ErrorInfo").reason,
        "CURSOR_RESET"
    );
}

#[tokio::test]
async fn two_instances_hear_of_each_other_by_signal_alone() {
    let here = TestService::with(&SIGNALS_ONLY).await;
    let there = here.beside(&SIGNALS_ONLY).await;
    let mut phone = here.device("mia", "phone").await;
    let mut tablet = there.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    // The sessions for signals may not be up yet; once one signal has come they are.
    loop {
        let id = push_one(&mut phone).await;
        let heard = timeout(Duration::from_millis(500), watcher.until(id)).await;
        if heard.is_ok() {
            break;
        }
    }
    for _ in 0..20 {
        let id = push_one(&mut phone).await;
        watcher.until(id).await;
    }
}

#[tokio::test]
async fn without_signals_the_poll_finds_what_another_instance_wrote() {
    let arguments = ["--notify", "false", "--poll-interval-ms", "50"];
    let here = TestService::with(&arguments).await;
    let there = here.beside(&arguments).await;
    let mut phone = here.device("mia", "phone").await;
    let mut tablet = there.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    for _ in 0..5 {
        let id = push_one(&mut phone).await;
        watcher.until(id).await;
    }
}

#[tokio::test]
async fn killing_the_sessions_for_signals_costs_latency_never_data() {
    let arguments = ["--poll-interval-ms", "100"];
    let here = TestService::with(&arguments).await;
    let there = here.beside(&arguments).await;
    let mut phone = here.device("mia", "phone").await;
    let mut tablet = there.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    let client = here.database.client().await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and query ilike '%ironflow_feed%' and pid <> pg_backend_pid()";
    for _ in 0..5 {
        client.execute(kill, &[]).await.expect("killed");
        let id = push_one(&mut phone).await;
        watcher.until(id).await;
    }
}

#[tokio::test]
async fn false_and_repeated_signals_change_nothing() {
    let service = TestService::with(&SIGNALS_ONLY).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    let client = service.database.client().await;
    for payload in ["", "x", "ffffffffffffffff:9", "0:0,0:0", ":", "a:b"] {
        let notify = "select pg_notify('ironflow_feed', $1)";
        client.execute(notify, &[&payload]).await.expect("notified");
    }
    let id = push_one(&mut phone).await;
    watcher.until(id).await;
    assert_eq!(watcher.seen.values().sum::<usize>(), 1);
}

/// A session that hears the signals of all instances.
async fn signals(service: &TestService) -> (tokio_postgres::Client, mpsc::Receiver<String>) {
    let config = service.database.config();
    let (client, mut connection) = config.connect(NoTls).await.expect("Postgres answers");
    let (heard, payloads) = mpsc::channel(1_000);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(said) = message {
                let _ = heard.try_send(said.payload().to_owned());
            }
        }
    });
    client
        .batch_execute("listen ironflow_feed")
        .await
        .expect("listens");
    (client, payloads)
}

#[tokio::test]
async fn signals_that_come_late_and_many_times_change_nothing() {
    let here = TestService::with(&SIGNALS_ONLY).await;
    let there = here.beside(&SIGNALS_ONLY).await;
    let (client, mut payloads) = signals(&here).await;
    let mut phone = here.device("mia", "phone").await;
    let mut tablet = there.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    let mut said = Vec::new();
    for _ in 0..5 {
        let id = push_one(&mut phone).await;
        said.push(
            timeout(PATIENCE, payloads.recv())
                .await
                .expect("a signal")
                .expect("a payload"),
        );
        // What was said so far once more, the oldest last.
        for payload in said.iter().rev().chain(&said) {
            let notify = "select pg_notify('ironflow_feed', $1)";
            client.execute(notify, &[payload]).await.expect("notified");
        }
        watcher.until(id).await;
        while payloads.try_recv().is_ok() {}
    }
    assert!(
        watcher.seen.values().all(|times| *times == 1),
        "{:?}",
        watcher.seen
    );
}

#[tokio::test]
async fn a_watch_outlives_the_loss_of_its_connections_to_postgres() {
    let service = TestService::with(&["--poll-interval-ms", "100"]).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    let client = service.database.client().await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    for _ in 0..3 {
        client.execute(kill, &[]).await.expect("killed");
        let id = Uuid::new_v4();
        // The phone is told to come back, and does.
        let item = put(id, 0, &json!({}));
        let request = || ironflow_sync::grpc::proto::SyncRequest {
            items: vec![item.clone()],
            ..phone.request()
        };
        let mut answer = phone.clone().send(request()).await;
        while let Err(status) = &answer {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            answer = phone.clone().send(request()).await;
        }
        watcher.until(id).await;
    }
    phone.status().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_hear_of_a_change_and_a_stopped_reader_holds_nobody_up() {
    const WATCHERS: usize = 1_000;
    const PER_CONNECTION: usize = 50;
    let arguments = [&SIGNALS_ONLY[..], &["--user-watches-max", "2000"]].concat();
    let service = TestService::with(&arguments).await;
    let mut phone = service.device("mia", "phone").await;
    // A reader that never reads, with changes larger than the windows of its stream.
    let mut stopped = service.device("mia", "stopped").await;
    let _unread = stopped
        .watch(stopped.page_after(""))
        .await
        .expect("a stream");
    for _ in 0..30 {
        let large = json!({"notes": "x".repeat(200_000)});
        phone.sync_one(put(Uuid::new_v4(), 0, &large)).await;
    }
    let mut cursor_of = service.device("mia", "first").await;
    let (_, cursor) = cursor_of
        .pull_all(PullRequest {
            page_size: 2_000,
            ..cursor_of.page_after("")
        })
        .await;

    let mut watchers = JoinSet::new();
    for connection in 0..WATCHERS / PER_CONNECTION {
        let device = service.device("mia", &format!("tablet-{connection}")).await;
        for _ in 0..PER_CONNECTION {
            let (mut device, cursor) = (device.clone(), cursor.clone());
            watchers.spawn(async move { Watcher::caught_up(&mut device, &cursor).await });
        }
    }
    let watchers = watchers.join_all().await;
    let id = push_one(&mut phone).await;
    let mut hearing = JoinSet::new();
    for mut watcher in watchers {
        hearing.spawn(async move { watcher.until(id).await });
    }
    assert_eq!(hearing.join_all().await.len(), WATCHERS);
}

#[tokio::test]
async fn watchers_share_nothing_but_the_library() {
    let service = TestService::on(TestDatabase::new().await, &SIGNALS_ONLY).await;
    let mut mia = service.device("mia", "phone").await;
    let mut leo = service.device("leo", "phone").await;
    let mut leos = Watcher::caught_up(&mut leo, "").await;
    push_one(&mut mia).await;
    let mut other = service.device("leo", "tablet").await;
    let id = push_one(&mut other).await;
    leos.until(id).await;
    assert_eq!(leos.store.len(), 1, "nothing of mia's");
}

#[tokio::test]
async fn a_device_that_watches_again_elsewhere_after_a_restart_misses_nothing() {
    let mut first = TestService::with(&SIGNALS_ONLY).await;
    let second = first.beside(&SIGNALS_ONLY).await;
    let mut phone = second.device("mia", "phone").await;
    let mut tablet = first.device("mia", "tablet").await;
    let mut watcher = Watcher::caught_up(&mut tablet, "").await;
    let (stopped, status) = tokio::join!(first.stop(), watcher.end());
    stopped.expect("a clean end");
    assert_eq!(status.code(), Code::Unavailable);
    let meanwhile = push_one(&mut phone).await;
    let mut tablet = second.device("mia", "tablet").await;
    let mut watcher = Watcher::open(&mut tablet, &watcher.cursor).await;
    watcher.until(meanwhile).await;
    let live = push_one(&mut phone).await;
    watcher.until(live).await;
    assert_eq!(watcher.seen.len(), 2);
}
