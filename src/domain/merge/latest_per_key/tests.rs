use proptest::prelude::*;
use smol_str::format_smolstr;

use super::*;
use crate::domain::json::testing::{json, leaf, name, tree};
use crate::domain::merge::testing::{depth, may_be_sent, nothing_is_invented, versions};

fn side(value: &Json, edit_time: i64, clock_offset_ms: i64) -> Side<'_> {
    Side {
        value,
        edit_time: Millis(edit_time),
        clock_offset_ms,
    }
}

/// Merges what the client edited at 1000 with what the server has from 2000.
fn merged(base: Option<&str>, client: &str, server: &str) -> Json {
    let base = base.map(json);
    let (client, server) = (json(client), json(server));
    latest_per_key(
        "days",
        base.as_ref(),
        side(&client, 1000, 0),
        side(&server, 2000, 0),
    )
}

#[test]
fn each_entry_is_from_where_it_was_edited_later() {
    for (case, base, client, server, expected) in [
        (
            "each side logged another day",
            Some(r#"{"days":{}}"#),
            r#"{"days":{"mon":{"sleep":8}}}"#,
            r#"{"days":{"tue":{"sleep":6}}}"#,
            r#"{"days":{"mon":{"sleep":8},"tue":{"sleep":6}}}"#,
        ),
        (
            "by the entries' own times",
            None,
            r#"{"days":{"mon":{"s":1,"updatedAt":500},"tue":{"s":1,"updatedAt":500}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":400},"tue":{"s":2,"updatedAt":600}}}"#,
            r#"{"days":{"mon":{"s":1,"updatedAt":500},"tue":{"s":2,"updatedAt":600}}}"#,
        ),
        (
            "in snake case and as text",
            None,
            r#"{"days":{"mon":{"s":1,"updated_at":"1970-01-01T00:00:00.5Z"}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":"1970-01-01 00:00:00.4"}}}"#,
            r#"{"days":{"mon":{"s":1,"updated_at":"1970-01-01T00:00:00.5Z"}}}"#,
        ),
        (
            "what is no time is none",
            None,
            r#"{"days":{"mon":{"s":1,"updatedAt":"noon","updated_at":900}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":800}}}"#,
            r#"{"days":{"mon":{"s":1,"updatedAt":"noon","updated_at":900}}}"#,
        ),
        (
            "the edit's time where an entry has none",
            None,
            r#"{"days":{"mon":{"s":1},"tue":7}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":400},"tue":8}}"#,
            r#"{"days":{"mon":{"s":1},"tue":8}}"#,
        ),
        (
            "no clock wins by being in the future",
            None,
            r#"{"days":{"mon":{"s":1,"updatedAt":9000000}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":1500}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":1500}}}"#,
        ),
        (
            "equally late",
            None,
            r#"{"days":{"mon":{"s":1,"updatedAt":500}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":500}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":500}}}"#,
        ),
        (
            "changed by the client only, whatever the clocks say",
            Some(r#"{"days":{"mon":{"s":1,"updatedAt":900}}}"#),
            r#"{"days":{"mon":{"s":2,"updatedAt":100}}}"#,
            r#"{"days":{"mon":{"s":1,"updatedAt":900}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":100}}}"#,
        ),
        (
            "changed by the server only, whatever the clocks say",
            Some(r#"{"days":{"mon":{"s":1,"updatedAt":900}}}"#),
            r#"{"days":{"mon":{"s":1,"updatedAt":900}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":100}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":100}}}"#,
        ),
        (
            "changed by both",
            Some(r#"{"days":{"mon":{"s":1,"updatedAt":100}}}"#),
            r#"{"days":{"mon":{"s":2,"updatedAt":300}}}"#,
            r#"{"days":{"mon":{"s":3,"updatedAt":200}}}"#,
            r#"{"days":{"mon":{"s":2,"updatedAt":300}}}"#,
        ),
        (
            "removed by one, left alone by the other",
            Some(r#"{"days":{"mon":1,"tue":1,"wed":1}}"#),
            r#"{"days":{"tue":1,"wed":1}}"#,
            r#"{"days":{"mon":1,"wed":1}}"#,
            r#"{"days":{"wed":1}}"#,
        ),
        (
            "removed by one, changed by the other",
            Some(r#"{"days":{"mon":1,"tue":1}}"#),
            r#"{"days":{"tue":2}}"#,
            r#"{"days":{"mon":2}}"#,
            r#"{"days":{"mon":2,"tue":2}}"#,
        ),
        (
            "on one side, the base forgotten",
            None,
            r#"{"days":{"mon":1}}"#,
            r#"{"days":{}}"#,
            r#"{"days":{"mon":1}}"#,
        ),
        (
            "everything else is the later side's whole",
            Some(r#"{"days":{},"goal":8,"unit":"h"}"#),
            r#"{"days":{"mon":1},"goal":7,"unit":"h","note":"x"}"#,
            r#"{"days":{},"goal":8}"#,
            r#"{"days":{"mon":1},"goal":8}"#,
        ),
        (
            "one side has no map",
            None,
            r#"{"days":{"mon":1},"a":1}"#,
            r#"{"a":2}"#,
            r#"{"days":{"mon":1},"a":2}"#,
        ),
        (
            "one side's map is none",
            None,
            r#"{"days":{"mon":1},"a":1}"#,
            r#"{"days":[],"a":2}"#,
            r#"{"days":{"mon":1},"a":2}"#,
        ),
        (
            "the map removed, with every entry it had",
            Some(r#"{"days":{"mon":1}}"#),
            r#"{"days":{"mon":1}}"#,
            r#"{"a":2}"#,
            r#"{"a":2}"#,
        ),
        (
            "no map on either side",
            Some(r#"{"days":{"mon":1}}"#),
            r#"{"a":1,"b":1}"#,
            r#"{"a":2,"days":null}"#,
            r#"{"a":2,"days":null}"#,
        ),
        ("no object", None, r#"{"days":{"mon":1}}"#, "2", "2"),
    ] {
        assert_eq!(merged(base, client, server), json(expected), "{case}");
    }
}

#[test]
fn times_of_entries_are_corrected_by_the_clock_of_their_side() {
    let client = json(r#"{"days":{"mon":{"s":1,"updatedAt":300}}}"#);
    let server = json(r#"{"days":{"mon":{"s":2,"updatedAt":500}}}"#);
    for (offset, expected) in [
        (0, &server),
        (200, &server),
        (201, &client),
        (i64::MAX, &client),
        (i64::MIN, &server),
    ] {
        let merged = latest_per_key(
            "days",
            None,
            side(&client, 1000, offset),
            side(&server, 1000, 0),
        );
        assert_eq!(&merged, expected, "{offset}");
    }
}

#[test]
fn the_rest_is_the_servers_if_both_are_equally_late() {
    let (client, server) = (json(r#"{"a":1,"days":{}}"#), json(r#"{"a":2,"days":{}}"#));
    for (time, expected) in [(999, &server), (1000, &server), (1001, &client)] {
        let merged = latest_per_key("days", None, side(&client, time, 0), side(&server, 1000, 0));
        assert_eq!(&merged, expected, "{time}");
    }
}

/// An entry with a time of its own, as milliseconds or text, or without.
fn entry() -> impl Strategy<Value = Json> {
    let time = prop_oneof![
        3 => (0..5_000_i64).prop_map(|ms| json(&ms.to_string())),
        2 => (0..5_000_i64).prop_map(|ms| {
            Json::String(format_smolstr!("1970-01-01T00:00:0{}.{:03}Z", ms / 1000, ms % 1000))
        }),
        1 => leaf(),
    ];
    let time = proptest::option::of((name("updatedAt|updated_at"), time));
    prop_oneof![
        4 => (leaf(), time).prop_map(|(value, time)| {
            Json::Object([("s".into(), value)].into_iter().chain(time).collect())
        }),
        1 => leaf(),
    ]
}

fn map_of_entries() -> impl Strategy<Value = Members> {
    proptest::collection::btree_map(name("[a-d]"), entry(), 0..4)
}

/// A document with a map under `days`, rarely with something else there.
fn document(days: Option<Json>, rest: Json) -> Json {
    let days = days.map(|days| ("days".into(), days));
    Json::Object([("rest".into(), rest)].into_iter().chain(days).collect())
}

/// The map of a base where the names are not given, else what an edit made of it.
fn edited(base: &Members, own: Members, names: &str) -> Members {
    let kept = base
        .iter()
        .filter(|(name, _)| !names.contains(name.as_str()));
    let kept = kept.map(|(name, entry)| (name.clone(), entry.clone()));
    kept.chain(own).collect()
}

/// A base and two edits of it, most of them with a map.
fn documents() -> impl Strategy<Value = [Json; 3]> {
    let side = || (map_of_entries(), "[a-d]{0,3}", leaf(), 0..8_u8, leaf());
    (map_of_entries(), side(), side()).prop_map(|(base, ours, theirs)| {
        let make = |(own, names, rest, kind, other): (Members, String, Json, u8, Json)| {
            let days = match kind {
                0 => None,
                1 => Some(other),
                _ => Some(Json::Object(edited(&base, own, &names))),
            };
            document(days, rest)
        };
        let base = document(Some(Json::Object(base.clone())), Json::Null);
        [base, make(ours), make(theirs)]
    })
}

fn times() -> impl Strategy<Value = (i64, i64)> {
    (0..6_000_i64, -3_000..3_000_i64)
}

/// Whether some entry is equally late on both sides, so that only being the server decides.
fn has_tie(a: Side<'_>, b: Side<'_>) -> bool {
    let days = |side: Side<'_>| {
        let document = map(Some(side.value)).cloned().unwrap_or_default();
        map(document.get("days")).cloned().unwrap_or_default()
    };
    let theirs = days(b);
    a.edit_time == b.edit_time
        || days(a).iter().any(|(name, our)| {
            let their = theirs.get(name);
            their.is_some_and(|their| entry_time(our, a) == entry_time(their, b))
        })
}

proptest! {
    #[test]
    fn it_does_not_matter_which_device_came_first(
        [base, ours, theirs] in documents(),
        (our_time, our_offset) in times(),
        (their_time, their_offset) in times(),
        base_known in any::<bool>(),
    ) {
        let a = side(&ours, our_time, our_offset);
        let b = side(&theirs, their_time, their_offset);
        prop_assume!(!has_tie(a, b));
        let base = base_known.then_some(&base);
        prop_assert_eq!(latest_per_key("days", base, a, b), latest_per_key("days", base, b, a));
    }

    /// Of the entries: the rest is the later side's, whoever changed it.
    #[test]
    fn an_unchanged_map_gives_the_other_sides(
        before in map_of_entries(),
        after in map_of_entries(),
        (our_time, our_offset) in times(),
        (their_time, their_offset) in times(),
    ) {
        let base = document(Some(Json::Object(before)), Json::Null);
        let edited = document(Some(Json::Object(after)), Json::Null);
        let known = Some(&base);
        for (ours, theirs) in [(&base, &edited), (&edited, &base)] {
            let (a, b) = (side(ours, our_time, our_offset), side(theirs, their_time, their_offset));
            prop_assert_eq!(&latest_per_key("days", known, a, b), &edited);
        }
    }

    #[test]
    fn entries_only_one_side_touched_are_all_kept(
        before in map_of_entries(), ours in map_of_entries(), theirs in map_of_entries(),
        ours_removed in "[a-b]{0,2}", theirs_removed in "[c-d]{0,2}",
        (our_time, our_offset) in times(),
        (their_time, their_offset) in times(),
    ) {
        // The client touches a and b, the server c and d.
        let only = |map: Members, names: &str| -> Members {
            map.into_iter().filter(|(name, _)| names.contains(name.as_str())).collect()
        };
        let (ours, theirs) = (only(ours, "ab"), only(theirs, "cd"));
        let client = edited(&before, ours.clone(), &ours_removed);
        let server = edited(&before, theirs.clone(), &theirs_removed);
        let both = edited(&client, theirs, &theirs_removed);
        let make = |map: Members| document(Some(Json::Object(map)), Json::Null);
        let (base, client, server) = (make(before), make(client), make(server));
        let merged = latest_per_key(
            "days",
            Some(&base),
            side(&client, our_time, our_offset),
            side(&server, their_time, their_offset),
        );
        prop_assert_eq!(merged, make(both));
    }

    /// The result is as late as the later side.
    #[test]
    fn merging_again_changes_nothing(
        [base, ours, theirs] in documents(),
        (our_time, our_offset) in times(),
        (their_time, their_offset) in times(),
        base_known in any::<bool>(),
    ) {
        let base = base_known.then_some(&base);
        let client = side(&ours, our_time, our_offset);
        let server = side(&theirs, their_time, their_offset);
        let merged = latest_per_key("days", base, client, server);
        let time = our_time.max(their_time);
        let again = latest_per_key("days", base, client, side(&merged, time, their_offset));
        prop_assert_eq!(&again, &merged);
        let again = latest_per_key("days", base, side(&merged, time, our_offset), server);
        prop_assert_eq!(&again, &merged);
    }

    #[test]
    fn results_are_acceptable_again_and_made_of_the_sides(
        [base, ours, theirs] in documents(),
        (our_time, our_offset) in times(),
        (their_time, their_offset) in times(),
    ) {
        let (a, b) = (side(&ours, our_time, our_offset), side(&theirs, their_time, their_offset));
        let merged = latest_per_key("days", Some(&base), a, b);
        prop_assert!(depth(&merged) <= depth(&ours).max(depth(&theirs)));
        prop_assert!(nothing_is_invented(&merged, &ours, &theirs));
        prop_assert!(may_be_sent(&merged));
    }

    #[test]
    fn no_input_panics(
        (base, ours, theirs) in versions(),
        days in tree(),
        times in any::<[i64; 4]>(),
    ) {
        let own = |value: &Json| match value {
            Json::Object(members) => {
                let mut members = members.clone();
                members.insert("a".into(), days.clone());
                Json::Object(members)
            }
            other => other.clone(),
        };
        let [a, b, c, d] = times;
        for (ours, theirs) in [(ours.clone(), theirs.clone()), (own(&ours), own(&theirs))] {
            latest_per_key("a", Some(&base), side(&ours, a, b), side(&theirs, c, d));
        }
    }
}
