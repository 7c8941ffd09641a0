//! Queues of offline edits, sent one batch after the other: what the store must remember between them.

use ironflow_sync::grpc::proto::Resolution::{Applied, ClientWon, Merged, NeedsUser, Resurrected};
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use serde_json::{Value, json};
use uuid::Uuid;

use super::now_ms;
use crate::support::{Device, TestService, delete, put};

fn of(entity_type: &str, item: SyncItem, at: i64) -> SyncItem {
    SyncItem {
        entity_type: entity_type.to_owned(),
        timestamp: at,
        ..item
    }
}

/// What a device finds when it pulls everything: the data of the one entity.
async fn held(device: &mut Device) -> Option<Value> {
    let mut from = device.page_after("");
    from.include_own = true;
    let (entities, _) = device.pull_all(from).await;
    let live = entities.iter().find(|entity| !entity.deleted)?;
    Some(serde_json::from_slice(&live.data).expect("JSON"))
}

/// Promise 5: the second edit of a queue goes on from the first, also when that met another device and was
/// answered long ago.
#[tokio::test]
async fn a_queue_settles_in_the_order_sent_batch_by_batch() {
    let now = now_ms() - 3_600_000;
    let data = |notes: &str, order: i32| json!({"notes": notes, "order": order});
    for (entity_type, tablets, first, then, expected) in [
        (
            "routine_exercise",
            Some(now + 30),
            Merged,
            Merged,
            data("ab", 9),
        ),
        (
            "exercise_log",
            Some(now + 30),
            Merged,
            Merged,
            data("ab", 9),
        ),
        ("routine", Some(now + 5), ClientWon, Applied, data("ab", 1)),
        ("profile", None, Resurrected, Applied, data("ab", 1)),
    ] {
        let service = TestService::start().await;
        let mut phone = service.device("mia", "phone").await;
        let mut tablet = service.device("mia", "tablet").await;
        let id = Uuid::new_v4();
        let base = of(entity_type, put(id, 0, &data("", 1)), now);
        phone.sync_one(base).await;
        let theirs = match tablets {
            Some(at) => of(entity_type, put(id, 1, &data("", 9)), at),
            None => of(entity_type, delete(id, 1), now + 5),
        };
        tablet.sync_one(theirs).await;
        // The same moment by a coarse clock.
        let queue = ["a", "ab"].map(|notes| of(entity_type, put(id, 1, &data(notes, 1)), now + 10));
        for (item, resolution) in queue.into_iter().zip([first, then]) {
            let answer = phone.sync_one(item).await;
            assert_eq!(answer.resolution(), resolution, "{entity_type}");
        }
        assert_eq!(held(&mut phone).await, Some(expected), "{entity_type}");
    }
}

/// The times a device with a wrong clock wrote into its data are corrected like its edit, also once they
/// are stored (promise 9).
#[tokio::test]
async fn what_a_wrong_clock_wrote_into_the_data_is_corrected_when_others_meet_it() {
    const DAY: i64 = 24 * 3_600_000;
    let now = now_ms();
    for off in [-DAY, DAY] {
        for (phones_at, tablets_at) in [(now - 20_000, now - 60_000), (now - 60_000, now - 20_000)]
        {
            let service = TestService::start().await;
            let mut phone = service.device("mia", "phone").await;
            let mut tablet = service.device("mia", "tablet").await;
            let id = Uuid::new_v4();
            let days =
                |sleep: i32, at: i64| json!({"days": {"mon": {"sleep": sleep, "updatedAt": at}}});
            let item = |base, data: &Value, at| of("recovery", put(id, base, data), at);
            tablet
                .sync_one(item(0, &json!({"days": {}}), now - 90_000))
                .await;
            // The phone's clock is off; its batch says so.
            let request = SyncRequest {
                items: vec![item(1, &days(1, phones_at + off), now - 10_000 + off)],
                client_time: now_ms() + off,
                ..phone.request()
            };
            phone.send(request).await.expect("answered");
            tablet
                .sync_one(item(1, &days(2, tablets_at), now - 10_000))
                .await;
            let monday = held(&mut tablet).await.expect("live")["days"]["mon"]["sleep"].clone();
            let later = if phones_at > tablets_at { 1 } else { 2 };
            assert_eq!(monday, later, "off by {off}");
        }
    }
}

/// Promise 1, also to an app that sends other data under one mutation id.
#[tokio::test]
async fn other_data_under_one_mutation_id_is_kept_beside_it() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    tablet
        .sync_one(put(id, 0, &json!({"title": "tablet"})))
        .await;
    let first = put(id, 0, &json!({"title": "first"}));
    let second = SyncItem {
        data: json!({"title": "second"}).to_string().into_bytes(),
        ..first.clone()
    };
    let mut conflict = String::new();
    for item in [&first, &second, &first, &second] {
        let answer = phone.sync_one(item.clone()).await;
        assert_eq!(answer.resolution(), NeedsUser);
        conflict = answer.conflict.expect("details").conflict_id;
    }
    let found = tablet.conflict(&conflict).await.expect("there");
    let title = |data: &[u8]| -> Value {
        let data: Value = serde_json::from_slice(data).expect("JSON");
        data["title"].clone()
    };
    assert_eq!(title(&found.client.expect("a side").data), "second");
    let others: Vec<Value> = found.other_sides.iter().map(|s| title(&s.data)).collect();
    assert_eq!(others, ["first"]);
}

/// However many pages lie between: what opened within a page is told before the cursor that is past it.
#[tokio::test]
async fn conflicts_are_told_page_by_page_before_the_cursor_that_is_past_them() {
    const CONFLICTS: usize = 12;
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    for n in 0..CONFLICTS {
        let id = Uuid::new_v4();
        phone.sync_one(put(id, 0, &json!({"order": n}))).await;
        tablet.sync_one(put(id, 0, &json!({"order": n + 1}))).await;
    }
    // A reader that leaves with every cursor it is given still hears of all.
    let mut cursor = String::new();
    let mut told = Vec::new();
    'streams: loop {
        let mut request = phone.page_after(&cursor);
        request.page_size = 1;
        request.include_own = true;
        let mut stream = phone.watch(request).await.expect("a stream");
        loop {
            let message = stream.message().await.expect("goes on").expect("an event");
            match message.event.expect("an event") {
                Event::Conflict(conflict) => told.push(conflict.conflict_id),
                Event::Changes(changes) => {
                    cursor = changes.cursor;
                    break;
                }
                Event::CaughtUp(_) => break 'streams,
                Event::Heartbeat(_) => (),
            }
        }
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), CONFLICTS);
}
