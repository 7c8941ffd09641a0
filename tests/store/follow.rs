//! A watch below gRPC, where a test decides when the reader asks for more: what commits while nobody
//! asks is there when somebody does, by signal alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::item::{ItemRules, RawItem, Sender, Submission};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::standing::Gate;
use ironflow_sync::feed::Feed;
use ironflow_sync::metrics::Metrics;
use ironflow_sync::places::Places;
use ironflow_sync::presence::Presence;
use ironflow_sync::pull::{Pull, PullRequest};
use ironflow_sync::push::{Push, PushRequest, PushRules};
use ironflow_sync::store::device::DeviceInfo;
use ironflow_sync::watch::{Event, Watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::support::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);
const NOW: Millis = Millis(1_700_000_000_000);

fn user() -> UserId {
    UserId::new("mia").expect("a user")
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("a device")
}

async fn push_one(push: &Push) -> Uuid {
    let id = Uuid::new_v4();
    let raw = RawItem {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        operation: "create".to_owned(),
        data: b"{}".to_vec(),
        ..RawItem::default()
    };
    let sender = Sender {
        user: user(),
        device: device("phone"),
        client_time: 0,
        received: NOW,
    };
    let rules = ItemRules {
        catalog: &Catalog::builtin(),
        item_bytes_max: 100,
        operator: false,
    };
    let request = PushRequest {
        scope: Scope::of(&user()),
        device: sender.device.clone(),
        info: DeviceInfo::default(),
        batch: vec![Submission::parse(raw, &sender, &rules)],
        mark: None,
        gate: Gate::default(),
        validate_only: false,
        now: NOW,
    };
    push.run(request).await.expect("pushed");
    id
}

#[tokio::test]
async fn what_commits_while_nobody_reads_is_there_when_somebody_does() {
    let database = TestDatabase::new().await;
    let (store, feed) = (database.store(), Feed::new());
    let rules = PushRules {
        catalog: Arc::new(Catalog::builtin()),
        item_bytes_max: 1_000,
        copy_bytes_max: 1_000,
        account_devices_max: 1_000,
        account_entities_max: 1_000,
    };
    let places = Places::new(2, 2, LONG);
    let metrics = Metrics::new(&Catalog::builtin());
    let push = Push::new(
        store.clone(),
        feed.clone(),
        places.clone(),
        metrics.clone(),
        TaskTracker::new(),
        rules,
    );
    let catalog = Arc::new(Catalog::builtin());
    let pull = Pull::new(
        store,
        catalog,
        Presence::new(1_000),
        places,
        metrics.clone(),
        TaskTracker::new(),
    );
    let watch = Watch::new(pull, feed, metrics, LONG, CancellationToken::new());
    let request = PullRequest {
        scope: Scope::of(&user()),
        device: device("tablet"),
        cursor: String::new(),
        types: Vec::new(),
        page_size: 10,
        include_own: false,
        schema: 0,
        batches: None,
        export: false,
        gate: Gate::default(),
    };
    let mut events = pin!(watch.follow(request, LONG, || NOW));
    let mut next = async || {
        let event = timeout(PATIENCE, events.next()).await;
        event.expect("in time").expect("no end").expect("no error")
    };
    // Between the start of the watch and its first read, and after each event.
    let mut expected = push_one(&push).await;
    let mut caught_up = 0;
    for _ in 0..4 {
        let entities = loop {
            match next().await {
                Event::Changes { entities, .. } => break entities,
                Event::CaughtUp { .. } => caught_up += 1,
                Event::Heartbeat { .. } => panic!("not within an hour"),
                Event::Conflict(_) => panic!("nothing conflicts"),
            }
        };
        let ids: Vec<Uuid> = entities.iter().map(|row| row.entity().entity_id).collect();
        assert_eq!(ids, [expected]);
        expected = push_one(&push).await;
    }
    assert_eq!(caught_up, 1);
}
