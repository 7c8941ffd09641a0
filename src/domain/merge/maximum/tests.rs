use super::*;
use crate::domain::json::testing::json;

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
        let by_client = maximum(&client, &server, Later::Client);
        assert_eq!(by_client, json(client_later), "{case}, client later");
        let by_server = maximum(&client, &server, Later::Server);
        assert_eq!(by_server, json(server_later), "{case}, server later");
    }
}
