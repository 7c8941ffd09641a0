//! Devices whose clocks are off by an hour, a day or a year, in both directions: no clock wins by being in
//! the future, none is locked out (promise 9; docs/protocol.md, section 4).
//!
//! Every edit has a time at which it is really made. Its device writes down what its own clock shows then,
//! and sends it later, in whatever order.

use proptest::prelude::*;

use super::scenarios::scene::{DAY, HOUR, MINUTE, Made, OFF, Scene, YEAR, delete, put};
use crate::domain::clock::Millis;
use crate::domain::testing::{NOW, document};

/// An offset of up to 2 s is not corrected, a batch is on its way for up to 1 s: so much later than
/// another an edit has to be for its time to tell.
const APART: i64 = 5_001;

/// What two edits fight for, one kind per policy that looks at times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LastWriteWins,
    /// A place that all of them change.
    MergeFields,
    /// A text, which has no maximum.
    MergeMax,
    /// A day, with the time that the device's clock shows.
    LatestPerKey,
    /// Rules 7 and 8: the first of the edits deletes.
    Deletion,
}

const KINDS: [Kind; 5] = [
    Kind::LastWriteWins,
    Kind::MergeFields,
    Kind::MergeMax,
    Kind::LatestPerKey,
    Kind::Deletion,
];

const DEVICES: [&str; 3] = ["phone", "tablet", "watch"];

/// An edit by one of the devices.
#[derive(Debug, Clone)]
struct Edited {
    /// When it is really made.
    at: i64,
    /// How long after all were made it is sent.
    sent_after: i64,
    /// How far the clock is off.
    clock: i64,
    latency_ms: i64,
}

fn any_clock() -> impl Strategy<Value = i64> {
    (prop::sample::select(OFF.to_vec()), -2_500i64..2_500).prop_map(|(off, more)| off + more)
}

fn any_edited() -> impl Strategy<Value = Edited> {
    let within_a_month = 0i64..30 * DAY;
    (within_a_month, 0..DAY, any_clock(), 0i64..1_000).prop_map(
        |(at, sent_after, clock, latency_ms)| Edited {
            at: NOW.0 + at,
            sent_after,
            clock,
            latency_ms,
        },
    )
}

impl Kind {
    fn entity_type(self) -> &'static str {
        match self {
            Self::LastWriteWins => "routine",
            Self::MergeFields => "routine_exercise",
            Self::MergeMax => "volume",
            Self::LatestPerKey => "recovery",
            Self::Deletion => "personal_record",
        }
    }

    /// What a device makes of version 1. `shown` is what its clock shows.
    fn edit(self, who: usize, base: i32, shown: i64) -> Made {
        let name = DEVICES[who];
        let data = match self {
            Self::LatestPerKey => format!(
                "{{\"days\":{{\"mon\":{{\"by\":\"{name}\",\"updatedAt\":{shown}}}}},\"note\":\"{name}\"}}"
            ),
            Self::LastWriteWins | Self::MergeFields | Self::MergeMax => {
                format!("{{\"notes\":\"{name}\",\"{name}\":true}}")
            }
            Self::Deletion if who == 0 => return delete(self.entity_type(), base),
            Self::Deletion => format!("{{\"notes\":\"{name}\"}}"),
        };
        put(self.entity_type(), base, &data)
    }

    /// Whose edit is in force where they fought.
    fn winner(self, scene: &Scene) -> usize {
        let Some(text) = scene.holds(self.entity_type()) else {
            return 0;
        };
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let place = match self {
            Self::LatestPerKey => {
                let (day, rest) = (&value["days"]["mon"]["by"], &value["note"]);
                assert_eq!(day, rest, "the day and the rest are of the same edit");
                day
            }
            Self::LastWriteWins | Self::MergeFields | Self::MergeMax | Self::Deletion => {
                &value["notes"]
            }
        };
        let found = DEVICES.iter().position(|name| place == name);
        found.unwrap_or_else(|| panic!("nobody has written {text}"))
    }

    /// A server that holds version 1, which every device knows.
    fn scene(self) -> Scene {
        let mut scene = Scene::new();
        scene.now = Millis(NOW.0 - DAY);
        let data = match self {
            Self::LatestPerKey => r#"{"days":{"mon":{"by":"","updatedAt":0}},"note":""}"#,
            Self::LastWriteWins | Self::MergeFields | Self::MergeMax | Self::Deletion => {
                r#"{"notes":""}"#
            }
        };
        let first = put(self.entity_type(), 0, data).at(NOW.0 - 2 * DAY);
        assert_eq!(scene.push("web", &[first]), ["v1 Applied"]);
        scene
    }
}

impl Edited {
    fn made(&self, kind: Kind, who: usize) -> Made {
        kind.edit(who, 1, self.at + self.clock)
            .at(self.at)
            .by_a_clock_off_by(self.clock)
    }

    fn push(&self, scene: &mut Scene, who: usize, made: Made, received: i64) {
        scene.latency_ms = self.latency_ms;
        scene.now = Millis(received);
        let told = scene.push(DEVICES[who], &[made]);
        assert!(
            told[0] != "RetryLater" && told[0] != "InvalidItem",
            "{told:?}"
        );
        for row in scene.memory.versions.values().flatten() {
            assert!(row.new.edit_time <= row.at, "never later than it came");
        }
    }
}

/// No two of them are so close that their times could not tell.
fn are_apart(edits: &[Edited]) -> bool {
    let mut times: Vec<i64> = edits.iter().map(|edited| edited.at).collect();
    times.sort_unstable();
    times.windows(2).all(|pair| pair[1] - pair[0] >= APART)
}

proptest! {
    #[test]
    fn with_the_time_of_the_device_the_really_latest_edit_wins_whatever_the_clocks_show(
        kind in prop::sample::select(KINDS.to_vec()),
        edits in prop::collection::vec(any_edited(), 2..=DEVICES.len()),
    ) {
        prop_assume!(are_apart(&edits));
        let mut scene = kind.scene();
        let mut order: Vec<usize> = (0..edits.len()).collect();
        order.sort_by_key(|who| edits[*who].sent_after);
        for who in order {
            let edited = &edits[who];
            let received = NOW.0 + 31 * DAY + edited.sent_after;
            edited.push(&mut scene, who, edited.made(kind, who), received);
        }
        let latest = (0..edits.len()).max_by_key(|who| edits[*who].at);
        prop_assert_eq!(Some(kind.winner(&scene)), latest);
    }

    /// Apps in the field do not send it.
    #[test]
    fn without_it_no_clock_wins_over_an_edit_that_was_made_after_its_own_had_come(
        kind in prop::sample::select(KINDS.to_vec()),
        wrong in any_edited(),
        waited in 1..DAY,
        later in 0..DAY,
        swap in any::<bool>(),
    ) {
        let mut scene = kind.scene();
        let (one, other) = match swap {
            true => (1, 0),
            false => (0, 1),
        };
        let came = wrong.at + wrong.sent_after;
        let made = Made { tells_time: false, ..wrong.made(kind, one) };
        wrong.push(&mut scene, one, made, came);
        let right = Edited { at: came + waited, clock: 0, ..wrong };
        let made = Made { tells_time: false, ..right.made(kind, other) };
        right.push(&mut scene, other, made, right.at + later);
        prop_assert_eq!(kind.winner(&scene), other);
    }

    /// Versions decide whether there is a conflict, and here is none.
    #[test]
    fn no_clock_is_locked_out_of_what_it_knows(
        kind in prop::sample::select(KINDS.to_vec()),
        clocks in prop::collection::vec((0..DEVICES.len(), any_clock(), any::<bool>()), 1..8),
    ) {
        let mut scene = kind.scene();
        for (version, (who, clock, tells_time)) in (1..).zip(clocks) {
            scene.now = Millis(scene.now.0 + HOUR);
            let at = scene.now.0 - MINUTE;
            let made = kind.edit(who, version, at + clock).at(at).by_a_clock_off_by(clock);
            let deletes = made.data.is_none();
            if deletes && scene.holds(kind.entity_type()).is_none() {
                break;
            }
            let expected = match scene.holds(kind.entity_type()) {
                Some(_) => format!("v{} Applied", version + 1),
                None => format!("v{} Resurrected", version + 1),
            };
            let told = scene.push(DEVICES[who], &[Made { tells_time, ..made }]);
            prop_assert_eq!(told, [expected]);
            prop_assert_eq!(kind.winner(&scene), who);
        }
    }
}

/// A year in the future, and a year in the past: both lose to what was really later, and win over what was
/// really earlier.
#[test]
fn a_year_is_no_advantage_and_no_handicap() {
    for kind in KINDS {
        for (clock, other) in [(YEAR, 0), (-YEAR, 0), (YEAR, -YEAR), (-YEAR, YEAR)] {
            for (mine, theirs) in [(MINUTE, 2 * MINUTE), (2 * MINUTE, MINUTE)] {
                let mut scene = kind.scene();
                for (who, clock, at) in [(1, clock, mine), (0, other, theirs)] {
                    let edited = Edited {
                        at: NOW.0 + at,
                        sent_after: 0,
                        clock,
                        latency_ms: 0,
                    };
                    let received = NOW.0 + HOUR;
                    edited.push(&mut scene, who, edited.made(kind, who), received);
                }
                let expected = usize::from(mine > theirs);
                assert_eq!(kind.winner(&scene), expected, "{kind:?} {clock} {other}");
            }
        }
    }
}

/// What a device carries along of others' entries has their clocks' times; the service knows only its own.
/// So an entry may count as late as the document it came in, and never later: what is edited after that
/// wins.
#[test]
fn a_carried_entry_is_never_later_than_the_document_it_came_in() {
    let kind = Kind::LatestPerKey;
    for clock in OFF {
        let mut scene = kind.scene();
        scene.now = Millis(NOW.0 + HOUR);
        let monday = kind
            .edit(0, 1, NOW.0 + clock)
            .at(NOW.0)
            .by_a_clock_off_by(clock);
        assert_eq!(
            scene.push("phone", std::slice::from_ref(&monday)),
            ["v2 Applied"]
        );
        // The tablet adds Tuesday and carries the phone's Monday along.
        let both = monday.data.clone().expect("data");
        let both = both.replace("\"days\":{", "\"days\":{\"tue\":{},");
        let tuesday = put("recovery", 2, &both).at(NOW.0 + MINUTE);
        assert_eq!(scene.push("tablet", &[tuesday]), ["v3 Applied"]);
        // Meanwhile the watch, which never knew of either, has edited Monday.
        let at = NOW.0 + 2 * MINUTE;
        let mine = kind.edit(2, 1, at).at(at);
        assert_eq!(scene.push("watch", &[mine]), ["Merged 4"]);
        let merged = format!(
            "{{\"days\":{{\"tue\":{{}},\"mon\":{{\"by\":\"watch\",\"updatedAt\":{at}}}}},\"note\":\"watch\"}}"
        );
        let held = scene.holds("recovery").expect("live");
        assert!(document(&held).same_as(&document(&merged)), "{held}");
    }
}
