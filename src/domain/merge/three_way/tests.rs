use super::*;
use crate::domain::json::testing::json;

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
