//! Bad items: each is an ERROR of its own that names what is wrong, and where.

use ironflow_sync::grpc::proto::ErrorCode::{
    InvalidData, InvalidItem, TooLarge, UnknownEntityType,
};
use ironflow_sync::grpc::proto::SyncItem;
use serde_json::json;

use crate::check::{Checked, ensure, expect, failed};
use crate::record::{WORKOUT, note};
use crate::subject::Subject;

/// What is wrong with an item, and how it is made so.
type Spoil = (&'static str, fn(&mut SyncItem));

/// Each spoilt item is INVALID_ITEM and its message names the field.
async fn are_invalid(subject: &Subject, field: &str, spoils: &[Spoil]) -> Checked {
    for (what, spoil) in spoils {
        let mut item = subject.fresh(WORKOUT).await?.put(0, &note("a"));
        spoil(&mut item);
        let answer = subject.phone().push_one(item.clone()).await?;
        failed(what, &answer, InvalidItem, field)?;
        expect(
            &format!("entity_id in the answer to {what}"),
            answer.entity_id,
            item.entity_id,
        )?;
    }
    Ok(())
}

pub async fn entity_id(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "entity_id",
        &[
            ("an item without entity_id", |i| i.entity_id.clear()),
            ("an entity_id that is no UUID", |i| {
                i.entity_id = "workout-1".to_owned()
            }),
            ("an entity_id without hyphens", |i| {
                i.entity_id = i.entity_id.replace('-', "")
            }),
            ("an entity_id in braces", |i| {
                i.entity_id = format!("{{{}}}", i.entity_id)
            }),
        ],
    )
    .await
}

pub async fn operation(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "operation",
        &[
            ("an item without operation", |i| i.operation.clear()),
            ("an unknown operation", |i| {
                i.operation = "upsert".to_owned()
            }),
        ],
    )
    .await
}

pub async fn version(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "version",
        &[
            ("a negative version", |i| i.version = -1),
            ("the least version", |i| i.version = i32::MIN),
        ],
    )
    .await
}

pub async fn entity_type(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "entity_type",
        &[
            ("an item without entity_type", |i| i.entity_type.clear()),
            ("an entity_type in capitals", |i| {
                i.entity_type = "Workout".to_owned()
            }),
            ("an entity_type with a space", |i| {
                i.entity_type = "work out".to_owned()
            }),
            ("an entity_type of 65 bytes", |i| {
                i.entity_type = "w".repeat(65)
            }),
        ],
    )
    .await
}

pub async fn unknown_type(subject: &Subject) -> Checked {
    let item = SyncItem {
        entity_type: "conformance_never_heard_of".to_owned(),
        ..subject.fresh(WORKOUT).await?.put(0, &note("a"))
    };
    let answer = subject.phone().push_one(item).await?;
    failed(
        "a type that GetServerInfo does not list",
        &answer,
        UnknownEntityType,
        "entity_type",
    )
}

pub async fn mutation_id(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "mutation_id",
        &[("a mutation_id that is no UUID", |i| {
            i.mutation_id = "7".to_owned()
        })],
    )
    .await
}

pub async fn group_id(subject: &Subject) -> Checked {
    are_invalid(
        subject,
        "group_id",
        &[
            ("a group_id of 129 bytes", |i| i.group_id = "g".repeat(129)),
            ("a group_id of 130 bytes in 65 letters", |i| {
                i.group_id = "é".repeat(65)
            }),
        ],
    )
    .await
}

/// Each text is INVALID_DATA, and a violation says where: a JSON Pointer.
async fn are_invalid_data(subject: &Subject, texts: &[(&str, &[u8], &str)]) -> Checked {
    for (what, data, path) in texts {
        let workout = subject.fresh(WORKOUT).await?;
        let answer = subject
            .phone()
            .push_one(workout.put_bytes(0, *data))
            .await?;
        failed(what, &answer, InvalidData, "data")?;
        let paths: Vec<&str> = answer
            .violations
            .iter()
            .map(|found| found.path.as_str())
            .collect();
        ensure(paths.contains(path), || {
            format!("a violation at {path:?} for {what}; came {paths:?}")
        })?;
    }
    Ok(())
}

pub async fn no_object(subject: &Subject) -> Checked {
    are_invalid_data(
        subject,
        &[
            ("no data at all", b"", ""),
            ("an array", b"[]", ""),
            ("a text", b"\"a\"", ""),
            ("null", b"null", ""),
        ],
    )
    .await
}

pub async fn no_json(subject: &Subject) -> Checked {
    are_invalid_data(
        subject,
        &[
            ("two documents", b"{} {}", ""),
            ("a comment", b"{} // a", ""),
            ("text that is cut off", b"{\"a\":\"b", "/a"),
            ("NaN", b"{\"a\":NaN}", "/a"),
            ("bytes that are no UTF-8", b"{\"a\":\"\xff\"}", ""),
        ],
    )
    .await
}

pub async fn doubtful_json(subject: &Subject) -> Checked {
    are_invalid_data(
        subject,
        &[
            ("a key twice", b"{\"a\":{\"b\":1,\"b\":1}}", "/a/b"),
            (
                "a key twice, once escaped",
                b"{\"a\":1,\"\\u0061\":2}",
                "/a",
            ),
            ("\\u0000", br#"{"a":"\u0000"}"#, "/a"),
            ("a lone surrogate", br#"{"a":"\ud800"}"#, "/a"),
        ],
    )
    .await
}

pub async fn beyond_the_limits_of_json(subject: &Subject) -> Checked {
    const DIGITS_MAX: usize = 64;
    let levels = usize::try_from(subject.limits().json_depth_max).unwrap_or(0);
    let deep = format!("{}{{}}{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let long_number = format!("{{\"a\":{}}}", "7".repeat(DIGITS_MAX + 1));
    are_invalid_data(
        subject,
        &[
            (
                "data a level too deep",
                deep.as_bytes(),
                &"/a".repeat(levels),
            ),
            ("a number of 65 digits", long_number.as_bytes(), "/a"),
            ("1e130000", b"{\"a~b\":{\"c/d\":1e130000}}", "/a~0b/c~1d"),
            ("1e-309", b"{\"a\":1e-309}", "/a"),
        ],
    )
    .await
}

pub async fn schema(subject: &Subject) -> Checked {
    let negative = json!({"exercises": [{"sets": [{"reps": 5}, {"reps": -1}]}]}).to_string();
    are_invalid_data(
        subject,
        &[
            (
                "negative reps in a workout",
                negative.as_bytes(),
                "/exercises/0/sets/1/reps",
            ),
            (
                "a number for the title of a workout",
                b"{\"title\":7}",
                "/title",
            ),
        ],
    )
    .await
}

pub async fn too_large(subject: &Subject) -> Checked {
    let most = usize::try_from(subject.limits().item_bytes_max).unwrap_or(0);
    let phone = subject.phone();
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes.saturating_sub(8)));
    let workout = subject.fresh(WORKOUT).await?;
    let answer = phone
        .push_one(workout.put_bytes(0, sized(most + 1)))
        .await?;
    failed("data a byte too large", &answer, TooLarge, "data")?;
    let answer = phone.push_one(workout.put_bytes(0, sized(most))).await?;
    let error = answer.error_message;
    expect(
        "error_message for data just within item_bytes_max",
        error.as_str(),
        "",
    )
}
