//! Policies (rule 9) through the whole service: what two devices of a person see, type by type.

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, Merged, NeedsUser, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::{
    ConflictState, Resolution, Settlement, SyncItem, SyncRequest, SyncResult,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::now_ms;
use crate::support::{Device, TestDatabase, TestService, delete, put};

const MINUTE: i64 = 60_000;

fn value(data: &[u8]) -> Value {
    serde_json::from_slice(data).expect("JSON")
}

/// A phone and a tablet that both know version 1 of an entity.
struct Pair {
    _service: TestService,
    phone: Device,
    tablet: Device,
    entity_type: &'static str,
    id: Uuid,
}

impl Pair {
    async fn knowing(entity_type: &'static str, base: &Value) -> Self {
        let service = TestService::start().await;
        let phone = service.device("mia", "phone").await.called("Mia's phone");
        let tablet = service.device("mia", "tablet").await;
        let mut pair = Self {
            _service: service,
            phone,
            tablet,
            entity_type,
            id: Uuid::new_v4(),
        };
        let created = pair.edit(0, base, 60);
        let answer = pair.phone.sync_one(created).await;
        assert_eq!(answer.resolution(), Applied, "{answer:?}");
        pair
    }

    /// An edit made so many minutes ago.
    fn edit(&self, base: i32, data: &Value, minutes_ago: i64) -> SyncItem {
        SyncItem {
            entity_type: self.entity_type.to_owned(),
            timestamp: now_ms() - minutes_ago * MINUTE,
            ..put(self.id, base, data)
        }
    }

    /// A deletion made so many minutes ago.
    fn deletion(&self, base: i32, minutes_ago: i64) -> SyncItem {
        SyncItem {
            entity_type: self.entity_type.to_owned(),
            timestamp: now_ms() - minutes_ago * MINUTE,
            ..delete(self.id, base)
        }
    }

    /// The tablet's edit is applied, then the phone's arrives.
    async fn meet(&mut self, tablets: (&Value, i64), phones: (&Value, i64)) -> SyncResult {
        let theirs = self.edit(1, tablets.0, tablets.1);
        let applied = self.tablet.sync_one(theirs).await;
        assert_eq!(applied.resolution(), Applied, "{applied:?}");
        let mine = self.edit(1, phones.0, phones.1);
        let answer = self.phone.sync_one(mine.clone()).await;
        self.check_replay(&mine, &answer).await;
        answer
    }

    /// Whatever was written is answered alike for ever; whatever was not is settled or asked again alike.
    async fn check_replay(&mut self, item: &SyncItem, first: &SyncResult) {
        let again = self.phone.sync_one(item.clone()).await;
        assert_eq!(again.resolution(), first.resolution());
        assert_eq!(again.server_version, first.server_version);
        if first.resolution() != ClientWon {
            assert_eq!(value(&again.server_data), value(&first.server_data));
        }
    }

    /// The one kept side: data, policy and how it was settled.
    async fn kept(&mut self) -> (Value, String, Settlement) {
        let settled = self.tablet.conflicts(ConflictState::Settled).await;
        let [conflict] = settled.as_slice() else {
            panic!("one: {settled:?}")
        };
        let found = self.tablet.conflict(&conflict.conflict_id).await;
        let side = found.expect("there").client.expect("a side");
        assert_eq!(side.device_label, "Mia's phone");
        (
            value(&side.data),
            conflict.policy.clone(),
            conflict.settlement(),
        )
    }

    async fn nothing_kept(&mut self) {
        assert_eq!(self.tablet.conflicts(ConflictState::Settled).await, []);
        assert_eq!(self.tablet.conflicts(ConflictState::Open).await, []);
    }
}

#[tokio::test]
async fn last_write_wins_by_edit_time_and_the_loser_is_kept() {
    let settings = |units: &str| json!({ "units": units });
    let mut pair = Pair::knowing("user_settings", &settings("kg")).await;
    let lost = pair.meet((&settings("lb"), 5), (&settings("st"), 9)).await;
    assert_eq!((lost.resolution(), lost.server_version), (ServerWon, 2));
    assert_eq!(value(&lost.server_data), settings("lb"));
    let (side, policy, settlement) = pair.kept().await;
    assert_eq!(side, settings("st"));
    assert_eq!(policy, "last_write_wins");
    assert_eq!(settlement, Settlement::ServerWon);

    let mut pair = Pair::knowing("user_settings", &settings("kg")).await;
    let won = pair.meet((&settings("lb"), 9), (&settings("st"), 5)).await;
    assert_eq!((won.resolution(), won.server_version), (ClientWon, 3));
    pair.nothing_kept().await;
}

/// `workout_exercise` merges fields; where both changed one, the later edit has it.
#[tokio::test]
async fn fields_merge_and_overlaps_go_to_the_later_edit() {
    let sets = |reps: i32, weight: f64| json!([{"id": "a", "reps": reps, "weight": weight}]);
    let base = json!({"notes": "", "sets": sets(5, 100.0), "restTime": 90});
    let tablets = json!({"notes": "belt", "sets": sets(5, 102.5), "restTime": 120});
    let phones = json!({"notes": "", "sets": sets(6, 100.0), "restTime": 60});
    for (minutes_ago, rest_time) in [(1, 60), (9, 120)] {
        let mut pair = Pair::knowing("workout_exercise", &base).await;
        let answer = pair.meet((&tablets, 5), (&phones, minutes_ago)).await;
        assert_eq!((answer.resolution(), answer.server_version), (Merged, 3));
        let merged = json!({"notes": "belt", "sets": sets(6, 102.5), "restTime": rest_time});
        assert_eq!(value(&answer.server_data), merged);
        let (side, policy, settlement) = pair.kept().await;
        assert_eq!(side, phones);
        assert_eq!(policy, "merge_fields");
        assert_eq!(settlement, Settlement::Merged);
        // The tablet learns of it.
        let from = pair.tablet.page_after("");
        let (entities, _) = pair.tablet.pull_all(from).await;
        assert_eq!(value(&entities[0].data), merged);
    }
}

/// `exercise_log` merges fields and asks about overlaps.
#[tokio::test]
async fn fields_merge_and_overlaps_are_asked_about_where_the_catalog_says_so() {
    let log = |notes: &str, reps: i32| json!({"notes": notes, "sets": [{"id": "a", "reps": reps}]});
    let mut pair = Pair::knowing("exercise_log", &log("", 5)).await;
    let answer = pair.meet((&log("belt", 5), 5), (&log("", 6), 9)).await;
    assert_eq!(answer.resolution(), Merged);
    assert_eq!(value(&answer.server_data), log("belt", 6));

    let mut pair = Pair::knowing("exercise_log", &log("", 5)).await;
    let answer = pair.meet((&log("belt", 7), 5), (&log("", 6), 1)).await;
    assert_eq!((answer.resolution(), answer.server_version), (NeedsUser, 2));
    let detail = answer.conflict.expect("details");
    assert_eq!(detail.overlapping_paths, ["/sets/0/reps"]);
    assert_eq!(value(&detail.proposed_data), log("belt", 6));
    assert_eq!(value(&detail.base_data), log("", 5));
    let open = pair.tablet.conflicts(ConflictState::Open).await;
    assert_eq!(open[0].policy, "merge_fields");
}

/// A side that the merge changes nothing of has won; one that adds nothing is merged without a version.
#[tokio::test]
async fn a_merge_that_is_one_of_the_sides_writes_no_more_than_it_must() {
    let base = json!({"notes": "", "order": 1});
    let mut pair = Pair::knowing("custom_exercise", &base).await;
    let both = json!({"notes": "mine", "order": 2});
    let answer = pair
        .meet((&json!({"notes": "", "order": 2}), 5), (&both, 5))
        .await;
    assert_eq!((answer.resolution(), answer.server_version), (ClientWon, 3));
    pair.nothing_kept().await;

    let mut pair = Pair::knowing("custom_exercise", &base).await;
    let only = json!({"notes": "", "order": 2});
    let answer = pair.meet((&both, 5), (&only, 5)).await;
    assert_eq!((answer.resolution(), answer.server_version), (Merged, 2));
    assert_eq!(value(&answer.server_data), both);
    assert_eq!(pair.kept().await.0, only);
}

#[tokio::test]
async fn weekly_volume_from_two_devices_keeps_the_larger_of_each() {
    let volume = |chest: i32, back: i32| json!({"week": "2026-W01", "muscleGroups": {"chest": {"sets": chest}, "back": {"sets": back}}});
    let base = json!({"week": "2026-W01", "muscleGroups": {}});
    let mut pair = Pair::knowing("volume", &base).await;
    let answer = pair.meet((&volume(12, 4), 5), (&volume(9, 8), 1)).await;
    assert_eq!((answer.resolution(), answer.server_version), (Merged, 3));
    assert_eq!(value(&answer.server_data), volume(12, 8));
}

#[tokio::test]
async fn recovery_takes_each_day_from_where_it_was_edited_later() {
    let day = |sleep: i32, minutes_ago: i64| json!({"sleep": sleep, "updatedAt": now_ms() - minutes_ago * MINUTE});
    let base = json!({"days": {}});
    let mut pair = Pair::knowing("recovery", &base).await;
    let (monday_old, monday_new) = (day(5, 50), day(6, 30));
    let (tuesday_old, tuesday_new) = (day(7, 40), day(8, 20));
    let tablets = json!({"days": {"mon": monday_new, "tue": tuesday_old}});
    let phones = json!({"days": {"mon": monday_old, "tue": tuesday_new, "wed": day(9, 10)}});
    let wednesday = phones["days"]["wed"].clone();
    let answer = pair.meet((&tablets, 5), (&phones, 9)).await;
    assert_eq!(answer.resolution(), Merged);
    let merged = json!({"days": {"mon": monday_new, "tue": tuesday_new, "wed": wednesday}});
    assert_eq!(value(&answer.server_data), merged);
}

/// Delete on one device against edit on the other, in both orders and all clock relations.
#[tokio::test]
async fn deletions_and_edits_that_meet_go_to_the_later_and_lose_nothing() {
    let profile = |name: &str| json!({ "name": name });
    for (edited_ago, deleted_ago, edit_wins) in [(1, 5, true), (5, 1, false), (3, 3, false)] {
        // The deletion is there first: rule 7.
        let mut pair = Pair::knowing("profile", &profile("Mia")).await;
        let deletion = pair.deletion(1, deleted_ago);
        let timestamp = deletion.timestamp;
        pair.tablet.sync_one(deletion).await;
        let edit = SyncItem {
            timestamp: timestamp + (deleted_ago - edited_ago) * MINUTE,
            ..pair.edit(1, &profile("Mia S."), edited_ago)
        };
        let answer = pair.phone.sync_one(edit).await;
        if edit_wins {
            assert_eq!(answer.resolution(), Resolution::Resurrected);
            assert_eq!(answer.server_version, 3);
        } else {
            assert_eq!((answer.resolution(), answer.server_version), (ServerWon, 2));
            assert!(answer.server_deleted);
            let (side, policy, _) = pair.kept().await;
            assert_eq!((side, policy.as_str()), (profile("Mia S."), ""));
        }
        // The edit is there first: rule 8.
        let mut pair = Pair::knowing("profile", &profile("Mia")).await;
        let edit = pair.edit(1, &profile("Mia S."), edited_ago);
        let timestamp = edit.timestamp;
        pair.tablet.sync_one(edit).await;
        let deletion = SyncItem {
            timestamp: timestamp + (edited_ago - deleted_ago) * MINUTE,
            ..pair.deletion(1, deleted_ago)
        };
        let answer = pair.phone.sync_one(deletion).await;
        let deletion_wins = deleted_ago < edited_ago;
        if deletion_wins {
            assert_eq!((answer.resolution(), answer.server_version), (ClientWon, 3));
        } else {
            assert_eq!((answer.resolution(), answer.server_version), (ServerWon, 2));
            assert_eq!(value(&answer.server_data), profile("Mia S."));
            let settled = pair.tablet.conflicts(ConflictState::Settled).await;
            assert_eq!(settled[0].rule, 8);
        }
    }
}

/// A clock that is off neither wins nor loses by it (promise 9).
#[tokio::test]
async fn wrong_clocks_are_corrected_and_never_win_by_being_in_the_future() {
    const HOUR: i64 = 60 * MINUTE;
    let settings = |units: &str| json!({ "units": units });
    for off in [
        -HOUR * 24 * 365,
        -HOUR * 24,
        -HOUR,
        HOUR,
        HOUR * 24,
        HOUR * 24 * 365,
    ] {
        // The tablet's clock is right; its edit is 5 minutes old. The phone's clock is off.
        for (minutes_ago, expected) in [(9, ServerWon), (1, ClientWon)] {
            let mut pair = Pair::knowing("user_settings", &settings("kg")).await;
            let theirs = pair.edit(1, &settings("lb"), 5);
            pair.tablet.sync_one(theirs).await;
            let mut mine = pair.edit(1, &settings("st"), minutes_ago);
            mine.timestamp += off;
            let request = SyncRequest {
                items: vec![mine],
                client_time: now_ms() + off,
                ..pair.phone.request()
            };
            let answer = pair.phone.send(request).await.expect("answered");
            let answer = &answer.results[0];
            assert_eq!(answer.resolution(), expected, "off by {off} ms");
        }
        // Without its clock's time a future edit counts as made on arrival: what comes later is later.
        let mut pair = Pair::knowing("user_settings", &settings("kg")).await;
        let mut theirs = pair.edit(1, &settings("lb"), 5);
        theirs.timestamp += off;
        let first = pair.tablet.sync_one(theirs).await;
        assert_eq!(first.resolution(), Applied);
        let next = pair.edit(2, &settings("st"), 0);
        let next = pair.phone.sync_one(next).await;
        assert_eq!(next.resolution(), Applied, "nobody is locked out");
    }
}

/// What a batch decides, its items see: a chain of conflicting edits of one entity.
#[tokio::test]
async fn a_chain_of_offline_edits_merges_item_by_item() {
    let base = json!({"notes": "", "order": 1});
    let mut pair = Pair::knowing("custom_exercise", &base).await;
    let theirs = pair.edit(1, &json!({"notes": "", "order": 2}), 5);
    pair.tablet.sync_one(theirs).await;
    let chain = vec![
        pair.edit(1, &json!({"notes": "a", "order": 1}), 4),
        pair.edit(1, &json!({"notes": "ab", "order": 1}), 3),
    ];
    let answers = pair.phone.sync(chain.clone()).await;
    let brief: Vec<(Resolution, i32)> = answers
        .iter()
        .map(|answer| (answer.resolution(), answer.server_version))
        .collect();
    assert_eq!(brief, [(Merged, 3), (Merged, 4)]);
    let merged = json!({"notes": "ab", "order": 2});
    assert_eq!(value(&answers[1].server_data), merged);
    let again = pair.phone.sync(chain).await;
    for (first, again) in answers.iter().zip(&again) {
        assert_eq!(again.server_version, first.server_version);
        assert_eq!(value(&again.server_data), value(&first.server_data));
    }
    // Both know it now.
    let same = pair.edit(1, &merged, 0);
    assert_eq!(pair.tablet.sync_one(same).await.resolution(), Unchanged);
}

/// A merge that no device could push an edit of is for the person: beyond the size of an item, or what the
/// type's schema allows.
#[tokio::test]
async fn a_merge_that_could_not_be_pushed_is_asked_about() {
    let catalog = r#"
        [types.day]
        policy = "merge_max"
        schema = { maxProperties = 2 }
    "#;
    let catalog = Catalog::parse(catalog, &|_| Err(String::new())).expect("a catalog");
    let arguments = ["--item-bytes-max", "100"];
    let long = "x".repeat(60);
    for (tablets, phones, expected) in [
        (json!({"a": 2}), json!({"b": 3}), Merged),
        (json!({"a": long}), json!({"b": long}), NeedsUser),
        (json!({"a": 1, "b": 1}), json!({"b": 2, "c": 2}), NeedsUser),
    ] {
        let database = TestDatabase::new().await;
        let service = TestService::knowing(database, &arguments, catalog.clone()).await;
        let mut phone = service.device("mia", "phone").await;
        let mut tablet = service.device("mia", "tablet").await;
        let id = Uuid::new_v4();
        let day = |data: &Value| SyncItem {
            entity_type: "day".to_owned(),
            ..put(id, 0, data)
        };
        tablet.sync_one(day(&tablets)).await;
        let answer = phone.sync_one(day(&phones)).await;
        assert_eq!(answer.resolution(), expected, "{answer:?}");
    }
}
