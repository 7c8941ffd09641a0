use proptest::prelude::*;
use smol_str::format_smolstr;

use super::*;
use crate::domain::json::DEPTH_MAX;
use crate::domain::json::testing::{id_list, id_of, json, key, tree};
use crate::domain::merge::testing::{
    depth, later, may_be_sent, nothing_is_invented, swapped, three_way_both_ways, unordered,
    versions, without_indexes,
};

/// Merges with each side as the later one: both results and the overlaps, which do not depend on it.
fn merged(base: &str, client: &str, server: &str) -> (Json, Json, Vec<String>) {
    let (base, client, server) = (json(base), json(client), json(server));
    let by_client = three_way(&base, &client, &server, Later::Client);
    let by_server = three_way(&base, &client, &server, Later::Server);
    assert_eq!(by_client.overlaps, by_server.overlaps);
    (by_client.value, by_server.value, by_client.overlaps)
}

#[test]
fn a_place_is_as_the_side_that_changed_it_has_it() {
    for (case, base, client, server, expected) in [
        ("nobody changed anything", "{}", "{}", "{}", "{}"),
        (
            "only the client",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":1}"#,
            r#"{"a":2}"#,
        ),
        (
            "only the server",
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":2}"#,
            r#"{"a":2}"#,
        ),
        (
            "both the same",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":2.0}"#,
            r#"{"a":2}"#,
        ),
        (
            "different keys",
            r#"{"a":1,"b":1}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":2}"#,
        ),
        (
            "different keys further down",
            r#"{"o":{"a":1,"b":1}}"#,
            r#"{"o":{"a":2,"b":1}}"#,
            r#"{"o":{"a":1,"b":2}}"#,
            r#"{"o":{"a":2,"b":2}}"#,
        ),
        (
            "added on one side each",
            "{}",
            r#"{"a":1}"#,
            r#"{"b":2}"#,
            r#"{"a":1,"b":2}"#,
        ),
        (
            "removed here, removed there",
            r#"{"a":1,"b":1,"c":1}"#,
            r#"{"b":1,"c":1}"#,
            r#"{"a":1,"c":1}"#,
            r#"{"c":1}"#,
        ),
        (
            "removed on both sides",
            r#"{"a":1,"b":1}"#,
            r#"{"b":2}"#,
            r#"{"b":1}"#,
            r#"{"b":2}"#,
        ),
        (
            "null is a value, not an absence",
            r#"{"a":null,"b":1}"#,
            r#"{"b":null}"#,
            r#"{"a":null,"b":1}"#,
            r#"{"b":null}"#,
        ),
        (
            "an object added on both sides",
            "{}",
            r#"{"o":{"a":1,"c":3}}"#,
            r#"{"o":{"b":2,"c":3}}"#,
            r#"{"o":{"a":1,"b":2,"c":3}}"#,
        ),
        (
            "an object in place of something else on both sides",
            r#"{"o":"none"}"#,
            r#"{"o":{"a":1}}"#,
            r#"{"o":{"b":2}}"#,
            r#"{"o":{"a":1,"b":2}}"#,
        ),
        (
            "numbers keep their precision",
            r#"{"a":9007199254740992,"b":0.1}"#,
            r#"{"a":9007199254740993,"b":0.1}"#,
            r#"{"a":9007199254740992,"b":0.1000000000000000055511151231257827}"#,
            r#"{"a":9007199254740993,"b":0.1000000000000000055511151231257827}"#,
        ),
        (
            "a list without ids changed on one side",
            r#"{"goals":["strength"],"a":1}"#,
            r#"{"goals":["strength","health"],"a":1}"#,
            r#"{"goals":["strength"],"a":2}"#,
            r#"{"goals":["strength","health"],"a":2}"#,
        ),
    ] {
        let expected = json(expected);
        let result = merged(base, client, server);
        assert_eq!(result, (expected.clone(), expected, Vec::new()), "{case}");
    }
}

/// The picture from the field: two devices offline, each adds an exercise to an empty workout.
#[test]
fn exercises_added_on_two_devices_are_both_in_the_workout() {
    let workout = |exercises: &str| format!(r#"{{"title":"Monday","exercises":[{exercises}]}}"#);
    let bench = r#"{"id":"bench","sets":3,"weight":225}"#;
    let squat = r#"{"id":"squat","sets":3,"weight":315}"#;
    let (phone_later, tablet_later, overlaps) =
        merged(&workout(""), &workout(bench), &workout(squat));
    assert_eq!(phone_later, json(&workout(&format!("{squat},{bench}"))));
    assert_eq!(tablet_later, json(&workout(&format!("{bench},{squat}"))));
    assert!(overlaps.is_empty());
}

#[test]
fn what_both_changed_is_an_overlap_and_the_later_has_it() {
    for (case, base, client, server, overlap) in [
        ("a value", r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, "/a"),
        ("a value added", "{}", r#"{"a":2}"#, r#"{"a":3}"#, "/a"),
        ("the whole", "1", "2", "[3]", ""),
        (
            "further down",
            r#"{"o":{"a":1}}"#,
            r#"{"o":{"a":2}}"#,
            r#"{"o":{"a":3}}"#,
            "/o/a",
        ),
        (
            "removed and changed",
            r#"{"a":1}"#,
            "{}",
            r#"{"a":2}"#,
            "/a",
        ),
        (
            "an object removed and changed within",
            r#"{"o":{"a":1}}"#,
            r#"{"o":{"a":2}}"#,
            "{}",
            "/o",
        ),
        (
            "null is a change",
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            "{}",
            "/a",
        ),
        (
            "an object and a leaf",
            r#"{"a":1}"#,
            r#"{"a":{}}"#,
            r#"{"a":2}"#,
            "/a",
        ),
        (
            "keys are escaped",
            r#"{"a/b":{"~":1}}"#,
            r#"{"a/b":{"~":2}}"#,
            r#"{"a/b":{"~":3}}"#,
            "/a~1b/~0",
        ),
        ("a list of leaves", "[1]", "[1,2]", "[1,3]", ""),
        (
            "a list of objects without ids",
            r#"{"l":[{"a":1}]}"#,
            r#"{"l":[{"a":2}]}"#,
            r#"{"l":[{"a":1},{"a":1}]}"#,
            "/l",
        ),
        (
            "a list with an id twice",
            r#"{"l":[]}"#,
            r#"{"l":[{"id":1},{"id":1.0}]}"#,
            r#"{"l":[{"id":2}]}"#,
            "/l",
        ),
        (
            "a list with an id that is none",
            r#"{"l":[]}"#,
            r#"{"l":[{"id":null}]}"#,
            r#"{"l":[{"id":2}]}"#,
            "/l",
        ),
        (
            "a list whose base had no ids",
            r#"{"l":[1]}"#,
            r#"{"l":[{"id":1}]}"#,
            r#"{"l":[{"id":2}]}"#,
            "/l",
        ),
        (
            "an element changed within",
            r#"[{"id":1,"kg":80}]"#,
            r#"[{"id":1,"kg":85}]"#,
            r#"[{"id":1,"kg":90}]"#,
            "/0/kg",
        ),
        (
            "an element removed and changed",
            r#"[{"id":1,"kg":80}]"#,
            "[]",
            r#"[{"id":1,"kg":90}]"#,
            "/0",
        ),
    ] {
        let expected = (json(client), json(server), vec![overlap.to_owned()]);
        assert_eq!(merged(base, client, server), expected, "{case}");
    }
}

#[test]
fn an_overlap_is_only_as_large_as_it_must_be() {
    let (by_client, by_server, overlaps) = merged(
        r#"{"title":"A","notes":"","sets":[{"id":1,"kg":80,"reps":5},{"id":2,"kg":80}]}"#,
        r#"{"title":"B","notes":"new","sets":[{"id":1,"kg":85,"reps":5},{"id":2,"kg":80}]}"#,
        r#"{"title":"C","notes":"","sets":[{"id":2,"kg":80},{"id":1,"kg":90,"reps":6}]}"#,
    );
    // Set 1 is the second one in the server's list.
    assert_eq!(overlaps, ["/sets/1/kg", "/title"]);
    assert_eq!(
        by_client,
        json(r#"{"title":"B","notes":"new","sets":[{"id":2,"kg":80},{"id":1,"kg":85,"reps":6}]}"#)
    );
    assert_eq!(
        by_server,
        json(r#"{"title":"C","notes":"new","sets":[{"id":2,"kg":80},{"id":1,"kg":90,"reps":6}]}"#)
    );
}

#[test]
fn an_overlap_points_into_the_servers_list_or_else_the_clients() {
    let (by_client, by_server, overlaps) = merged(
        r#"[{"id":1,"a":1},{"id":2,"a":1},{"id":3,"a":1}]"#,
        r#"[{"id":1,"a":2},{"id":2,"a":2},{"id":3,"a":2}]"#,
        r#"[{"id":4},{"id":3,"a":3},{"id":1,"a":1}]"#,
    );
    // Element 2 is gone from the server's list, element 3 is the second one there.
    assert_eq!(overlaps, ["/1", "/1/a"]);
    assert_eq!(
        by_client,
        json(r#"[{"id":4},{"id":3,"a":2},{"id":1,"a":2},{"id":2,"a":2}]"#)
    );
    assert_eq!(
        by_server,
        json(r#"[{"id":4},{"id":3,"a":3},{"id":1,"a":2}]"#)
    );
}

/// Lists of ids only, so that a row shows the order: `ab` is `[{"id":"a"},{"id":"b"}]`. A capital
/// is the element changed: `A` is `{"id":"a","changed":true}`.
fn list(ids: &str) -> String {
    let element = |id: char| match id.is_uppercase() {
        true => format!(r#"{{"id":"{}","changed":true}}"#, id.to_lowercase()),
        false => format!(r#"{{"id":"{id}"}}"#),
    };
    let elements: Vec<String> = ids.chars().map(element).collect();
    format!("[{}]", elements.join(","))
}

#[test]
fn merged_lists_keep_their_order() {
    for (case, base, client, server, client_later, server_later) in [
        ("added at the end", "a", "ab", "ac", "acb", "abc"),
        ("added to nothing", "", "xy", "zx", "zxy", "zxy"),
        ("added at the start", "a", "xa", "ya", "yxa", "xya"),
        (
            "added in different places",
            "ab",
            "axb",
            "aby",
            "axby",
            "axby",
        ),
        (
            "several stay together",
            "ab",
            "axyb",
            "azb",
            "azxyb",
            "axyzb",
        ),
        ("behind what both added", "a", "anx", "any", "anyx", "anxy"),
        ("removed", "abc", "ac", "abc", "ac", "ac"),
        ("removed here and there", "abcd", "acd", "abd", "ad", "ad"),
        ("removed and added", "abc", "ac", "abxc", "axc", "axc"),
        (
            "added behind the removed",
            "abc",
            "bc",
            "axbc",
            "xbc",
            "xbc",
        ),
        ("removed and changed", "abc", "ac", "aBc", "ac", "aBc"),
        ("all removed, one changed", "abc", "", "abC", "", "C"),
        ("changed and added", "ab", "Ab", "abx", "Abx", "Abx"),
        ("moved by the client", "abc", "cab", "abc", "cab", "cab"),
        (
            "moved by the client, added by the server",
            "abc",
            "cab",
            "abxc",
            "cabx",
            "cabx",
        ),
        (
            "moved by the server, added by the client",
            "abc",
            "abxc",
            "cab",
            "cabx",
            "cabx",
        ),
        ("moved and changed", "abc", "cab", "aBc", "caB", "caB"),
        ("moved the same way", "abc", "cab", "cab", "cab", "cab"),
        ("moved differently", "abc", "cab", "bac", "cab", "bac"),
        (
            "moved differently, and added",
            "abc",
            "cabx",
            "bacy",
            "cyabx",
            "bxacy",
        ),
        (
            "moved what the other removed",
            "abc",
            "cab",
            "ba",
            "ba",
            "ba",
        ),
        (
            "moved and changed what the other removed",
            "abc",
            "Cab",
            "ba",
            "Cab",
            "ba",
        ),
        (
            "both added, in another place each",
            "a",
            "na",
            "an",
            "na",
            "an",
        ),
    ] {
        let (by_client, by_server, _) = merged(&list(base), &list(client), &list(server));
        assert_eq!(by_client, json(&list(client_later)), "{case}, client later");
        assert_eq!(by_server, json(&list(server_later)), "{case}, server later");
    }
}

#[test]
fn two_orders_are_no_overlap() {
    let (_, _, overlaps) = merged(&list("abc"), &list("cab"), &list("bac"));
    assert!(overlaps.is_empty());
}

#[test]
fn the_number_1_and_the_text_1_are_two_ids() {
    let (value, _, overlaps) = merged("[]", r#"[{"id":1}]"#, r#"[{"id":"1"}]"#);
    assert_eq!(value, json(r#"[{"id":"1"},{"id":1}]"#));
    assert!(overlaps.is_empty());
    // Ways of writing a number do not matter.
    let (value, _, _) = merged("[]", r#"[{"id":1.0,"a":1}]"#, r#"[{"id":1e0,"b":2}]"#);
    assert_eq!(value, json(r#"[{"id":1,"a":1,"b":2}]"#));
}

/// A chain of objects and lists as deep as a document may be, with a value at the bottom.
fn deep(levels: usize, bottom: &str) -> Json {
    let mut text = bottom.to_owned();
    for level in 0..levels {
        text = match level % 2 {
            0 => format!(r#"{{"id":7,"x":{text}}}"#),
            _ => format!("[{text}]"),
        };
    }
    json(&text)
}

#[test]
fn documents_as_deep_as_they_may_be_merge() {
    for levels in [DEPTH_MAX - 1, DEPTH_MAX] {
        let [base, client, server] = ["1", "2", "3"].map(|bottom| deep(levels, bottom));
        let merge = three_way(&base, &client, &server, Later::Client);
        assert_eq!(merge.value, client);
        // The outermost level first: a list has its only element at 0.
        let steps: String = (0..levels)
            .rev()
            .map(|level| if level % 2 == 0 { "/x" } else { "/0" })
            .collect();
        assert_eq!(merge.overlaps, [steps]);
        assert_eq!(
            three_way(&base, &base, &server, Later::Client).value,
            server
        );
    }
}

/// A subset of some letters in some order, as for [`list`]; capitals are changed.
fn ids() -> impl Strategy<Value = String> {
    let letters = proptest::sample::subsequence(vec!['a', 'b', 'c', 'd', 'e', 'f'], 0..=5);
    let change = |(letters, changed): (Vec<char>, [bool; 6])| {
        let each = letters.into_iter().zip(changed);
        each.map(|(letter, changed)| match changed {
            true => letter.to_ascii_uppercase(),
            false => letter,
        })
        .collect()
    };
    (letters.prop_shuffle(), any::<[bool; 6]>()).prop_map(change)
}

/// The ids of a list made by [`list`], all lower case.
fn ids_of(value: &Json) -> String {
    let Json::Array(elements) = value else {
        panic!("no list: {value:?}");
    };
    let text = |element| match id_of(element) {
        Some(Json::String(text)) => text.as_str(),
        other => panic!("no id: {other:?}"),
    };
    elements.iter().map(text).collect()
}

fn only(ids: &str, keep: impl Fn(char) -> bool) -> String {
    ids.chars().filter(|id| keep(*id)).collect()
}

proptest! {
    #[test]
    fn an_unchanged_side_gives_the_other_side(
        (base, client, server) in versions(), later in later(),
    ) {
        let clients = Merge { value: client.clone(), overlaps: Vec::new() };
        prop_assert_eq!(three_way(&base, &client, &base, later), clients.clone());
        let servers = Merge { value: server.clone(), overlaps: Vec::new() };
        prop_assert_eq!(three_way(&base, &base, &server, later), servers);
        prop_assert_eq!(three_way(&base, &client, &client, later), clients);
    }

    #[test]
    fn it_does_not_matter_which_device_came_first(
        (base, client, server) in versions(), later in later(),
    ) {
        three_way_both_ways(&base, &client, &server, later);
    }

    /// Where no list with ids is merged, the pointers are the same both ways round as well.
    #[test]
    fn pointers_depend_on_the_side_only_within_lists(
        (base, client, server) in versions(), later in later(),
    ) {
        let merge = three_way(&base, &client, &server, later);
        let other = three_way(&base, &server, &client, swapped(later));
        let keys_only = without_indexes(&merge) == merge.overlaps;
        prop_assert!(!keys_only || merge.overlaps == other.overlaps);
        prop_assert!(merge.overlaps.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn without_an_overlap_the_clocks_decide_about_order_only(
        (base, client, server) in versions(),
    ) {
        let by_client = three_way(&base, &client, &server, Later::Client);
        let by_server = three_way(&base, &client, &server, Later::Server);
        prop_assert_eq!(&by_client.overlaps, &by_server.overlaps);
        if by_client.overlaps.is_empty() {
            prop_assert_eq!(unordered(&by_client.value), unordered(&by_server.value));
        }
    }

    /// With the same side as the later one, or with the result as the later one.
    #[test]
    fn merging_again_changes_nothing((base, client, server) in versions(), later in later()) {
        let merged = three_way(&base, &client, &server, later).value;
        for again in [later, Later::Server] {
            prop_assert_eq!(&three_way(&base, &client, &merged, again).value, &merged);
        }
        for again in [later, Later::Client] {
            prop_assert_eq!(&three_way(&base, &merged, &server, again).value, &merged);
        }
    }

    /// The same for lists, whose orders are many.
    #[test]
    fn merging_lists_again_changes_nothing(
        base in ids(), client in ids(), server in ids(), later in later(),
    ) {
        let [base, client, server] = [base, client, server].map(|ids| json(&list(&ids)));
        let merged = three_way(&base, &client, &server, later).value;
        for again in [later, Later::Server] {
            prop_assert_eq!(&three_way(&base, &client, &merged, again).value, &merged);
        }
        for again in [later, Later::Client] {
            prop_assert_eq!(&three_way(&base, &merged, &server, again).value, &merged);
        }
    }

    #[test]
    fn results_are_acceptable_again_and_made_of_the_sides(
        (base, client, server) in versions(), later in later(),
    ) {
        let merged = three_way(&base, &client, &server, later).value;
        prop_assert!(depth(&merged) <= depth(&client).max(depth(&server)));
        prop_assert!(nothing_is_invented(&merged, &client, &server));
        prop_assert!(may_be_sent(&merged));
    }

    /// Each key of an object is edited by one side or by none, at any depth.
    #[test]
    fn edits_of_different_keys_are_both_kept(
        members in proptest::collection::vec(
            (
                proptest::option::of(tree()),
                proptest::option::of((any::<bool>(), proptest::option::of(tree()))),
            ),
            1..6,
        ),
        way in "[ol]{0,4}",
        later in later(),
    ) {
        let [mut base, mut client, mut server, mut both] = [const { Members::new() }; 4];
        let put = |object: &mut Members, key: usize, value: &Option<Json>| {
            object.extend(value.clone().map(|value| (format_smolstr!("k{key}"), value)));
        };
        for (key, (before, edit)) in members.iter().enumerate() {
            let (ours, theirs, after) = match edit {
                None => (before, before, before),
                Some((true, new)) => (new, before, new),
                Some((false, new)) => (before, new, new),
            };
            put(&mut base, key, before);
            put(&mut client, key, ours);
            put(&mut server, key, theirs);
            put(&mut both, key, after);
        }
        let [base, client, server, both] = [base, client, server, both].map(|members| {
            way.chars().fold(Json::Object(members), |value, step| match step {
                'o' => Json::Object([("o".into(), value)].into()),
                _ => id_list(vec![(json("7"), [("l".into(), value)].into())]),
            })
        });
        let merge = three_way_both_ways(&base, &client, &server, later);
        prop_assert_eq!(merge, Merge { value: both, overlaps: Vec::new() });
    }

    /// Each element of a list is edited by one side or by none; the client also adds at the end.
    #[test]
    fn edits_of_different_elements_are_both_kept(
        edits in proptest::collection::vec(
            proptest::option::of((any::<bool>(), proptest::option::of(key()))), 0..6,
        ),
        added in any::<bool>(),
        later in later(),
    ) {
        let [mut base, mut client, mut server, mut both] = [const { Vec::new() }; 4];
        for (id, edit) in edits.iter().enumerate() {
            let before = json(&format!(r#"{{"id":{id},"kg":80}}"#));
            // `None` removes the element.
            let after = |key: &Option<SmolStr>| {
                key.as_ref().map(|key| json(&format!(r#"{{"id":{id},"k{key}":1}}"#)))
            };
            let kept = Some(before.clone());
            let (ours, theirs, merged) = match edit {
                None => (kept.clone(), kept.clone(), kept),
                Some((true, key)) => (after(key), kept, after(key)),
                Some((false, key)) => (kept, after(key), after(key)),
            };
            base.push(before);
            client.extend(ours);
            server.extend(theirs);
            both.extend(merged);
        }
        if added {
            client.push(json(r#"{"id":"new"}"#));
            both.push(json(r#"{"id":"new"}"#));
        }
        let [base, client, server, both] = [base, client, server, both].map(Json::Array);
        let merge = three_way_both_ways(&base, &client, &server, later);
        prop_assert_eq!(merge, Merge { value: both, overlaps: Vec::new() });
    }

    #[test]
    fn lists_hold_what_they_should_in_the_order_they_should(
        base in ids(), client in ids(), server in ids(), later in later(),
    ) {
        let merge = three_way_both_ways(
            &json(&list(&base)), &json(&list(&client)), &json(&list(&server)), later,
        );
        let merged = ids_of(&merge.value);
        let has = |ids: &str, id: char| ids.to_lowercase().contains(id);
        let as_in_base = |ids: &str, id: char| {
            [id, id.to_ascii_uppercase()].iter().any(|id| ids.contains(*id) && base.contains(*id))
        };
        let later_side = later.of(&client, &server);
        for id in 'a'..='f' {
            let expected = match (has(&base, id), has(&client, id), has(&server, id)) {
                (_, true, true) | (false, true, false) | (false, false, true) => true,
                (_, false, false) => false,
                (true, true, false) => !as_in_base(&client, id) && has(later_side, id),
                (true, false, true) => !as_in_base(&server, id) && has(later_side, id),
            };
            prop_assert_eq!(merged.matches(id).count(), usize::from(expected), "{}", id);
        }
        let kept = |ids: &str| only(&ids.to_lowercase(), |id| merged.contains(id));
        let (base, ours, theirs) = (kept(&base), kept(&client), kept(&server));
        let shared = |ids: &str| only(ids, |id| ours.contains(id) && theirs.contains(id));
        let moved = |side: &str| {
            only(side, |id| base.contains(id)) != only(&base, |id| side.contains(id))
        };
        let leading = match (moved(&ours), moved(&theirs)) {
            (true, false) => &ours,
            (false, true) => &theirs,
            (true, true) | (false, false) => later.of(&ours, &theirs),
        };
        prop_assert_eq!(shared(&merged), shared(leading));
        // What one side has alone stands behind the same shared element as there.
        for side in [&ours, &theirs] {
            for id in only(side, |id| !shared(side).contains(id)).chars() {
                let anchor = |ids: &str| {
                    let before = ids.split(id).next().unwrap_or_default();
                    shared(before).chars().last()
                };
                prop_assert_eq!(anchor(&merged), anchor(side), "{}", id);
            }
        }
    }
}
