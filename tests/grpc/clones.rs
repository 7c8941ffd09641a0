//! Two installations with one device id: a restored backup, a clone, a reinstall. They are noticed by the
//! device's own count of its batches, and lose nothing.

use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser};
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{Changes, PullRequest, SyncItem, SyncRequest, SyncResult};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{
    HeldScope, PATIENCE, check_field, check_status, count, eventually, versions, waiting_pushes,
};
use crate::support::database::contents;
use crate::support::service::QUIET;
use crate::support::{Device, LocalStore, TestService, adopt, put};

/// An app that counts its batches. Whatever it keeps is in here, so that its clone is what a backup holds.
#[derive(Clone)]
struct App {
    device: Device,
    store: LocalStore,
    cursor: String,
    queue: Vec<SyncItem>,
    /// The batches it has made.
    count: i64,
    /// The last one, until it is answered.
    unanswered: Option<Vec<SyncItem>>,
}

impl App {
    fn new(device: Device) -> Self {
        Self {
            device,
            store: LocalStore::new(),
            cursor: String::new(),
            queue: Vec::new(),
            count: 0,
            unanswered: None,
        }
    }

    /// Edits a workout, offline.
    fn edit(&mut self, id: Uuid, data: &Value) {
        let base = self.held(id).map_or(0, |(_, version)| *version);
        self.queue.push(put(id, base, data));
    }

    fn held(&self, id: Uuid) -> Option<&(Value, i32)> {
        self.store.get(&("workout".to_owned(), id.to_string()))
    }

    /// The request that it sends, until it is answered.
    fn batch(&mut self) -> SyncRequest {
        if self.unanswered.is_none() {
            self.count += 1;
            self.unanswered = Some(std::mem::take(&mut self.queue));
        }
        SyncRequest {
            items: self.unanswered.clone().unwrap_or_default(),
            batch_number: self.count,
            ..self.device.request()
        }
    }

    async fn push(&mut self) -> Result<Vec<SyncResult>, Status> {
        let request = self.batch();
        let results = self.device.send(request.clone()).await?.results;
        self.unanswered = None;
        for (item, result) in request.items.iter().zip(&results) {
            let data = match result.server_data.as_slice() {
                [] => &item.data,
                data => data,
            };
            let data = serde_json::from_slice(data).expect("JSON");
            let key = (item.entity_type.clone(), item.entity_id.clone());
            self.store.insert(key, (data, result.server_version));
        }
        Ok(results)
    }

    fn page(&self) -> PullRequest {
        PullRequest {
            batch_number: self.count,
            ..self.device.page_after(&self.cursor)
        }
    }

    async fn pull(&mut self) -> Result<(), Status> {
        loop {
            let page = self.device.pull(self.page()).await?;
            adopt(&mut self.store, &page.entities);
            self.cursor = page.cursor;
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// What the refusal asks for.
    async fn start_again(&mut self, device: Device) {
        self.device = device;
        self.count = 0;
        self.cursor.clear();
        let mut queue = self.unanswered.take().unwrap_or_default();
        queue.append(&mut self.queue);
        self.queue = queue;
        self.pull().await.expect("a new device");
    }
}

fn check_reused<T: std::fmt::Debug>(name: &str, called: Result<T, Status>) {
    let refused = called.expect_err(name);
    check_status(name, &refused, Code::FailedPrecondition, "DEVICE_ID_REUSED");
    for word in ["new device id", "queue", "empty cursor"] {
        assert!(refused.message().contains(word), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn a_phone_that_was_restored_from_a_backup_meets_its_former_self_as_a_conflict() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let (workout, newer) = (Uuid::new_v4(), Uuid::new_v4());
    let mut phone = App::new(service.device("mia", "phone").await);
    phone.edit(workout, &json!({"sets": 1}));
    phone.push().await.expect("counted");
    phone.pull().await.expect("a page");
    let backup = phone.clone();
    phone.edit(workout, &json!({"sets": 5}));
    phone.edit(newer, &json!({"made": "after the backup"}));
    phone.push().await.expect("counted");

    let mut restored = backup;
    let before = contents(&sql).await;
    check_reused("a pull", restored.pull().await);
    restored.edit(workout, &json!({"sets": 3}));
    check_reused("a push", restored.push().await);
    assert_eq!(contents(&sql).await, before, "nothing was written");

    restored
        .start_again(service.device("mia", "phone-2").await)
        .await;
    assert_eq!(restored.held(workout), Some(&(json!({"sets": 5}), 2)));
    assert!(restored.held(newer).is_some(), "its former self's");
    let results = restored.push().await.expect("a device of its own");
    assert_eq!(
        results[0].resolution(),
        NeedsUser,
        "rule 5 would go over it"
    );
    assert_eq!(
        versions(&sql, workout).await,
        [(1, Some(json!({"sets": 1}))), (2, Some(json!({"sets": 5})))]
    );
    let kept = "select count(*) from losing_sides where data = '{\"sets\": 3}'";
    assert_eq!(count(&sql, kept).await, 1, "the older copy's edit");
}

#[tokio::test]
async fn a_device_that_does_not_count_is_never_noticed() {
    let service = TestService::with(&QUIET).await;
    let workout = Uuid::new_v4();
    let mut phone = service.device("mia", "phone").await;
    phone.sync_one(put(workout, 0, &json!({"sets": 1}))).await;
    phone.sync_one(put(workout, 1, &json!({"sets": 5}))).await;
    let restored = phone.sync_one(put(workout, 1, &json!({"sets": 3}))).await;
    assert_eq!(
        (restored.resolution(), restored.server_version),
        (Applied, 3)
    );
    // Also once others with its id have counted.
    let counted = SyncRequest {
        batch_number: 40,
        ..phone.request()
    };
    phone.send(counted).await.expect("counted");
    phone.sync_one(put(workout, 3, &json!({"sets": 4}))).await;
    phone.pull(phone.page_after("")).await.expect("a page");
}

#[tokio::test]
async fn two_phones_with_one_id_are_told_apart_at_their_first_different_batch() {
    let service = TestService::with(&QUIET).await;
    let shared = Uuid::new_v4();
    let (of_one, of_other) = (Uuid::new_v4(), Uuid::new_v4());
    let mut one = App::new(service.device("mia", "phone").await);
    one.edit(shared, &json!({"n": 1}));
    one.push().await.expect("counted");
    one.pull().await.expect("a page");
    let mut other = one.clone();
    one.edit(of_one, &json!({"of": "one"}));
    one.push().await.expect("the first of both");
    other.edit(of_other, &json!({"of": "other"}));
    check_reused("the other's batch", other.push().await);
    check_reused(
        "the other's page",
        other
            .device
            .pull(PullRequest {
                batch_number: 1,
                ..other.page()
            })
            .await,
    );
    other
        .start_again(service.device("mia", "phone-2").await)
        .await;
    assert!(other.held(of_one).is_some(), "left out under the old id");
    for round in 0..3 {
        other.edit(of_other, &json!({"round": round}));
        let results = other.push().await.expect("the new id");
        assert!(results.iter().all(|result| result.resolution() == Applied));
        one.edit(shared, &json!({"round": round}));
        let results = one.push().await.expect("the old id goes on");
        assert!(results.iter().all(|result| result.resolution() == Applied));
    }
    one.pull().await.expect("a page");
    other.pull().await.expect("a page");
    assert_eq!(one.store, other.store);
}

#[tokio::test]
async fn a_batch_whose_reply_was_lost_is_sent_again_and_is_no_clone() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let mut phone = App::new(service.device("mia", "phone").await);
    let id = Uuid::new_v4();
    phone.edit(id, &json!({"n": 1}));
    let lost = phone.batch();
    phone.device.send(lost).await.expect("applied");
    // The backup has the batch in its queue, still.
    let mut restored = phone.clone();
    let before = contents(&sql).await;
    let results = phone.push().await.expect("the same batch");
    assert_eq!(results[0].server_version, 1);
    restored
        .push()
        .await
        .expect("the same batch, from the backup");
    assert_eq!(contents(&sql).await, before);
    phone.edit(id, &json!({"n": 2}));
    phone.push().await.expect("the next batch");
    restored.edit(id, &json!({"n": 3}));
    check_reused("another next batch", restored.push().await);
    check_reused("a late duplicate of an older batch", {
        let older = SyncRequest {
            batch_number: 1,
            ..phone.device.request()
        };
        phone.device.send(older).await
    });
}

/// At once, through two instances: both wait for the lock before either has counted.
#[tokio::test]
async fn of_two_copies_that_push_at_the_same_moment_one_is_the_first() {
    let service = TestService::with(&QUIET).await;
    let beside = service.beside(&QUIET).await;
    let sql = service.database.client().await;
    let id = Uuid::new_v4();
    let mut one = App::new(service.device("mia", "phone").await);
    one.edit(id, &json!({"n": 1}));
    one.push().await.expect("counted");
    let mut other = App {
        device: beside.device("mia", "phone").await,
        ..one.clone()
    };
    one.edit(id, &json!({"of": "one"}));
    other.edit(id, &json!({"of": "other"}));
    let held = HeldScope::of(&service, "mia").await;
    let (one, other) = (
        tokio::spawn(async move { one.push().await }),
        tokio::spawn(async move { other.push().await }),
    );
    eventually("both wait", async || waiting_pushes(&sql).await == 2).await;
    held.release().await;
    let pushed = [one.await.expect("ended"), other.await.expect("ended")];
    let (answered, refused): (Vec<_>, Vec<_>) = pushed.into_iter().partition(Result::is_ok);
    assert_eq!((answered.len(), refused.len()), (1, 1));
    for refused in refused {
        check_reused("the later", refused);
    }
    assert_eq!(versions(&sql, id).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_at_once_from_many_connections_is_one_batch() {
    let service = TestService::with(&QUIET).await;
    let beside = service.beside(&QUIET).await;
    let mut phone = App::new(service.device("mia", "phone").await);
    phone.edit(Uuid::new_v4(), &json!({"n": 1}));
    let batch = phone.batch();
    let mut sending = Vec::new();
    for instance in [&service, &beside] {
        for _ in 0..4 {
            let mut device = instance.device("mia", "phone").await;
            let batch = batch.clone();
            sending.push(tokio::spawn(async move { device.send(batch).await }));
        }
    }
    for sent in sending {
        let answer = sent.await.expect("ended").expect("no clone");
        assert_eq!(answer.results[0].server_version, 1);
    }
}

#[tokio::test]
async fn a_reinstalled_app_that_counts_from_1_again_is_noticed() {
    let service = TestService::with(&QUIET).await;
    let mut phone = App::new(service.device("mia", "phone").await);
    for n in 0..3 {
        phone.edit(Uuid::new_v4(), &json!({"n": n}));
        phone.push().await.expect("counted");
    }
    let mut reinstalled = App::new(phone.device.clone());
    reinstalled.pull().await.expect("has made no batch yet");
    assert_eq!(
        reinstalled.store.len(),
        3,
        "its former self's, from the beginning"
    );
    reinstalled.edit(Uuid::new_v4(), &json!({}));
    check_reused("its first batch", reinstalled.push().await);
    reinstalled
        .start_again(service.device("mia", "phone-2").await)
        .await;
    reinstalled.push().await.expect("a new device");
}

#[tokio::test]
async fn a_batch_counts_also_if_nothing_in_it_could_be_applied() {
    let service = TestService::with(&QUIET).await;
    let mut phone = service.device("mia", "phone").await;
    let bad = SyncItem {
        entity_type: "no_such_type".to_owned(),
        ..put(Uuid::new_v4(), 0, &json!({}))
    };
    let request = |number, items| SyncRequest {
        batch_number: number,
        items,
        ..phone.request()
    };
    let failed = request(1, vec![bad]);
    let empty = request(2, Vec::new());
    let other = request(2, vec![put(Uuid::new_v4(), 0, &json!({}))]);
    phone.send(failed.clone()).await.expect("answered");
    phone.send(failed.clone()).await.expect("answered again");
    phone.send(empty.clone()).await.expect("answered");
    check_reused("the one before", phone.send(failed).await);
    check_reused("another one", phone.send(other).await);
    phone.send(empty).await.expect("answered again");
}

#[tokio::test]
async fn a_rehearsal_is_checked_and_not_counted() {
    let service = TestService::with(&QUIET).await;
    let mut phone = service.device("mia", "phone").await;
    let request = |number, validate_only| SyncRequest {
        batch_number: number,
        validate_only,
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..phone.request()
    };
    let (rehearsal, first, second) = (request(9, true), request(1, false), request(2, false));
    let from_before = request(1, true);
    for _ in 0..2 {
        phone.send(rehearsal.clone()).await.expect("answered");
    }
    phone.send(first).await.expect("the first that counts");
    phone.send(second).await.expect("the second");
    check_reused("a rehearsal from before", phone.send(from_before).await);
}

#[tokio::test]
async fn the_same_device_id_under_two_users_counts_apart() {
    let service = TestService::with(&QUIET).await;
    let mut mia = App::new(service.device("mia", "phone").await);
    let mut ben = App::new(service.device("ben", "phone").await);
    for n in 0..5 {
        mia.edit(Uuid::new_v4(), &json!({"n": n}));
        mia.push().await.expect("counted");
        mia.pull().await.expect("a page");
    }
    ben.edit(Uuid::new_v4(), &json!({}));
    ben.push().await.expect("his first");
    ben.pull().await.expect("a page");
    mia.edit(Uuid::new_v4(), &json!({}));
    mia.push().await.expect("her sixth");
    assert_eq!((mia.store.len(), ben.store.len()), (6, 1));
}

#[tokio::test]
async fn a_watch_of_an_older_copy_ends_and_one_of_a_busy_device_does_not() {
    let service = TestService::start().await;
    let mut phone = App::new(service.device("mia", "phone").await);
    let mut tablet = service.device("mia", "tablet").await;
    phone.edit(Uuid::new_v4(), &json!({}));
    phone.push().await.expect("counted");
    let request = phone.page();
    let mut stream = phone.device.watch(request).await.expect("a stream");
    let begun = timeout(PATIENCE, stream.message()).await.expect("in time");
    assert!(begun.expect("goes on").is_some(), "what there is");
    let backup = phone.clone();
    for n in 0..3 {
        phone.edit(Uuid::new_v4(), &json!({"n": n}));
        phone.push().await.expect("counted");
    }
    let id = Uuid::new_v4();
    tablet.sync_one(put(id, 0, &json!({}))).await;
    loop {
        let event = timeout(PATIENCE, stream.message()).await.expect("in time");
        let event = event.expect("goes on").expect("no end").event;
        let seen = |changes: &Changes| {
            let mut entities = changes.entities.iter();
            entities.any(|entity| entity.entity_id == id.to_string())
        };
        if matches!(&event, Some(Event::Changes(changes)) if seen(changes)) {
            break;
        }
    }
    let mut restored = backup;
    let request = restored.page();
    let mut stream = restored.device.watch(request).await.expect("a stream");
    let ended = timeout(PATIENCE, stream.message()).await.expect("in time");
    check_reused("the copy's watch", ended);
}

#[tokio::test]
async fn a_count_below_0_is_refused() {
    let service = TestService::with(&QUIET).await;
    let mut phone = service.device("mia", "phone").await;
    let batch = SyncRequest {
        batch_number: -1,
        ..phone.request()
    };
    let refused = phone.send(batch).await.expect_err("no count");
    check_field("a batch", &refused, "batch_number");
    let page = PullRequest {
        batch_number: i64::MIN,
        ..phone.page_after("")
    };
    let refused = phone.pull(page.clone()).await.expect_err("no count");
    check_field("a page", &refused, "batch_number");
    let refused = phone.watch(page).await.expect_err("no count");
    check_field("a watch", &refused, "batch_number");
}
