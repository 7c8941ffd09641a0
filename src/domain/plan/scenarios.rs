//! What happens in the field, told as stories: with the built-in catalog, from the wire to the store.

pub(super) mod scene;

use super::memory::Wish;
use super::*;
use crate::domain::answer::{Conflicting, Verdict};
use crate::domain::conflict::Settlement;
use crate::domain::resolve::{Choice, ResolveStatus};
use crate::domain::testing::{NOW, device, document, version};
use scene::{DAY, MINUTE, OFF, Scene, delete, key, put};

/// Rules 7 and 8. Whichever arrives first, and whatever the clocks say, what was done later stands, and
/// what it beat can be read back.
#[test]
fn a_deletion_against_an_edit_ends_as_what_was_done_later_in_either_order() {
    const EDITED: &str = r#"{"title":"Push day"}"#;
    let later = |edit: i64| match edit {
        edit if edit > 0 => "edit",
        0 => "neither",
        _ => "deletion",
    };
    for edit_clock in OFF {
        for delete_clock in OFF {
            for edited_after in [-MINUTE, 0, MINUTE] {
                for deletion_arrives_first in [true, false] {
                    let mut scene = Scene::new();
                    scene.push("phone", &[put("workout", 0, "{}").at(NOW.0 - DAY)]);
                    let edit = put("workout", 1, EDITED)
                        .at(NOW.0 + edited_after)
                        .by_a_clock_off_by(edit_clock);
                    let deletion = delete("workout", 1)
                        .at(NOW.0)
                        .by_a_clock_off_by(delete_clock);
                    let (first, second) = match deletion_arrives_first {
                        true => (("tablet", deletion), ("phone", edit)),
                        false => (("phone", edit), ("tablet", deletion)),
                    };
                    assert_eq!(scene.push(first.0, &[first.1]), ["v2 Applied"]);
                    let told = scene.push(second.0, &[second.1]).remove(0);
                    let case = (
                        edit_clock,
                        delete_clock,
                        edited_after,
                        deletion_arrives_first,
                    );
                    let (expected, live) = match (later(edited_after), deletion_arrives_first) {
                        ("edit", true) => ("v3 Resurrected", true),
                        ("edit", false) => ("ServerWon 2", true),
                        ("deletion", true) => ("ServerWon 2", false),
                        ("deletion", false) => ("v3 ClientWon", false),
                        // Of two equally late edits the stored one stays.
                        (_, true) => ("ServerWon 2", false),
                        (_, false) => ("ServerWon 2", true),
                    };
                    assert_eq!(told, expected, "{case:?}");
                    assert_eq!(scene.holds("workout").is_some(), live, "{case:?}");
                    let mut found = scene.sides();
                    let versions = &scene.memory.versions[&key("workout")];
                    let texts = versions.iter().filter_map(|row| row.new.document.as_ref());
                    found.extend(texts.map(|document| document.text().to_owned()));
                    assert!(found.iter().any(|text| text == EDITED), "{case:?}");
                    assert_eq!(scene.memory.open, 0, "nobody is asked");
                }
            }
        }
    }
}

#[test]
fn weekly_volume_from_two_devices_is_the_larger_of_each_in_either_order() {
    let base = r#"{"week":"2024-W07","muscleGroups":{"chest":{"sets":10},"back":{"sets":8}}}"#;
    let phone = r#"{"week":"2024-W07","muscleGroups":{"chest":{"sets":13},"back":{"sets":8}}}"#;
    let tablet = r#"{"week":"2024-W07","muscleGroups":{"chest":{"sets":10},"back":{"sets":8},"legs":{"sets":4}}}"#;
    let both = r#"{"week":"2024-W07","muscleGroups":{"chest":{"sets":13},"back":{"sets":8},"legs":{"sets":4}}}"#;
    for (first, second) in [(phone, tablet), (tablet, phone)] {
        for clock in OFF {
            let mut scene = Scene::new();
            scene.push("watch", &[put("volume", 0, base)]);
            assert_eq!(
                scene.push("phone", &[put("volume", 1, first)]),
                ["v2 Applied"]
            );
            let made = put("volume", 1, second).by_a_clock_off_by(clock);
            let item = scene.submission("tablet", &made);
            assert_eq!(
                scene.send("tablet", std::slice::from_ref(&item)),
                ["Merged 3"]
            );
            scene.holds_as("volume", both);
            assert_eq!(scene.sides(), [second], "what the tablet sent is kept");
            // The answer was lost: the same again, also when somebody has written since.
            assert_eq!(
                scene.send("tablet", std::slice::from_ref(&item)),
                ["Merged 3"]
            );
            scene.push("watch", &[put("volume", 3, base)]);
            assert_eq!(
                scene.send("tablet", std::slice::from_ref(&item)),
                ["Merged 3"]
            );
            scene.is_silent("tablet", &[item]);
        }
    }
}

/// Each day is a place of its own, and has the time it was edited.
#[test]
fn recovery_is_merged_day_by_day_in_either_order() {
    let day = |sleep: i64, at: i64| format!("{{\"sleep\":{sleep},\"updatedAt\":{at}}}");
    let at = |minutes: i64| NOW.0 + minutes * MINUTE;
    let base = format!("{{\"days\":{{\"mon\":{}}}}}", day(6, at(-60)));
    let (monday, tuesday) = (day(7, at(1)), day(8, at(2)));
    let phone = format!(
        "{{\"days\":{{\"mon\":{monday},\"wed\":{}}}}}",
        day(5, at(3))
    );
    let tablet = format!(
        "{{\"days\":{{\"mon\":{},\"tue\":{tuesday},\"wed\":{}}}}}",
        day(6, at(-60)),
        day(9, at(4))
    );
    let both = format!(
        "{{\"days\":{{\"mon\":{monday},\"tue\":{tuesday},\"wed\":{}}}}}",
        day(9, at(4))
    );
    for first in ["phone", "tablet"] {
        let mut scene = Scene::new();
        scene.push("watch", &[put("recovery", 0, &base).at(at(-60))]);
        let phone = put("recovery", 1, &phone).at(at(3));
        let tablet = put("recovery", 1, &tablet).at(at(4));
        let told = match first {
            "phone" => [
                scene.push("phone", &[phone]),
                scene.push("tablet", &[tablet]),
            ],
            _ => [
                scene.push("tablet", &[tablet]),
                scene.push("phone", &[phone]),
            ],
        };
        assert_eq!(told.concat(), ["v2 Applied", "Merged 3"], "{first} first");
        scene.holds_as("recovery", &both);
        assert_eq!(scene.sides().len(), 1);
    }
}

#[test]
fn the_exercise_library_stays_as_the_operator_loaded_it_whatever_clients_send() {
    const TYPE: &str = "exercise_definition";
    const LOADED: &str = r#"{"name":"Bench press"}"#;
    let mut scene = Scene::new();
    let unknown = [put(TYPE, 0, LOADED), put(TYPE, 7, LOADED), delete(TYPE, 0)];
    assert_eq!(
        scene.push("phone", &unknown),
        ["ReadOnly", "ReadOnly", "=0"]
    );
    let stored = Stored {
        content: Content::Live(document(LOADED)),
        ..crate::domain::testing::stored(crate::domain::testing::Edit::Delete, 3)
    };
    scene.memory.library.insert(key(TYPE), stored);
    for base in [0, 2, 3, 9] {
        let mine = format!("{{\"name\":\"My bench {base}\"}}");
        let sent = [
            put(TYPE, base, r#"{ "name": "Bench press" }"#),
            put(TYPE, base, &mine),
            delete(TYPE, base),
        ];
        assert_eq!(
            scene.push("phone", &sent),
            ["=3", "ServerWon 3", "ServerWon 3"]
        );
        assert!(
            scene.sides().contains(&mine),
            "what the person wrote is kept"
        );
    }
    assert_eq!(scene.sides().len(), 8, "four edits and four deletions");
    assert_eq!(scene.memory.open, 0, "nobody is asked");
    assert!(scene.memory.versions.is_empty(), "nothing is written");
}

const BASE: &str =
    r#"{"title":"Wednesday","exercises":[{"id":"row","sets":[{"id":1,"weight":135}]}]}"#;
const PHONE: &str = r#"{"title":"Wednesday","exercises":[{"id":"row","sets":[{"id":1,"weight":135}]},{"id":"bench","sets":[{"id":1,"weight":225},{"id":2,"weight":225},{"id":3,"weight":225}]}]}"#;
const TABLET: &str = r#"{"title":"Wednesday","exercises":[{"id":"row","sets":[{"id":1,"weight":135}]},{"id":"squat","sets":[{"id":1,"weight":315},{"id":2,"weight":315},{"id":3,"weight":315}]}]}"#;
const BOTH: &str = r#"{"title":"Wednesday","exercises":[{"id":"row","sets":[{"id":1,"weight":135}]},{"id":"bench","sets":[{"id":1,"weight":225},{"id":2,"weight":225},{"id":3,"weight":225}]},{"id":"squat","sets":[{"id":1,"weight":315},{"id":2,"weight":315},{"id":3,"weight":315}]}]}"#;

/// A workout that both devices had at version 1; each added an exercise in the basement.
fn bench_against_squat() -> (Scene, Submission, Conflicting) {
    let mut scene = Scene::new();
    scene.push("phone", &[put("workout", 0, BASE).at(NOW.0 - DAY)]);
    let bench = put("workout", 1, PHONE).at(NOW.0);
    assert_eq!(scene.push("phone", &[bench]), ["v2 Applied"]);
    let squat = put("workout", 1, TABLET).at(NOW.0 + MINUTE);
    let (item, conflicting) = scene.conflict("tablet", &squat);
    (scene, item, conflicting)
}

#[test]
fn bench_on_the_phone_and_squat_on_the_tablet_are_offered_as_one_workout() {
    let (scene, item, conflicting) = bench_against_squat();
    assert_eq!(conflicting.verdict, Verdict::NeedsUser);
    let text = |document: Option<Arc<Document>>| document.expect("a document");
    assert!(text(conflicting.copy.document).same_as(&document(PHONE)));
    assert!(text(conflicting.base).same_as(&document(BASE)));
    assert!(text(conflicting.proposed).same_as(&document(BOTH)));
    assert_eq!(
        conflicting.overlaps, [""; 0],
        "no place was changed by both"
    );
    assert_eq!(conflicting.copy.device, device("phone"));
    assert_eq!(
        (scene.memory.open, scene.sides()),
        (1, vec![TABLET.to_owned()])
    );
    scene.is_silent("tablet", &[item]);
}

#[test]
fn bench_against_squat_is_settled_in_each_of_three_ways_and_then_silent() {
    for (choice, settlement, then, at) in [
        (Choice::KeepServer, Settlement::KeepServer, PHONE, 2),
        (Choice::KeepClient, Settlement::KeepClient, TABLET, 3),
        (
            Choice::UseData(document(BOTH)),
            Settlement::UseData,
            BOTH,
            3,
        ),
    ] {
        let (mut scene, item, conflicting) = bench_against_squat();
        let mut wish = Wish {
            conflict: conflicting.conflict.expect("a conflict"),
            choice,
            expected: version(1),
            expected_other: Version::NONE,
        };
        let phone = device("phone");
        let stale = scene.memory.resolve(&phone, scene.now, &wish);
        assert_eq!(
            stale.status,
            ResolveStatus::Moved,
            "they have not seen the bench"
        );
        scene.holds_as("workout", PHONE);
        assert_eq!(scene.memory.open, 1);
        wish.expected = version(2);
        for _ in 0..2 {
            let resolved = scene.memory.resolve(&phone, scene.now, &wish);
            assert_eq!(resolved.status, ResolveStatus::Resolved);
            assert_eq!(resolved.copy.map(|copy| copy.version), Some(version(at)));
        }
        scene.holds_as("workout", then);
        assert_eq!(
            (scene.memory.open, scene.memory.version(&key("workout"))),
            (0, version(at))
        );
        let settled = scene.memory.conflicts[&wish.conflict].settled.clone();
        let settled = settled.expect("settled");
        assert_eq!((settled.settlement, settled.by), (settlement, phone));
        // The tablet syncs once more, with what it had queued and with what it learnt.
        let again = [item];
        scene.is_silent("tablet", &again);
        let answer = scene.send("tablet", &again).remove(0);
        let expected = match settlement {
            Settlement::KeepClient => "=3",
            _ => &format!("ServerWon {at}"),
        };
        assert_eq!(answer, expected);
        assert!(scene.sides().contains(&TABLET.to_owned()), "for ever");
    }
}

#[test]
fn the_item_of_a_settled_conflict_comes_back_by_force_only() {
    let (mut scene, mut item, conflicting) = bench_against_squat();
    let wish = Wish {
        conflict: conflicting.conflict.expect("a conflict"),
        choice: Choice::KeepServer,
        expected: version(2),
        expected_other: Version::NONE,
    };
    scene.memory.resolve(&device("phone"), scene.now, &wish);
    let again = std::slice::from_ref(&item);
    assert_eq!(scene.send("tablet", again), ["ServerWon 2"]);
    item.item.as_mut().expect("an item").force = true;
    let again = std::slice::from_ref(&item);
    assert_eq!(scene.send("tablet", again), ["v3 ClientWon"]);
    scene.holds_as("workout", TABLET);
    assert_eq!(scene.memory.open, 0, "nothing is opened again");
}

/// Its answer was lost, and its group fails for another reason now (promise 4).
#[test]
fn a_merge_keeps_its_answer_in_a_group_that_fails() {
    let mut scene = Scene::new();
    scene.push("phone", &[put("volume", 0, r#"{"a":1}"#)]);
    scene.push("phone", &[put("volume", 1, r#"{"a":2}"#)]);
    let merged = put("volume", 0, r#"{"b":3}"#).in_group("g");
    let mut batch = vec![scene.submission("tablet", &merged)];
    assert_eq!(scene.send("tablet", &batch), ["Merged 3"]);
    let unknown = put("exercise_definition", 0, "{}").in_group("g");
    batch.push(scene.submission("tablet", &unknown));
    assert_eq!(scene.send("tablet", &batch), ["Merged 3", "ReadOnly"]);
}

#[test]
fn a_device_that_pushes_its_choice_settles_its_conflict() {
    let (mut scene, item, conflicting) = bench_against_squat();
    assert_eq!(
        scene.push("tablet", &[put("workout", 2, BOTH)]),
        ["v3 Applied"]
    );
    let id = conflicting.conflict.expect("a conflict");
    let settled = scene.memory.conflicts[&id]
        .settled
        .clone()
        .expect("settled");
    assert_eq!(settled.settlement, Settlement::Pushed);
    assert_eq!((settled.version, scene.memory.open), (version(3), 0));
    assert_eq!(scene.send("tablet", &[item]), ["ServerWon 3"]);
}

/// Sent together or one after the other, the answers are the same.
#[test]
fn an_edit_behind_a_resurrection_of_its_own_batch_is_merged_against_its_base() {
    let texts = [
        r#"{"notes":"a","order":1}"#,
        r#"{"notes":"b","order":1}"#,
        r#"{"notes":"b","order":2}"#,
    ];
    for together in [true, false] {
        let mut scene = Scene::new();
        scene.push("phone", &[put("routine_exercise", 0, texts[0]).at(NOW.0)]);
        scene.push("tablet", &[delete("routine_exercise", 1).at(NOW.0)]);
        // Both made on version 1, in the same moment by a coarse clock.
        let edits =
            [texts[1], texts[2]].map(|text| put("routine_exercise", 1, text).at(NOW.0 + MINUTE));
        let told = match together {
            true => scene.push("phone", &edits),
            false => edits
                .iter()
                .flat_map(|edit| scene.push("phone", std::slice::from_ref(edit)))
                .collect(),
        };
        assert_eq!(told, ["v3 Resurrected", "v4 Applied"]);
        scene.holds_as("routine_exercise", texts[2]);
    }
}

/// It wrote nothing, so only what the server holds can tell.
#[test]
fn giving_what_the_server_holds_settles_a_conflict_and_does_so_again() {
    let (mut scene, _, conflicting) = bench_against_squat();
    let wish = Wish {
        conflict: conflicting.conflict.expect("a conflict"),
        choice: Choice::UseData(document(PHONE)),
        expected: version(2),
        expected_other: Version::NONE,
    };
    for _ in 0..2 {
        let resolved = scene.memory.resolve(&device("tablet"), scene.now, &wish);
        assert_eq!(resolved.status, ResolveStatus::Resolved);
        assert_eq!(scene.sides().len(), 1, "nothing is kept aside");
    }
    assert_eq!(scene.memory.version(&key("workout")), version(2));
}
