//! The conflict inbox (section 5): what waits for the person, from any device, and how it ends.
//!
//! `decisions`: what a person decides.

mod decisions;

use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, Conflict, ConflictKind, ConflictState, Resolution, ResolveConflictResponse,
    ResolveStatus, ServerCopy, Settlement, SyncItem, SyncResult,
};
use prost::Message;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Device, TestService, delete, put};

fn value(data: &[u8]) -> Value {
    serde_json::from_slice(data).expect("JSON")
}

fn title(title: &str) -> Value {
    json!({ "title": title })
}

/// A workout that the tablet has changed behind the phone's back: the phone knows version 1, the server
/// holds version 2.
struct Contested {
    service: TestService,
    phone: Device,
    tablet: Device,
    id: Uuid,
}

impl Contested {
    async fn new() -> Self {
        let service = TestService::start().await;
        let mut phone = service.device("mia", "phone").await.called("Mia's phone");
        let mut tablet = service.device("mia", "tablet").await.called("Mia's tablet");
        let id = Uuid::new_v4();
        phone.sync_one(put(id, 0, &title("base"))).await;
        tablet.sync_one(put(id, 1, &title("tablet"))).await;
        Self {
            service,
            phone,
            tablet,
            id,
        }
    }

    /// The phone's edit, and the answer to it.
    async fn conflict(&mut self) -> (SyncItem, SyncResult) {
        let item = put(self.id, 1, &title("phone"));
        let answer = self.phone.sync_one(item.clone()).await;
        assert_eq!(answer.resolution(), Resolution::NeedsUser);
        (item, answer)
    }

    /// What the server holds: data (`None`: deleted) and version.
    async fn holds(&self) -> (Option<Value>, i32) {
        let sql = self.service.database.client().await;
        let select = "select data::text, version from entities where entity_id = $1";
        let row = sql.query_one(select, &[&self.id]).await.expect("a row");
        let data: Option<String> = row.get(0);
        (data.map(|data| value(data.as_bytes())), row.get(1))
    }

    async fn open(&mut self) -> i32 {
        let request = self.tablet.page_after("");
        self.tablet
            .pull(request)
            .await
            .expect("a page")
            .open_conflicts
    }
}

fn id_of(answer: &SyncResult) -> String {
    let detail = answer.conflict.as_ref().expect("details");
    assert!(Uuid::parse_str(&detail.conflict_id).is_ok(), "{detail:?}");
    detail.conflict_id.clone()
}

/// Phone logs bench 3x225 at 2:15, tablet adds squat 3x315 at 2:20 to the same workout, both offline.
#[tokio::test]
async fn two_exercises_added_offline_are_both_in_the_proposed_merge_and_resolve_three_ways() {
    let exercise = |id: &str, name: &str, weight: i32| {
        let set = |n: i32| json!({"id": format!("{id}-{n}"), "reps": 5, "weight": weight});
        json!({"id": id, "name": name, "sets": [set(1), set(2), set(3)]})
    };
    let bench = exercise("bench", "Bench press", 225);
    let squat = exercise("squat", "Squat", 315);
    let workout = |exercises: &[&Value]| json!({"title": "Push day", "exercises": exercises});
    for choice in [Choice::KeepServer, Choice::KeepClient, Choice::UseData] {
        let service = TestService::start().await;
        let mut phone = service.device("mia", "phone").await.called("Mia's phone");
        let mut tablet = service.device("mia", "tablet").await.called("Mia's tablet");
        let id = Uuid::new_v4();
        phone.sync_one(put(id, 0, &workout(&[]))).await;
        let from = phone.page_after("");
        let (_, cursor) = tablet.pull_all(from).await;

        let at_the_gym = put(id, 1, &workout(&[&bench]));
        let at_home = put(id, 1, &workout(&[&squat]));
        let tablets = tablet.sync_one(at_home).await;
        assert_eq!(tablets.resolution(), Resolution::Applied);
        let answer = phone.sync_one(at_the_gym.clone()).await;

        // The conflict carries both, and the base; the proposed merge holds both exercises.
        assert_eq!(answer.resolution(), Resolution::NeedsUser);
        assert_eq!(value(&answer.server_data), workout(&[&squat]));
        assert_eq!(answer.server_version, 2);
        let detail = answer.conflict.clone().expect("details");
        assert_eq!(value(&detail.base_data), workout(&[]));
        let merged = value(&detail.proposed_data);
        let names: Vec<&str> = merged["exercises"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|exercise| exercise["name"].as_str())
            .collect();
        assert_eq!(names.len(), 2, "{merged}");
        assert!(names.contains(&"Bench press") && names.contains(&"Squat"));
        assert_eq!(detail.overlapping_paths, [""; 0], "they do not overlap");
        assert_eq!(detail.server_device_label, "Mia's tablet");
        let found = tablet.conflict(&detail.conflict_id).await.expect("there");
        let side = found.client.expect("the phone's side");
        assert_eq!(value(&side.data), workout(&[&bench]));
        assert_eq!(side.device_label, "Mia's phone");
        assert_eq!(value(&found.proposed_data), merged);
        assert_eq!(value(&found.base_data), workout(&[]));
        let server = found.server.expect("the server's side");
        assert_eq!(
            (value(&server.data), server.version),
            (workout(&[&squat]), 2)
        );

        // The person decides on the tablet.
        let decision = match choice {
            Choice::UseData => tablet.own_decision(&detail.conflict_id, &merged, 2),
            _ => tablet.decision(&detail.conflict_id, choice, 2),
        };
        let resolved = tablet.resolve(decision).await.expect("resolved");
        assert_eq!(resolved.status(), ResolveStatus::Resolved);
        let expected = match choice {
            Choice::KeepServer => (workout(&[&squat]), 2),
            Choice::KeepClient => (workout(&[&bench]), 3),
            _ => (merged, 3),
        };
        let server = resolved.server.expect("a copy");
        assert_eq!((value(&server.data), server.version), expected);

        // Both agree, and a last sync is silent.
        for (device, after) in [(&mut phone, ""), (&mut tablet, cursor.as_str())] {
            let mut from = device.page_after(after);
            from.include_own = true;
            let (entities, cursor) = device.pull_all(from).await;
            let held = entities.last().expect("the workout");
            assert_eq!((value(&held.data), held.version), expected);
            let page = device
                .pull(device.page_after(&cursor))
                .await
                .expect("a page");
            assert_eq!((page.entities.len(), page.open_conflicts), (0, 0));
        }
        let again = phone.sync_one(at_the_gym).await;
        let silent = match choice {
            Choice::KeepClient => Resolution::Unchanged,
            _ => Resolution::ServerWon,
        };
        assert_eq!(again.resolution(), silent, "{choice:?}: no loop");
        assert_eq!(tablet.conflicts(ConflictState::Open).await, []);
    }
}

#[tokio::test]
async fn the_same_item_again_is_the_same_conflict_with_the_current_copy() {
    let mut contested = Contested::new().await;
    let (item, first) = contested.conflict().await;
    contested
        .tablet
        .sync_one(put(contested.id, 2, &title("tablet again")))
        .await;
    let again = contested.phone.sync_one(item).await;
    assert_eq!(id_of(&again), id_of(&first));
    assert_eq!(again.server_version, 3);
    assert_eq!(value(&again.server_data), title("tablet again"));
    assert_eq!(contested.open().await, 1);
    let sides = contested
        .phone
        .conflict(&id_of(&first))
        .await
        .expect("there");
    assert_eq!(sides.other_sides, [], "kept once");
}

#[tokio::test]
async fn a_newer_edit_of_the_device_replaces_its_side_and_the_older_stays_readable() {
    let mut contested = Contested::new().await;
    let (older, first) = contested.conflict().await;
    let newer = put(contested.id, 1, &title("phone, later"));
    let second = contested.phone.sync_one(newer.clone()).await;
    assert_eq!(id_of(&second), id_of(&first));
    assert_eq!(contested.open().await, 1);
    let found = contested
        .tablet
        .conflict(&id_of(&first))
        .await
        .expect("there");
    let side = found.client.expect("a side");
    assert_eq!(side.mutation_id, newer.mutation_id);
    assert_eq!(value(&side.data), title("phone, later"));
    let [old] = found.other_sides.as_slice() else {
        panic!("the older side: {:?}", found.other_sides)
    };
    assert_eq!(old.mutation_id, older.mutation_id);
    assert_eq!(value(&old.data), title("phone"));
    // The older item, late and out of order, changes nothing.
    let late = contested.phone.sync_one(older).await;
    assert_eq!(id_of(&late), id_of(&first));
    let found = contested
        .tablet
        .conflict(&id_of(&first))
        .await
        .expect("there");
    assert_eq!(found.client.expect("a side").mutation_id, newer.mutation_id);
}

#[tokio::test]
async fn each_device_has_its_own_conflict_about_an_entity() {
    let mut contested = Contested::new().await;
    let (_, phones) = contested.conflict().await;
    let mut watch = contested.service.device("mia", "watch").await;
    let watchs = watch.sync_one(put(contested.id, 1, &title("watch"))).await;
    assert_eq!(watchs.resolution(), Resolution::NeedsUser);
    assert_ne!(id_of(&watchs), id_of(&phones));
    assert_eq!(contested.open().await, 2);
    // Settling one moves the entity on; the other stays open until the person has seen that.
    let decision = watch.decision(&id_of(&phones), Choice::KeepClient, 2);
    let resolved = watch.resolve(decision).await.expect("resolved");
    assert_eq!(resolved.status(), ResolveStatus::Resolved);
    let stale = watch.decision(&id_of(&watchs), Choice::KeepClient, 2);
    let moved = watch.resolve(stale).await.expect("answered");
    assert_eq!(moved.status(), ResolveStatus::Moved);
    assert_eq!(moved.server.expect("the new copy").version, 3);
    assert_eq!(contested.open().await, 1);
    assert_eq!(contested.holds().await, (Some(title("phone")), 3));
}

/// What an answer tells, however its JSON is written.
pub(super) fn told(answer: &ResolveConflictResponse) -> ResolveConflictResponse {
    let plain = |copy: &ServerCopy| ServerCopy {
        data: match copy.data.as_slice() {
            [] => Vec::new(),
            data => value(data).to_string().into_bytes(),
        },
        ..copy.clone()
    };
    ResolveConflictResponse {
        server: answer.server.as_ref().map(plain),
        duplicate: answer.duplicate.as_ref().map(plain),
        ..answer.clone()
    }
}

#[tokio::test]
async fn the_inbox_is_told_on_every_watch_and_every_pull() {
    let mut contested = Contested::new().await;
    let mut third = contested.service.device("mia", "web").await;
    let mut streams = Vec::new();
    for device in [&mut contested.phone, &mut contested.tablet, &mut third] {
        let request = device.page_after("");
        streams.push(device.watch(request).await.expect("a stream"));
    }
    let (_, answer) = contested.conflict().await;
    for stream in &mut streams {
        let told = conflict_event(stream).await;
        assert!(told.open);
        assert_eq!(told.conflict_id, id_of(&answer));
        assert_eq!(told.entity_id, contested.id.to_string());
        assert_eq!(told.kind(), ConflictKind::Edit);
        assert_eq!((told.rule, told.policy.as_str()), (9, "ask"));
        assert_eq!((told.base_version, told.server_version), (1, 2));
    }
    assert_eq!(contested.open().await, 1);
    assert_eq!(contested.tablet.status().await.open_conflicts, 1);

    // A device that begins now hears of what is open, one that comes later of nothing.
    let request = third.page_after("");
    let mut late = third.watch(request).await.expect("a stream");
    assert!(conflict_event(&mut late).await.open);
    let decision = third.decision(&id_of(&answer), Choice::KeepServer, 2);
    third.resolve(decision).await.expect("resolved");
    for stream in streams.iter_mut().chain([&mut late]) {
        let told = conflict_event(stream).await;
        assert!(!told.open);
        assert_eq!(told.settlement(), Settlement::KeepServer);
        assert_eq!(told.settled_by_device_id, "web");
    }
    assert_eq!(contested.open().await, 0);
    let request = third.page_after("");
    let mut later = third.watch(request).await.expect("a stream");
    loop {
        let message = later.message().await.expect("goes on").expect("an event");
        match message.event.expect("an event") {
            Event::Conflict(conflict) => panic!("settled long ago: {conflict:?}"),
            Event::CaughtUp(_) => break,
            Event::Changes(_) | Event::Heartbeat(_) => (),
        }
    }
}

async fn conflict_event(
    stream: &mut tonic::Streaming<ironflow_sync::grpc::proto::WatchResponse>,
) -> Conflict {
    let told = async {
        loop {
            let message = stream.message().await.expect("goes on").expect("an event");
            if let Event::Conflict(conflict) = message.event.expect("an event") {
                return conflict;
            }
        }
    };
    let told = tokio::time::timeout(super::PATIENCE, told).await;
    told.expect("in time")
}

/// Many conflicts at once come on a watch in pieces, each once, before the cursor that is past them.
#[tokio::test]
async fn hundreds_of_conflicts_are_told_and_listed_without_gap_or_repetition() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let ids: Vec<Uuid> = (0..250).map(|_| Uuid::new_v4()).collect();
    let puts = |text: &str| ids.iter().map(|id| put(*id, 0, &title(text))).collect();
    phone.sync(puts("phone")).await;
    let answers = tablet.sync(puts("tablet")).await;
    let mut opened: Vec<String> = answers.iter().map(id_of).collect();
    opened.sort();
    let mut listed: Vec<String> = phone
        .conflicts(ConflictState::Open)
        .await
        .into_iter()
        .map(|conflict| conflict.conflict_id)
        .collect();
    listed.sort();
    assert_eq!(listed, opened);
    let request = phone.page_after("");
    let mut stream = phone.watch(request).await.expect("a stream");
    let mut told = Vec::new();
    loop {
        let message = stream.message().await.expect("goes on").expect("an event");
        match message.event.expect("an event") {
            Event::Conflict(conflict) => told.push(conflict.conflict_id),
            Event::CaughtUp(_) => break,
            Event::Changes(_) | Event::Heartbeat(_) => (),
        }
    }
    told.sort();
    assert_eq!(told, opened);
}

/// However much a device has sent, one conflict fits into a message.
#[tokio::test]
async fn a_conflict_with_many_large_sides_can_be_read() {
    let mut contested = Contested::new().await;
    let mut plain = contested.service.device("mia", "web").await;
    let mut id = String::new();
    for n in 0..24 {
        let large = json!({"title": "phone", "notes": format!("{n:03}{}", "x".repeat(200_000))});
        let answer = contested.phone.sync_one(put(contested.id, 1, &large)).await;
        assert_eq!(answer.resolution(), Resolution::NeedsUser);
        id = id_of(&answer);
    }
    let found = plain.conflict(&id).await.expect("there");
    let size = found.encoded_len();
    assert!(size < 4 * 1024 * 1024, "{size} bytes");
    let client = found.client.expect("the side that counts");
    assert!(
        value(&client.data)["notes"]
            .to_string()
            .starts_with("\"023")
    );
    assert_eq!(found.other_sides.len(), 23);
    let told = |left_out| {
        found
            .other_sides
            .iter()
            .filter(move |s| s.data_left_out == left_out)
    };
    assert!((1..23).contains(&told(true).count()));
    assert!(told(false).all(|side| !side.data.is_empty()));
    assert!(told(true).all(|side| side.data.is_empty() && !side.deleted));
}

/// Section 5: a settled conflict stays settled, also if its item first lost under another device id.
#[tokio::test]
async fn an_item_that_lost_under_another_id_is_asked_about_once() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut renamed = service.device("mia", "phone-2").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    tablet.sync_one(put(id, 0, &title("tablet"))).await;
    tablet.sync_one(delete(id, 1)).await;
    let item = SyncItem {
        timestamp: 1_000,
        ..put(id, 0, &title("phone"))
    };
    let lost = phone.sync_one(item.clone()).await;
    assert_eq!(lost.resolution(), Resolution::ServerWon);
    tablet.sync_one(put(id, 2, &title("back"))).await;
    let asked = renamed.sync_one(item.clone()).await;
    assert_eq!(asked.resolution(), Resolution::NeedsUser);
    let decision = tablet.decision(&id_of(&asked), Choice::KeepServer, 3);
    let resolved = tablet.resolve(decision).await.expect("resolved");
    assert_eq!(resolved.status(), ResolveStatus::Resolved);
    let again = renamed.sync_one(item).await;
    assert_eq!(again.resolution(), Resolution::ServerWon);
    assert_eq!(id_of(&again), id_of(&asked));
    let open = tablet.conflicts(ConflictState::Open).await;
    assert!(open.is_empty(), "{open:?}");
}
