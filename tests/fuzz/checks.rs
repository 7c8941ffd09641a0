//! What must hold whatever bytes come in: one function per fuzz target, shared by the targets of the
//! folder `fuzz` and by `cargo test`, which replays their corpora. A check panics where it fails.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::cursor::{
    Backfill, Binding, Cursor, CursorKey, InvalidCursor, Position,
};
use ironflow_sync::domain::entity::{Document, EntityType};
use ironflow_sync::domain::item::{
    Change, Item, ItemRules, RawItem, Rejection, RejectionCode, Sender, Submission,
};
use ironflow_sync::domain::json::{Json, Violation, shorten_numbers};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::version::Revision;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::bytes::Bytes;

pub use super::merges::merge;

/// Bytes of an item's data at most: small, so that the limit is met.
const ITEM_BYTES_MAX: usize = 512;

/// Longest text a rejection may have, whatever was sent.
const MESSAGE_BYTES_MAX: usize = 600;

const NOW: Millis = Millis(1_700_000_000_000);
const ID: &str = "6F1C5a4e-0d5b-4c57-9d0e-3f6f4f3a2b10";

/// An item: parsed alike twice, into what was sent, or refused with the name of the field.
///
/// The first byte says which fields are fine already, so that the others are reached.
pub fn item(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let given = bytes.byte();
    let mut field = |bit: u8, fine: &str| match given & (1 << bit) {
        0 => bytes.text(),
        _ => fine.to_owned(),
    };
    let raw = RawItem {
        entity_type: field(0, "workout"),
        entity_id: field(1, ID),
        operation: field(2, "Update"),
        mutation_id: field(3, ""),
        group_id: field(4, ""),
        version: i32::from_be_bytes(bytes.array()),
        timestamp: i64::from_be_bytes(bytes.array()),
        force: given & 128 != 0,
        data: Vec::new(),
    };
    let client_time = i64::from_be_bytes(bytes.array());
    let raw = RawItem {
        data: bytes.0.to_vec(),
        ..raw
    };
    let parsed = parse(&raw, client_time, "phone");
    assert_eq!(parsed.group.is_some(), !raw.group_id.is_empty());
    match (parsed.item, parse(&raw, client_time, "tablet").item) {
        (Ok(item), Ok(of_another)) => {
            check_item(&raw, &item);
            let same = item.mutation == of_another.mutation;
            assert_eq!(
                same,
                !raw.mutation_id.is_empty(),
                "a derived id is its device's own"
            );
            let again = parse(&raw, client_time, "phone")
                .item
                .map(|item| item.mutation);
            assert_eq!(again.ok(), Some(item.mutation));
        }
        (Err(rejection), Err(of_another)) => {
            assert_eq!(rejection, of_another);
            check_rejection(&rejection);
        }
        (one, other) => panic!("a device decides what is valid: {one:?} {other:?}"),
    }
}

fn parse(raw: &RawItem, client_time: i64, device: &str) -> Submission {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    let sender = Sender {
        user: UserId::new("mia").expect("valid"),
        device: DeviceId::new(device).expect("valid"),
        client_time,
        received: NOW,
    };
    let rules = ItemRules {
        catalog: CATALOG.get_or_init(Catalog::builtin),
        item_bytes_max: ITEM_BYTES_MAX,
        operator: false,
    };
    Submission::parse(raw.clone(), &sender, &rules)
}

fn check_item(raw: &RawItem, item: &Item) {
    assert_eq!(item.key.entity_type.as_str(), raw.entity_type);
    assert_eq!(
        item.key.entity_id.to_string(),
        raw.entity_id.to_ascii_lowercase()
    );
    assert_eq!(item.base.number(), raw.version);
    assert!(
        (0..=NOW.0).contains(&item.edit_time.0),
        "{:?}",
        item.edit_time
    );
    if !raw.mutation_id.is_empty() {
        assert_eq!(
            item.mutation.0.to_string(),
            raw.mutation_id.to_ascii_lowercase()
        );
    }
    let deletes = raw.operation.eq_ignore_ascii_case("delete");
    match &item.change {
        Change::Delete => assert!(deletes),
        Change::Put(document) => {
            assert!(!deletes && raw.data.len() <= ITEM_BYTES_MAX);
            assert_eq!(document.text().as_bytes(), raw.data, "kept as it was sent");
            assert!(document.same_as(&Document::from_store(document.text().to_owned())));
        }
    }
}

fn check_rejection(rejection: &Rejection) {
    let message = &rejection.message;
    let fields = [
        "entity_type",
        "entity_id",
        "operation",
        "version",
        "group_id",
        "mutation_id",
        "data",
    ];
    let named = fields
        .iter()
        .any(|field| message.starts_with(&format!("{field}: ")));
    assert!(named && message.contains("expected"), "{message}");
    assert!(message.len() <= MESSAGE_BYTES_MAX, "{message}");
    let of_data = rejection.code == RejectionCode::InvalidData;
    assert_eq!(of_data, !rejection.violations.is_empty(), "{rejection:?}");
    rejection.violations.iter().for_each(check_violation);
}

fn check_violation(violation: &Violation) {
    let Violation { path, description } = violation;
    assert!(path.is_empty() || path.starts_with('/'), "{path}");
    assert!(
        !description.is_empty() && description.len() <= MESSAGE_BYTES_MAX,
        "{description}"
    );
}

/// JSON: what is read others read too, as the same; what others read is refused only for the limits
/// of the protocol; what is read can be written, and read again.
pub fn json(bytes: &[u8]) {
    let theirs = serde_json::from_slice::<&RawValue>(bytes).ok();
    match (Json::from_device(bytes), theirs) {
        (Ok(value), Some(theirs)) => {
            assert!(same(&value, theirs), "{value:?} is not {theirs}");
            let written = value.to_text();
            assert_eq!(
                Json::from_device(written.as_bytes()).as_ref(),
                Ok(&value),
                "{written}"
            );
            let text = std::str::from_utf8(bytes).expect("it was read");
            for stored in [text.to_owned(), shorten_numbers(text.to_owned())] {
                assert_eq!(Json::from_store(&stored).as_ref(), Ok(&value), "{stored}");
            }
        }
        (Ok(value), None) => panic!("nobody else reads {value:?}"),
        (Err(violation), theirs) => {
            check_violation(&violation);
            let limits = [
                "a JSON object",
                "each key once",
                "\\u0000",
                "surrogate",
                "exponent",
                "characters",
                "levels of nesting",
            ];
            let limited = limits
                .iter()
                .any(|limit| violation.description.contains(limit));
            assert!(theirs.is_none() || limited, "{violation:?} in {theirs:?}");
            // Whatever the store wrote, reading it does not panic either.
            let stored = String::from_utf8_lossy(bytes).into_owned();
            let _ = Json::from_store(&stored);
            let _ = shorten_numbers(stored);
        }
    }
}

/// Whether our value is what serde_json reads, piece by piece.
fn same(ours: &Json, theirs: &RawValue) -> bool {
    fn read<'a, T: serde::Deserialize<'a>>(theirs: &'a RawValue) -> Option<T> {
        serde_json::from_str(theirs.get()).ok()
    }
    match ours {
        Json::Null => theirs.get() == "null",
        Json::Bool(value) => read(theirs) == Some(*value),
        Json::String(value) => read::<String>(theirs).is_some_and(|theirs| theirs == *value),
        // Both are rounded to the nearest double.
        Json::Number(value) => value.to_string().parse::<f64>() == theirs.get().parse::<f64>(),
        Json::Array(elements) => read::<Vec<&RawValue>>(theirs).is_some_and(|theirs| {
            elements.len() == theirs.len() && elements.iter().zip(theirs).all(|(a, b)| same(a, b))
        }),
        Json::Object(members) => {
            read::<BTreeMap<String, &RawValue>>(theirs).is_some_and(|theirs| {
                members.len() == theirs.len()
                    && members
                        .iter()
                        .zip(theirs)
                        .all(|((key, a), (their_key, b))| *key == their_key && same(a, b))
            })
        }
    }
}

/// Cursors: any text is refused; one of ours is read as it was written, and refused after any change,
/// for anybody else and for other types.
pub fn cursor(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let key = CursorKey([7; 64]);
    let made = bytes.byte();
    if made % 2 == 0 {
        let text = String::from_utf8_lossy(bytes.0);
        assert_eq!(
            Cursor::decode(&text, &binding("mia", &[]), &key),
            Err(InvalidCursor)
        );
        return;
    }
    let cursor = Cursor {
        epoch: Uuid::from_bytes(bytes.array()),
        schema: i32::from_be_bytes(bytes.array()),
        library: position(&mut bytes),
        user: position(&mut bytes),
        backfill: (made & 2 != 0).then(|| Backfill {
            schema_before: i32::from_be_bytes(bytes.array()),
            library: position(&mut bytes),
            user: position(&mut bytes),
        }),
    };
    let types: &[&str] = if made & 4 != 0 { &["workout"] } else { &[] };
    let mia = binding("mia", types);
    let text = cursor.encode(&mia, &key);
    assert_eq!(Cursor::decode(&text, &mia, &key), Ok(cursor));
    let refused = |text: &str, binding: &Binding, key: &CursorKey| {
        assert_eq!(
            Cursor::decode(text, binding, key),
            Err(InvalidCursor),
            "{text}"
        );
    };
    refused(&text, &binding("leo", types), &key);
    refused(&text, &binding("mia", &["routine"]), &key);
    refused(&text, &mia, &CursorKey([8; 64]));
    let at = usize::from(bytes.byte()) % text.len();
    refused(&text[..at], &mia, &key);
    let mut changed = text.clone().into_bytes();
    changed[at] ^= 1 << (bytes.byte() % 7);
    if let Ok(changed) = String::from_utf8(changed) {
        refused(&changed, &mia, &key);
    }
    let behind = String::from_utf8_lossy(bytes.0);
    if !behind.is_empty() {
        refused(&format!("{text}{behind}"), &mia, &key);
        refused(&format!("{behind}{text}"), &mia, &key);
    }
}

fn binding(user: &str, types: &[&str]) -> Binding {
    Binding {
        scope: Scope::of(&UserId::new(user).expect("a user")),
        types: types
            .iter()
            .filter_map(|name| EntityType::new(name))
            .collect(),
        export: false,
    }
}

fn position(bytes: &mut Bytes<'_>) -> Position {
    Position {
        after: Revision::new(i64::from_be_bytes(bytes.array())),
        began_at: Revision::new(i64::from_be_bytes(bytes.array())),
    }
}
