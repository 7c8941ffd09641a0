//! Edits queued offline on one base, after another device has written: they settle in the order sent
//! (promise 5), together or one by one. And what waits, or came before, stays what it was.

use super::memory::Wish;
use super::scenarios::scene::{MINUTE, Made, Scene, delete, key, put};
use super::*;
use crate::domain::conflict::{ConflictId, ContentId, Kind};
use crate::domain::resolve::Choice;
use crate::domain::testing::{NOW, device, document, version};

/// The phone's edits on version 1, in the order made, after the tablet has written version 2. Times are
/// minutes; each is tried in one batch and one by one.
fn chain(tablet: Made, phone: &[Made], told: &[&str], held: Option<&str>) {
    let entity_type = tablet.entity_type;
    for together in [true, false] {
        let mut scene = Scene::new();
        let base = r#"{"notes":"","order":1}"#;
        scene.push("phone", &[put(entity_type, 0, base).at(NOW.0)]);
        scene.push("tablet", std::slice::from_ref(&tablet));
        let answers = match together {
            true => scene.push("phone", phone),
            false => phone
                .iter()
                .flat_map(|edit| scene.push("phone", std::slice::from_ref(edit)))
                .collect(),
        };
        assert_eq!(answers, told, "{entity_type}, together: {together}");
        match held {
            Some(held) => scene.holds_as(entity_type, held),
            None => assert_eq!(scene.holds(entity_type), None, "{entity_type}"),
        }
        assert_eq!(scene.memory.open, 0, "{entity_type}: nobody is asked");
    }
}

fn at(minutes: i64, made: Made) -> Made {
    made.at(NOW.0 + minutes * MINUTE)
}

/// The tablet's edit is the latest of all: what it did not touch is the phone's last all the same.
#[test]
fn a_chain_behind_a_merge_only_brings_what_it_changed_since() {
    let tablet = r#"{"notes":"","order":9}"#;
    let first = r#"{"notes":"a","order":1}"#;
    let second = r#"{"notes":"ab","order":1}"#;
    let both = r#"{"notes":"ab","order":9}"#;
    for entity_type in ["routine_exercise", "exercise_log"] {
        chain(
            at(30, put(entity_type, 1, tablet)),
            &[
                at(10, put(entity_type, 1, first)),
                at(20, put(entity_type, 1, second)),
            ],
            &["Merged 3", "Merged 4"],
            Some(both),
        );
    }
    // Where both changed the same, the later edit has it, also in a chain.
    let mine = r#"{"notes":"a","order":5}"#;
    let again = r#"{"notes":"a","order":6}"#;
    chain(
        at(30, put("routine_exercise", 1, tablet)),
        &[
            at(10, put("routine_exercise", 1, mine)),
            at(20, put("routine_exercise", 1, again)),
        ],
        &["Merged 3", "Merged 3"],
        Some(r#"{"notes":"a","order":9}"#),
    );
}

#[test]
fn a_chain_behind_a_larger_total_brings_its_words_too() {
    chain(
        at(30, put("volume", 1, r#"{"notes":"","order":9}"#)),
        &[
            at(10, put("volume", 1, r#"{"week":"1","order":1}"#)),
            at(20, put("volume", 1, r#"{"week":"2","order":1}"#)),
        ],
        &["Merged 3", "Merged 4"],
        Some(r#"{"notes":"","order":9,"week":"2"}"#),
    );
}

/// A coarse clock, or none: the order sent decides between edits of one device.
#[test]
fn a_chain_that_has_won_goes_on_whatever_its_clock_says() {
    let (one, two, three) = (
        r#"{"notes":"1","order":1}"#,
        r#"{"notes":"2","order":1}"#,
        r#"{"notes":"3","order":1}"#,
    );
    let edits = [one, two, three].map(|text| at(20, put("routine", 1, text)));
    chain(
        at(10, put("routine", 1, r#"{"notes":"t","order":1}"#)),
        &edits,
        &["v3 ClientWon", "v4 Applied", "v5 Applied"],
        Some(three),
    );
    // Over a deletion, and with one of its own at the end.
    let mut edits = edits.map(|edit| Made {
        entity_type: "profile",
        ..edit
    });
    edits[2] = at(20, delete("profile", 1));
    chain(
        at(10, delete("profile", 1)),
        &edits,
        &["v3 Resurrected", "v4 Applied", "v5 Applied"],
        None,
    );
}

/// What lost, or was never told, and comes again late does not go on from a newer edit of its device.
#[test]
fn an_older_edit_that_comes_again_does_not_go_on_from_a_newer_one() {
    let mut scene = Scene::new();
    scene.push("phone", &[at(0, put("routine", 0, r#"{"n":0}"#))]);
    scene.push("tablet", &[at(10, put("routine", 1, r#"{"n":1}"#))]);
    let older = scene.submission("phone", &at(5, put("routine", 1, r#"{"n":2}"#)));
    let older = std::slice::from_ref(&older);
    assert_eq!(scene.send("phone", older), ["ServerWon 2"]);
    let newer = at(20, put("routine", 1, r#"{"n":3}"#));
    assert_eq!(scene.push("phone", &[newer]), ["v3 ClientWon"]);
    assert_eq!(scene.send("phone", older), ["ServerWon 3"]);
    scene.holds_as("routine", r#"{"n":3}"#);
}

/// A merge of an older edit leaves what waits of a newer one.
#[test]
fn an_older_edit_that_merges_by_now_does_not_settle_a_newer_one() {
    let log = |notes: &str, reps: i32| format!(r#"{{"notes":"{notes}","reps":{reps}}}"#);
    let mut scene = Scene::new();
    scene.push("phone", &[put("exercise_log", 0, &log("", 1))]);
    scene.push("tablet", &[put("exercise_log", 1, &log("", 2))]);
    let older = scene.submission("phone", &put("exercise_log", 1, &log("", 3)));
    let newer = scene.submission("phone", &put("exercise_log", 1, &log("mine", 3)));
    let queue = [older, newer];
    assert_eq!(scene.send("phone", &queue), ["NeedsUser 2", "NeedsUser 2"]);
    // The tablet comes to hold what the older edit says, and the queue is sent again.
    scene.push("tablet", &[put("exercise_log", 2, &log("", 3))]);
    let told = scene.send("phone", &queue);
    assert_eq!(told, ["=3", "v4 ClientWon"]);
    scene.holds_as("exercise_log", &log("mine", 3));
}

/// An app that sends other data under the same mutation id loses neither (promise 1).
#[test]
fn other_data_under_a_kept_mutation_id_is_kept_beside_it() {
    for entity_type in ["workout", "routine"] {
        let mut scene = Scene::new();
        scene.push("phone", &[put(entity_type, 0, r#"{"n":0}"#)]);
        scene.push("tablet", &[at(10, put(entity_type, 1, r#"{"n":1}"#))]);
        let first = scene.submission("phone", &at(5, put(entity_type, 1, r#"{"n":2}"#)));
        let mut second = scene.submission("phone", &at(6, put(entity_type, 1, r#"{"n":3}"#)));
        let mutation = first.item.as_ref().expect("valid").mutation;
        second.item.as_mut().expect("valid").mutation = mutation;
        for _ in 0..2 {
            scene.send("phone", std::slice::from_ref(&first));
            scene.send("phone", std::slice::from_ref(&second));
        }
        let mut sides = scene.sides();
        sides.sort();
        assert_eq!(sides, [r#"{"n":2}"#, r#"{"n":3}"#], "{entity_type}");
        if entity_type == "workout" {
            let open: Vec<_> = scene.memory.open_conflicts().collect();
            assert_eq!(open.len(), 1);
            let side = &scene.memory.sides[&(key(entity_type), open[0].mutation)];
            assert_eq!(side.content, ContentId::of(Some(&document(r#"{"n":3}"#))));
        }
    }
}

/// A phone restored from a backup has the queue of the one before, under a device id of its own.
#[test]
fn the_same_edit_from_another_device_is_a_conflict_of_its_own() {
    let kind = Kind::Edit;
    let mutation = MutationId(Uuid::from_u128(9));
    let of = |name| ConflictId::opened_by(&kind, &key("workout"), mutation, &device(name));
    assert_ne!(of("phone"), of("phone restored"));
    assert_eq!(of("phone"), of("phone"));
}

/// The server was restored from a backup: what it lost is not given out again by a decision (promise 6).
#[test]
fn a_decision_for_an_edit_the_server_is_behind_of_skips_what_was_lost() {
    let mut scene = Scene::new();
    scene.push("tablet", &[put("workout", 0, r#"{"n":0}"#)]);
    let (_, conflicting) = scene.conflict("phone", &put("workout", 10, r#"{"n":1}"#));
    let wish = Wish {
        conflict: conflicting.conflict.expect("a conflict"),
        choice: Choice::KeepClient,
        expected: version(1),
        expected_other: Version::NONE,
    };
    scene.memory.resolve(&device("web"), scene.now, &wish);
    assert_eq!(scene.memory.version(&key("workout")), version(11));
}

/// The server was restored from a backup, and another device has written since: both edits that wait on what
/// the server lost are merged with that, not only the first.
#[test]
fn a_chain_on_a_version_the_server_has_lost_is_merged_to_its_end() {
    let mut scene = Scene::new();
    scene.push("tablet", &[put("volume", 0, r#"{"chest":12}"#)]);
    let first = put("volume", 10, r#"{"back":6}"#);
    let second = put("volume", 10, r#"{"back":8}"#);
    let told = scene.push("phone", &[first, second]);
    assert_eq!(told, ["Merged 11", "Merged 12"]);
    scene.holds_as("volume", r#"{"chest":12,"back":8}"#);
}

/// Many groups that fail one because of the other: decided anew only so often, and none is lost.
#[test]
fn a_batch_of_nothing_but_failing_groups_is_bounded() {
    let mut scene = Scene::new();
    let mut batch = Vec::new();
    for n in 0..100_u128 {
        for part in 0..2_u128 {
            let made = put("profile", 0, &format!(r#"{{"n":{n}}}"#));
            let mut submission = scene.submission("phone", &made);
            submission.group = Some(format!("g{n}"));
            let item = submission.item.as_mut().expect("valid");
            item.key.entity_id = Uuid::from_u128(1000 + 2 * n + part);
            item.read_only = part == 1;
            batch.push(submission);
        }
    }
    let told = scene.send("phone", &batch);
    let count = |word: &str| told.iter().filter(|answer| *answer == word).count();
    assert_eq!(
        count("GroupAborted") + count("ReadOnly") + count("RetryLater"),
        200
    );
    assert!(count("RetryLater") > 0 && count("ReadOnly") > 0, "{told:?}");
    assert_eq!(
        scene.memory.revision,
        Revision::default(),
        "nothing is written"
    );
}
