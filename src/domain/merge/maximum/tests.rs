use proptest::prelude::*;

use super::*;
use crate::domain::json::testing::{json, name, number};
use crate::domain::merge::testing::{
    depth, later, may_be_sent, nothing_is_invented, swapped, versions,
};

#[test]
fn the_larger_number_and_the_keys_of_both_count() {
    for (case, client, server, client_later, server_later) in [
        (
            "numbers",
            r#"{"a":1,"b":2}"#,
            r#"{"a":3,"b":1}"#,
            r#"{"a":3,"b":2}"#,
            r#"{"a":3,"b":2}"#,
        ),
        (
            "keys of both",
            r#"{"a":1}"#,
            r#"{"b":2}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":1,"b":2}"#,
        ),
        (
            "sets per muscle group in a week",
            r#"{"week":"2024-W05","muscleGroups":{"back":{"sets":12},"chest":{"sets":8}}}"#,
            r#"{"week":"2024-W05","muscleGroups":{"back":{"sets":9},"legs":{"sets":10}}}"#,
            r#"{"week":"2024-W05","muscleGroups":{"back":{"sets":12},"chest":{"sets":8},"legs":{"sets":10}}}"#,
            r#"{"week":"2024-W05","muscleGroups":{"back":{"sets":12},"chest":{"sets":8},"legs":{"sets":10}}}"#,
        ),
        ("negative", "-2", "-1.5", "-1.5", "-1.5"),
        (
            "without rounding",
            r#"{"a":9007199254740993,"b":0.1}"#,
            r#"{"a":9007199254740992,"b":0.1000000000000000055511151231257827}"#,
            r#"{"a":9007199254740993,"b":0.1000000000000000055511151231257827}"#,
            r#"{"a":9007199254740993,"b":0.1000000000000000055511151231257827}"#,
        ),
        (
            "40 digits",
            "1234567890123456789012345678901234567891",
            "1234567890123456789012345678901234567890",
            "1234567890123456789012345678901234567891",
            "1234567890123456789012345678901234567891",
        ),
        ("equal", "1.50", "15e-1", "1.5", "1.5"),
        (
            "other leaves are the later side's",
            r#"{"t":"x","f":true,"n":null}"#,
            r#"{"t":"y","f":false,"n":1}"#,
            r#"{"t":"x","f":true,"n":null}"#,
            r#"{"t":"y","f":false,"n":1}"#,
        ),
        (
            "so are lists",
            r#"{"l":[1,9]}"#,
            r#"{"l":[5]}"#,
            r#"{"l":[1,9]}"#,
            r#"{"l":[5]}"#,
        ),
        (
            "and what is an object on one side",
            r#"{"a":{"b":1}}"#,
            r#"{"a":9}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":9}"#,
        ),
    ] {
        let (client, server) = (json(client), json(server));
        let by_client = maximum(None, &client, &server, Later::Client);
        assert_eq!(by_client, json(client_later), "{case}, client later");
        let by_server = maximum(None, &client, &server, Later::Server);
        assert_eq!(by_server, json(server_later), "{case}, server later");
    }
}

/// Objects of numbers; a key is a number everywhere or an object everywhere.
fn numbers() -> impl Strategy<Value = Json> {
    let flat = || proptest::collection::btree_map(name("[ab]"), number(), 0..3);
    let below = proptest::collection::btree_map(name("[xy]"), flat().prop_map(Json::Object), 0..3);
    (flat(), below).prop_map(|(mut members, below)| {
        members.extend(below);
        Json::Object(members)
    })
}

proptest! {
    #[test]
    fn it_does_not_matter_which_device_came_first(
        (_, client, server) in versions(), later in later(),
    ) {
        prop_assert_eq!(
            maximum(None, &client, &server, later),
            maximum(None, &server, &client, swapped(later))
        );
    }

    #[test]
    fn a_side_with_itself_is_itself((_, client, _) in versions(), later in later()) {
        prop_assert_eq!(maximum(None, &client, &client, later), client);
    }

    /// With the same side as the later one, or with the result as the later one.
    #[test]
    fn merging_again_changes_nothing((_, client, server) in versions(), later in later()) {
        let merged = maximum(None, &client, &server, later);
        for again in [later, Later::Server] {
            prop_assert_eq!(&maximum(None, &client, &merged, again), &merged);
        }
        for again in [later, Later::Client] {
            prop_assert_eq!(&maximum(None, &merged, &server, again), &merged);
        }
    }

    /// Nobody is later than anybody where there are only numbers.
    #[test]
    fn numbers_merge_in_any_order(a in numbers(), b in numbers(), c in numbers()) {
        let max = |a: &Json, b: &Json| maximum(None, a, b, Later::Client);
        prop_assert_eq!(max(&a, &b), maximum(None, &a, &b, Later::Server));
        prop_assert_eq!(max(&a, &b), max(&b, &a));
        prop_assert_eq!(max(&max(&a, &b), &c), max(&a, &max(&b, &c)));
    }

    #[test]
    fn results_are_acceptable_again_and_made_of_the_sides(
        (_, client, server) in versions(), later in later(),
    ) {
        let merged = maximum(None, &client, &server, later);
        prop_assert!(depth(&merged) <= depth(&client).max(depth(&server)));
        prop_assert!(nothing_is_invented(&merged, &client, &server));
        prop_assert!(may_be_sent(&merged));
    }
}
