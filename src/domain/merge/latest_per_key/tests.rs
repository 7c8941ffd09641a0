use super::*;
use crate::domain::json::testing::json;

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
