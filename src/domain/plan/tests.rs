//! Whole batches: order, chains, groups, replays; and what holds for any batch at all.

use std::collections::HashSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::testing::{Edit, NOW, content, device, item, key, stored, version};
use super::*;
use crate::domain::answer::Verdict;
use crate::domain::item::{Rejection, RejectionCode};
use Edit::{Delete, Put};

fn context() -> BatchContext {
    BatchContext {
        device: device("tablet"),
        now: NOW,
        catalog: Arc::new(Catalog::builtin()),
        item_bytes_max: usize::MAX,
        copy_bytes_max: usize::MAX,
    }
}

/// An edit of a workout with a mutation id of its own.
fn edit(number: u128, edit: Edit, base: i32, mutation: u128) -> Submission {
    let item = Item {
        key: key(number),
        mutation: MutationId(Uuid::from_u128(mutation)),
        ..item(edit, base)
    };
    Submission {
        group: None,
        item: Ok(item),
    }
}

fn grouped(group: &str, submission: Submission) -> Submission {
    Submission {
        group: Some(group.to_owned()),
        ..submission
    }
}

fn bad() -> Submission {
    Submission {
        group: None,
        item: Err(Rejection::new(
            RejectionCode::InvalidItem,
            "operation: expected ..",
        )),
    }
}

/// The workouts the phone has written, at version 4.
fn holding(numbers: &[u128]) -> Snapshot {
    let mut snapshot = Snapshot {
        revision: Revision::new(10),
        ..Snapshot::default()
    };
    for number in numbers {
        snapshot
            .entities
            .insert(key(*number), stored(Put("old"), 4));
    }
    snapshot
}

/// An answer in one word: `v5 Applied`, `=4`, `ServerWon 4`, `GroupAborted`.
pub(super) fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Written { written, .. } => {
            format!("v{} {:?}", written.version.number(), written.resolution)
        }
        Answer::Unchanged { version, .. } => format!("={}", version.number()),
        Answer::Conflict(conflicting) => {
            format!(
                "{:?} {}",
                conflicting.verdict,
                conflicting.copy.version.number()
            )
        }
        Answer::Rejected(rejection) => format!("{:?}", rejection.code),
    }
}

fn briefs(plan: &Plan) -> Vec<String> {
    plan.answers.iter().map(brief).collect()
}

/// The versions written per workout, as (version, revision).
fn written(plan: &Plan) -> Vec<(u128, Vec<(i32, i64)>)> {
    let numbers = |write: &EntityWrite| {
        let versions = write.versions.iter();
        versions
            .map(|v| (v.version.number(), v.revision.number()))
            .collect()
    };
    plan.writes
        .iter()
        .map(|write| (write.key.entity_id.as_u128(), numbers(write)))
        .collect()
}

#[test]
fn an_account_without_room_takes_edits_of_what_it_holds_and_nothing_new() {
    let batch = [
        edit(2, Put("new"), 0, 101),
        edit(1, Put("edit"), 4, 102),
        edit(3, Put("one too many"), 0, 103),
        edit(2, Put("of the new one"), 1, 104),
        edit(4, Delete, 0, 105),
        edit(1, Delete, 5, 106),
        // A deletion keeps its place, so that versions go on.
        edit(5, Put("one too many"), 0, 107),
    ];
    let mut snapshot = holding(&[1]);
    let answers = |snapshot: &Snapshot| briefs(&plan(snapshot, &batch, &context()));
    snapshot.room = Some(1);
    let one = [
        "v1 Applied",
        "v5 Applied",
        "QuotaExceeded",
        "v2 Applied",
        "=0",
        "v6 Applied",
        "QuotaExceeded",
    ];
    assert_eq!(answers(&snapshot), one);
    snapshot.room = Some(3);
    assert!(
        answers(&snapshot)
            .iter()
            .all(|answer| answer != "QuotaExceeded")
    );
    snapshot.room = None;
    assert!(
        answers(&snapshot)
            .iter()
            .all(|answer| answer != "QuotaExceeded")
    );
    snapshot.room = Some(0);
    assert_eq!(answers(&snapshot)[0], "QuotaExceeded");
}

#[test]
fn a_group_without_room_aborts_and_leaves_its_room_to_others() {
    let batch = [
        grouped("g", edit(1, Put("a"), 0, 101)),
        grouped("g", edit(2, Put("b"), 0, 102)),
        edit(3, Put("c"), 0, 103),
    ];
    let snapshot = Snapshot {
        room: Some(1),
        ..holding(&[])
    };
    let plan = plan(&snapshot, &batch, &context());
    let expected = ["GroupAborted", "QuotaExceeded", "v1 Applied"];
    assert_eq!(briefs(&plan), expected);
    assert_eq!(written(&plan), [(3, vec![(1, 11)])]);
}

#[test]
fn a_later_item_sees_what_an_earlier_one_did() {
    let batch = [
        edit(1, Put("a"), 0, 101),
        edit(1, Put("b"), 0, 102),
        edit(2, Put("c"), 0, 103),
        edit(1, Delete, 0, 104),
        edit(1, Delete, 0, 105),
        edit(1, Put("d"), 3, 106),
    ];
    let plan = plan(&holding(&[]), &batch, &context());
    assert_eq!(
        briefs(&plan),
        [
            "v1 Applied",
            "v2 Applied",
            "v1 Applied",
            "v3 Applied",
            "=3",
            "v4 Resurrected"
        ]
    );
    let expected = [
        (1, vec![(1, 11), (2, 12), (3, 14), (4, 15)]),
        (2, vec![(1, 13)]),
    ];
    assert_eq!(written(&plan), expected);
    assert_eq!(plan.writes[0].replaces, None);
}

#[test]
fn a_chain_on_a_stored_version_replaces_it_once_and_knows_who_was_before() {
    let batch = [edit(1, Put("a"), 4, 101), edit(1, Put("b"), 4, 102)];
    let plan = plan(&holding(&[1]), &batch, &context());
    assert_eq!(briefs(&plan), ["v5 Applied", "v6 Applied"]);
    let [write] = plan.writes.as_slice() else {
        panic!("one entity: {:?}", plan.writes)
    };
    assert_eq!(write.replaces, Some(version(4)));
    for new in &write.versions {
        assert_eq!(new.foreign_version, version(4), "the phone wrote version 4");
    }
}

#[test]
fn the_same_mutation_twice_in_a_batch_is_applied_once() {
    let batch = [
        edit(1, Put("a"), 4, 101),
        edit(1, Put("b"), 4, 102),
        edit(1, Put("a"), 4, 101),
    ];
    let plan = plan(&holding(&[1]), &batch, &context());
    assert_eq!(briefs(&plan), ["v5 Applied", "v6 Applied", "v5 Applied"]);
    assert_eq!(written(&plan), [(1, vec![(5, 11), (6, 12)])]);
}

#[test]
fn one_item_never_decides_the_fate_of_another() {
    let batch = [
        edit(1, Put("a"), 4, 101),
        bad(),
        edit(2, Put("b"), 1, 102),
        edit(3, Put("c"), 0, 103),
    ];
    let plan = plan(&holding(&[1, 2]), &batch, &context());
    assert_eq!(
        briefs(&plan),
        ["v5 Applied", "InvalidItem", "NeedsUser 4", "v1 Applied"]
    );
}

#[test]
fn a_conflict_carries_the_copy_the_item_met() {
    let batch = [edit(1, Put("mine"), 2, 101)];
    let plan = plan(&holding(&[1]), &batch, &context());
    let Answer::Conflict(conflicting) = &plan.answers[0] else {
        panic!("a conflict: {:?}", plan.answers)
    };
    assert_eq!(conflicting.verdict, Verdict::NeedsUser);
    let copy = &conflicting.copy;
    assert_eq!(copy.device, device("phone"));
    assert_eq!(copy.device_label.as_deref(), Some("Mia's phone"));
    let text = copy.document.as_ref().map(|d| d.text().to_owned());
    assert_eq!(text.as_deref(), Some("{\"title\":\"old\"}"));
    assert!(plan.writes.is_empty());
}

#[test]
fn a_group_is_applied_whole_or_not_at_all() {
    let conflict = || edit(2, Put("x"), 1, 102);
    type Case = (&'static str, Vec<Submission>, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        (
            "all well",
            vec![
                grouped("g", edit(1, Put("a"), 4, 101)),
                grouped("g", edit(3, Put("b"), 0, 103)),
            ],
            &["v5 Applied", "v1 Applied"],
        ),
        (
            "a conflict behind",
            vec![
                grouped("g", edit(1, Put("a"), 4, 101)),
                grouped("g", conflict()),
            ],
            &["GroupAborted", "NeedsUser 4"],
        ),
        (
            "a bad item in front",
            vec![grouped("g", bad()), grouped("g", edit(1, Put("a"), 4, 101))],
            &["InvalidItem", "GroupAborted"],
        ),
        (
            "unchanged does not abort, but is aborted",
            vec![
                grouped("g", edit(1, Put("old"), 2, 101)),
                grouped("g", edit(3, Put("b"), 0, 103)),
                grouped("h", edit(1, Put("old"), 2, 104)),
                grouped("h", conflict()),
            ],
            &["=4", "v1 Applied", "GroupAborted", "NeedsUser 4"],
        ),
        (
            "the others never see an aborted item",
            vec![
                grouped("g", edit(1, Put("a"), 4, 101)),
                edit(1, Put("b"), 4, 105),
                grouped("g", conflict()),
            ],
            &["GroupAborted", "v5 Applied", "NeedsUser 4"],
        ),
        (
            "an aborted group takes down who stood on it, and only them",
            vec![
                grouped("g", edit(5, Put("a"), 0, 101)),
                grouped("h", edit(1, Put("b"), 4, 106)),
                grouped("h", edit(6, Put("c"), 0, 107)),
                grouped("g", conflict()),
            ],
            &["GroupAborted", "v5 Applied", "v1 Applied", "NeedsUser 4"],
        ),
        (
            "a group of one is like none",
            vec![
                grouped("g", conflict()),
                grouped("h", edit(1, Put("a"), 4, 101)),
            ],
            &["NeedsUser 4", "v5 Applied"],
        ),
    ];
    for (case, batch, expected) in cases {
        let plan = plan(&holding(&[1, 2]), &batch, &context());
        assert_eq!(briefs(&plan), expected, "{case}");
    }
}

#[test]
fn a_conflict_of_an_aborted_group_never_shows_what_the_group_did_not_write() {
    let older = |submission: Submission| {
        let item = submission.item.map(|item| Item {
            edit_time: Millis(NOW.0 - 120_000),
            ..item
        });
        Submission { item, ..submission }
    };
    let batch = [
        grouped("g", edit(1, Delete, 4, 101)),
        // Meets the tombstone of the line above, which is then taken back.
        grouped("g", older(edit(1, Put("x"), 3, 102))),
    ];
    let plan = plan(&holding(&[1]), &batch, &context());
    assert_eq!(briefs(&plan), ["GroupAborted", "NeedsUser 4"]);
    let Answer::Conflict(conflicting) = &plan.answers[1] else {
        panic!("a conflict: {:?}", plan.answers)
    };
    assert!(
        conflicting.copy.document.is_some(),
        "the server holds it live"
    );
    assert!(plan.writes.is_empty());
    assert!(plan.inbox.is_empty(), "no inbox entry opened");
    assert_eq!(conflicting.conflict, None);
}

#[test]
fn what_may_not_be_read_is_put_off() {
    let mut snapshot = holding(&[1]);
    for stored in snapshot.entities.values_mut() {
        stored.content = Content::Withheld;
    }
    let batch = [edit(1, Put("x"), 2, 101), edit(1, Put("y"), 4, 102)];
    let plan = plan(&snapshot, &batch, &context());
    assert_eq!(
        briefs(&plan),
        ["RetryLater", "v5 Applied"],
        "unless nobody has to look"
    );
}

#[test]
fn copies_that_do_not_fit_into_the_answer_are_put_off() {
    let batch = [
        edit(1, Put("x"), 1, 101),
        edit(2, Put("x"), 1, 102),
        edit(3, Put("x"), 0, 103),
    ];
    let copy_bytes = "{\"title\":\"old\"}".len();
    for (copy_bytes_max, expected) in [
        (0, ["NeedsUser 4", "RetryLater", "v1 Applied"]),
        (
            copy_bytes * 2 - 1,
            ["NeedsUser 4", "RetryLater", "v1 Applied"],
        ),
        (copy_bytes * 2, ["NeedsUser 4", "NeedsUser 4", "v1 Applied"]),
    ] {
        let context = BatchContext {
            copy_bytes_max,
            ..context()
        };
        let plan = plan(&holding(&[1, 2]), &batch, &context);
        assert_eq!(briefs(&plan), expected, "{copy_bytes_max}");
    }
}

/// A server in memory: what the store would hold after the plans so far.
#[derive(Default)]
struct Memory {
    snapshot: Snapshot,
}

impl Memory {
    fn push(&mut self, device_name: &str, batch: &[Submission]) -> Plan {
        let context = BatchContext {
            device: device(device_name),
            ..context()
        };
        let plan = plan(&self.snapshot, batch, &context);
        for write in &plan.writes {
            for new in &write.versions {
                self.apply(write, new, &context);
            }
        }
        plan
    }

    fn apply(&mut self, write: &EntityWrite, new: &NewVersion, context: &BatchContext) {
        let written = Written {
            version: new.version,
            resolution: new.resolution,
            at: context.now,
            merged: None,
            withheld: false,
        };
        let known = self
            .snapshot
            .written
            .insert((write.key.clone(), new.mutation), written);
        assert!(known.is_none(), "a mutation was applied twice");
        self.snapshot.revision = self.snapshot.revision.max(new.revision);
        let stored = Stored {
            version: new.version,
            content: new
                .document
                .clone()
                .map_or(Content::Tombstone, Content::Live),
            device: context.device.clone(),
            device_label: None,
            foreign_version: new.foreign_version,
            base: new.base,
            mutation: new.mutation,
            merged: false,
            edit_time: new.edit_time,
            clock_offset_ms: 0,
            updated_at: context.now,
        };
        self.snapshot.entities.insert(write.key.clone(), stored);
    }
}

fn any_submission() -> impl Strategy<Value = Submission> {
    let edits = prop_oneof![Just(Put("a")), Just(Put("b")), Just(Put("c")), Just(Delete)];
    let groups = prop_oneof![
        4 => Just(None),
        1 => Just(Some("g".to_owned())),
        1 => Just(Some("h".to_owned())),
    ];
    let fields = (
        1u128..4,
        edits,
        0i32..6,
        0u128..30,
        any::<bool>(),
        -5i64..5,
        groups,
    );
    prop_oneof![
        1 => Just(bad()),
        12 => fields.prop_map(|(number, change, base, mutation, force, later, group)| {
            let mut submission = edit(number, change, base, mutation);
            submission.group = group;
            if let Ok(item) = &mut submission.item {
                item.force = force && later > 2;
                item.edit_time = Millis(NOW.0 + later);
            }
            submission
        }),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<(&'static str, Vec<Submission>)>> {
    let devices = prop_oneof![Just("phone"), Just("tablet")];
    prop::collection::vec(
        (devices, prop::collection::vec(any_submission(), 0..8)),
        1..8,
    )
}

proptest! {
    #[test]
    fn answers_match_the_batch_and_versions_and_revisions_rise_by_one(history in any_history()) {
        let mut memory = Memory::default();
        for (device, batch) in &history {
            let before = memory.snapshot.entities.clone();
            let mut revision = memory.snapshot.revision;
            let plan = memory.push(device, batch);
            prop_assert_eq!(plan.answers.len(), batch.len());
            let mut revisions = Vec::new();
            for write in &plan.writes {
                let stored = before.get(&write.key).map(|stored| stored.version);
                prop_assert_eq!(write.replaces, stored);
                let mut version = stored;
                for new in &write.versions {
                    // The only gap: a base beyond what the server holds.
                    prop_assert!(version.is_none_or(|v| new.version > v));
                    if batch_bases(batch, &write.key).all(|base| Some(base) <= version) {
                        prop_assert_eq!(Some(new.version), version.unwrap_or_default().next());
                    }
                    version = Some(new.version);
                    revisions.push(new.revision);
                }
            }
            revisions.sort();
            for given in revisions {
                revision = revision.after(1);
                prop_assert_eq!(given, revision);
            }
        }
    }

    #[test]
    fn success_means_the_server_holds_what_was_sent(history in any_history()) {
        let mut memory = Memory::default();
        for (device, batch) in &history {
            let known: HashSet<_> = memory.snapshot.written.keys().cloned().collect();
            let plan = memory.push(device, batch);
            for (submission, answer) in batch.iter().zip(&plan.answers) {
                let (Ok(item), Answer::Written { written, .. }) = (&submission.item, answer) else {
                    continue;
                };
                if known.contains(&(item.key.clone(), item.mutation)) {
                    continue;
                }
                let new = plan.writes.iter().filter(|write| write.key == item.key)
                    .flat_map(|write| &write.versions)
                    .find(|new| new.version == written.version);
                let new = new.expect("the version was written");
                prop_assert_eq!(new.mutation, item.mutation);
            }
        }
    }

    #[test]
    fn replaying_a_batch_writes_nothing_and_repeats_what_was_written(
        history in any_history(),
        times in 1usize..4,
    ) {
        let mut memory = Memory::default();
        let mut answered = Vec::new();
        for (device, batch) in &history {
            let plan = memory.push(device, batch);
            answered.push((device, batch, briefs(&plan)));
        }
        // Late, and again and again: whatever was applied gets its first answer.
        for _ in 0..times {
            for (device, batch, first) in &answered {
                let applied: Vec<Submission> = batch.iter().zip(first)
                    .filter(|(_, answer)| answer.starts_with('v'))
                    .map(|(submission, _)| submission.clone())
                    .collect();
                let mut first = first.clone();
                first.retain(|answer| answer.starts_with('v'));
                let again = memory.push(device, &applied);
                prop_assert!(again.writes.is_empty());
                prop_assert_eq!(briefs(&again), first);
            }
        }
    }

    #[test]
    fn a_whole_batch_sent_again_at_once_gets_the_same_answers(history in any_history()) {
        let mut memory = Memory::default();
        for (device, batch) in &history {
            // Without conflicts, groups or a mutation id used twice nothing depends on order, so
            // the very same batch can be compared answer by answer.
            let mut seen = HashSet::new();
            let plain: Vec<Submission> = batch.iter()
                .filter(|s| s.group.is_none())
                .filter(|s| s.item.as_ref().is_ok_and(|item| seen.insert(item.key.clone())))
                .cloned()
                .collect();
            let first = memory.push(device, &plain);
            let again = memory.push(device, &plain);
            prop_assert!(again.writes.is_empty());
            prop_assert_eq!(briefs(&first), briefs(&again));
        }
    }

    /// Except that what was applied before is still said to be (promise 4).
    #[test]
    fn a_failed_group_leaves_no_trace(history in any_history()) {
        let mut memory = Memory::default();
        for (device, batch) in &history {
            let new: Vec<bool> = batch.iter().map(|s| !memory.snapshot.has_of(s)).collect();
            let plan = memory.push(device, batch);
            for group in ["g", "h"] {
                let members: Vec<usize> = (0..batch.len())
                    .filter(|i| new[*i] && batch[*i].group.as_deref() == Some(group))
                    .collect();
                let failed = members.iter().filter(|i| plan.answers[**i].fails()).count();
                prop_assert!(failed == 0 || failed == members.len(), "{:?}", briefs(&plan));
            }
        }
    }
}

fn batch_bases<'a>(
    batch: &'a [Submission],
    key: &'a EntityKey,
) -> impl Iterator<Item = Version> + 'a {
    batch
        .iter()
        .filter_map(|submission| submission.item.as_ref().ok())
        .filter(move |item| item.key == *key)
        .map(|item| item.base)
}

#[test]
fn equal_content_is_equal_however_it_is_written() {
    let spaced = super::super::testing::document("{ \"title\" : \"old\" }");
    let Content::Live(plain) = content(Put("old")) else {
        panic!("live")
    };
    assert!(plain.same_as(&spaced));
}
