//! Bad items: each is its own ERROR and spares its neighbours.

use ironflow_sync::grpc::proto::ErrorCode::{InvalidData, InvalidItem, TooLarge};
use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{ErrorCode, SyncItem, SyncStatus};
use serde_json::json;
use uuid::Uuid;

use super::limits::{nested, sized};
use crate::support::{Device, TestService, put, put_bytes};

type Spoil = fn(&mut SyncItem);

/// What is wrong, how it is answered, the field the message begins with, and the item.
const BAD_FIELDS: &[(&str, &str, Spoil)] = &[
    ("no id", "entity_id", |i| i.entity_id.clear()),
    ("not a UUID", "entity_id", |i| {
        i.entity_id = "workout-1".to_owned()
    }),
    ("a UUID without hyphens", "entity_id", |i| {
        i.entity_id = i.entity_id.replace('-', "")
    }),
    ("a UUID in braces", "entity_id", |i| {
        i.entity_id = format!("{{{}}}", i.entity_id)
    }),
    ("NUL in the id", "entity_id", |i| {
        i.entity_id.replace_range(35.., "\0")
    }),
    ("no operation", "operation", |i| i.operation.clear()),
    ("unknown operation", "operation", |i| {
        i.operation = "upsert".to_owned()
    }),
    ("padded operation", "operation", |i| {
        i.operation = "update ".to_owned()
    }),
    ("negative version", "version", |i| i.version = -1),
    ("least version", "version", |i| i.version = i32::MIN),
    ("no type", "entity_type", |i| i.entity_type.clear()),
    ("capital type", "entity_type", |i| {
        i.entity_type = "Workout".to_owned()
    }),
    ("injected type", "entity_type", |i| {
        i.entity_type = "workout'; drop table entities; --".to_owned()
    }),
    ("type with NUL", "entity_type", |i| {
        i.entity_type = "workout\0".to_owned()
    }),
    ("type of 65 bytes", "entity_type", |i| {
        i.entity_type = "w".repeat(65)
    }),
    ("bad mutation id", "mutation_id", |i| {
        i.mutation_id = "7".to_owned()
    }),
    ("mutation id with NUL", "mutation_id", |i| {
        i.mutation_id.replace_range(35.., "\0")
    }),
    ("group id of 129 bytes", "group_id", |i| {
        i.group_id = "g".repeat(129)
    }),
    ("group id of 130 bytes in 65 letters", "group_id", |i| {
        i.group_id = "é".repeat(65)
    }),
];

#[tokio::test]
async fn a_bad_field_is_an_error_that_names_it_and_spares_its_neighbours() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    for (name, field, spoil) in BAD_FIELDS {
        let mut item = put(Uuid::new_v4(), 0, &json!({"secret": "hunter2"}));
        spoil(&mut item);
        check_bad(name, &mut phone, item, InvalidItem, field, None).await;
    }
}

#[tokio::test]
async fn bad_data_is_an_error_that_says_where_and_spares_its_neighbours() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let deep = nested(65);
    let deep_path = "/a".repeat(64);
    let very_deep = "[".repeat(100_000);
    let very_deep_path = "/0".repeat(64);
    let long_number = format!("{{\"a\":{}}}", "7".repeat(65));
    let cases: &[(&str, &[u8], &str)] = &[
        ("nothing", b"", ""),
        ("an array", b"[]", ""),
        ("a string", b"\"hunter2\"", ""),
        ("null", b"null", ""),
        ("two documents", b"{} {}", ""),
        ("a comment", b"{} // hunter2", ""),
        ("cut off", b"{\"a\":\"hunter2", "/a"),
        ("NaN", b"{\"a\":NaN}", "/a"),
        ("invalid UTF-8", b"{\"a\":\"\xff\"}", ""),
        ("overlong UTF-8", b"{\"a\":\"\xc0\x80\"}", ""),
        ("a raw NUL", b"{\"a\":\"\0\"}", "/a"),
        ("a byte order mark", b"\xef\xbb\xbf{}", ""),
        ("a key twice", b"{\"a\":{\"b\":1,\"b\":1}}", "/a/b"),
        ("a key twice, escaped", b"{\"a\":1,\"\\u0061\":2}", "/a"),
        ("depth 65", deep.as_bytes(), &deep_path),
        ("depth 100000", very_deep.as_bytes(), &very_deep_path),
        (
            "\\u0000",
            br#"{"sets":[{"note":"a\u0000"}]}"#,
            "/sets/0/note",
        ),
        ("\\u0000 in a key", br#"{"a\u0000":1}"#, ""),
        ("a lone high surrogate", br#"{"a":"\ud800"}"#, "/a"),
        ("a lone low surrogate", br#"{"a":"\udc00x"}"#, "/a"),
        (
            "surrogates the wrong way round",
            br#"{"a":"\udc00\ud800"}"#,
            "/a",
        ),
        ("1e130000", br#"{"a~b":{"c/d":1e130000}}"#, "/a~0b/c~1d"),
        ("1e-309", b"{\"a\":1e-309}", "/a"),
        (
            "an exponent beyond int64",
            b"{\"a\":1e99999999999999999999}",
            "/a",
        ),
        ("65 digits", long_number.as_bytes(), "/a"),
    ];
    for (name, data, path) in cases {
        let item = put_bytes(Uuid::new_v4(), 0, *data);
        check_bad(name, &mut phone, item, InvalidData, "data", Some(path)).await;
    }
    let large = put_bytes(Uuid::new_v4(), 0, sized(256 * 1024 + 1));
    check_bad(
        "256 KiB and a byte",
        &mut phone,
        large,
        TooLarge,
        "data",
        None,
    )
    .await;
}

/// Sends a bad item between two good ones, before it a good one of the same entity.
async fn check_bad(
    name: &str,
    phone: &mut Device,
    bad: SyncItem,
    code: ErrorCode,
    field: &str,
    path: Option<&str>,
) {
    let good = || put(Uuid::new_v4(), 0, &json!({}));
    let answers = phone.sync(vec![good(), bad.clone(), good()]).await;
    for neighbour in [&answers[0], &answers[2]] {
        assert_eq!(neighbour.resolution(), Applied, "{name}: {neighbour:?}");
    }
    let answer = &answers[1];
    assert_eq!(answer.status(), SyncStatus::Error, "{name}");
    assert_eq!(
        answer.error_code(),
        code,
        "{name}: {}",
        answer.error_message
    );
    let message = &answer.error_message;
    assert!(
        message.starts_with(&format!("{field}: ")),
        "{name}: {message}"
    );
    assert!(message.contains("expected"), "{name}: {message}");
    assert!(!message.contains("hunter2"), "{name}: {message}");
    let paths: Vec<&str> = answer.violations.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, path.into_iter().collect::<Vec<_>>(), "{name}");
    assert!(answer.violations.iter().all(|v| !v.description.is_empty()));
    assert_eq!(answer.entity_id, bad.entity_id, "{name}");
    assert_eq!(answer.entity_type, bad.entity_type, "{name}");
    assert_eq!(answer.mutation_id, bad.mutation_id, "{name}");
    assert_eq!(
        (answer.server_version, answer.server_timestamp),
        (0, 0),
        "{name}"
    );
    assert_eq!(
        (&answer.conflict, answer.server_deleted),
        (&None, false),
        "{name}"
    );
}
