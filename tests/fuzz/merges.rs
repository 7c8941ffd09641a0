//! The laws of the merges, for any three documents.

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::json::{DEPTH_MAX, Json};
use ironflow_sync::domain::merge::{Later, Merge, Side, latest_per_key, maximum, three_way};
use ironflow_sync::domain::number::Decimal;

use super::bytes::Bytes;

/// Levels of a document made from bytes.
const LEVELS: usize = 5;

/// Pointers a merge may name, and their bytes all together (`domain::merge`).
const OVERLAPS_MAX: usize = 100;
const OVERLAPS_BYTES_MAX: usize = 16 * 1024;

/// Three documents, as text with a byte 0xff between them, or made of bytes; merged in every way.
pub fn merge(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let kind = bytes.byte();
    let documents = if kind & 1 == 0 {
        written(bytes.0)
    } else {
        let base = tree(&mut bytes, LEVELS);
        let mut sides = [base.clone(), base.clone()];
        for side in &mut sides {
            for _ in 0..bytes.byte() % 5 {
                edit(side, &mut bytes, LEVELS);
            }
        }
        let [client, server] = sides;
        Some([base, client, server])
    };
    let Some([base, client, server]) = documents else {
        return;
    };
    let later = if kind & 2 == 0 {
        Later::Client
    } else {
        Later::Server
    };
    check_three_way(&base, &client, &server, later);
    check_maximum(&base, &client, &server, later);
    // In the texts the times of the sides are fixed, for the sake of who reads the corpus.
    let time = i64::from(kind >> 3);
    check_latest(
        &base,
        side(&client, 1_000, -time),
        side(&server, 1_000 + time, time),
    );
}

fn side(value: &Json, edit_time: i64, clock_offset_ms: i64) -> Side<'_> {
    Side {
        value,
        edit_time: Millis(edit_time),
        clock_offset_ms,
    }
}

/// Documents a device may send.
fn written(bytes: &[u8]) -> Option<[Json; 3]> {
    let read = bytes.split(|byte| *byte == 0xff).map(Json::from_device);
    let read: Result<Vec<Json>, _> = read.collect();
    read.ok()?.try_into().ok()
}

fn check_three_way(base: &Json, client: &Json, server: &Json, later: Later) {
    let alone = |value: &Json| Merge {
        value: value.clone(),
        overlaps: Vec::new(),
    };
    assert_eq!(three_way(base, client, base, later), alone(client));
    assert_eq!(three_way(base, base, server, later), alone(server));
    assert_eq!(three_way(base, client, client, later), alone(client));
    let merged = three_way(base, client, server, later);
    let turned = three_way(base, server, client, other(later));
    assert_eq!(merged.value, turned.value, "which device came first");
    check_made_of(&merged.value, client, server);
    let overlaps = &merged.overlaps;
    assert!(overlaps.is_sorted_by(|a, b| a < b), "{overlaps:?}");
    let bytes: usize = overlaps.iter().map(String::len).sum();
    let few = overlaps.len() <= OVERLAPS_MAX && bytes <= OVERLAPS_BYTES_MAX;
    assert!(
        few || overlaps.len() == 1,
        "{} of {bytes} bytes",
        overlaps.len()
    );
    // With the result as the stored value, the device's edit is in it already.
    for again in [later, Later::Server] {
        assert_eq!(
            three_way(base, client, &merged.value, again).value,
            merged.value
        );
    }
}

fn check_maximum(base: &Json, client: &Json, server: &Json, later: Later) {
    for base in [None, Some(base)] {
        let merged = maximum(base, client, server, later);
        assert_eq!(merged, maximum(base, server, client, other(later)));
        assert_eq!(&maximum(base, client, client, later), client);
        check_made_of(&merged, client, server);
    }
}

fn check_latest(base: &Json, client: Side<'_>, server: Side<'_>) {
    for key in ["days", "a"] {
        for base in [None, Some(base)] {
            let merged = latest_per_key(key, base, client, server);
            check_made_of(&merged, client.value, server.value);
            assert_eq!(&latest_per_key(key, base, client, client), client.value);
            let turned = latest_per_key(key, base, server, client);
            check_made_of(&turned, client.value, server.value);
        }
    }
}

/// Made of the sides, no deeper than they are and no larger than both, and acceptable again.
fn check_made_of(merged: &Json, client: &Json, server: &Json) {
    assert!(depth(merged) <= depth(client).max(depth(server)));
    let text = merged.to_text();
    assert!(
        text.len() <= client.to_text().len() + server.to_text().len(),
        "{text}"
    );
    let (mut from, mut found) = (Vec::new(), Vec::new());
    leaves(client, &mut from);
    leaves(server, &mut from);
    leaves(merged, &mut found);
    assert!(found.iter().all(|leaf| from.contains(leaf)), "{text}");
    if depth(merged) < DEPTH_MAX {
        let document = Json::Object([("a".into(), merged.clone())].into());
        assert_eq!(
            Json::from_device(document.to_text().as_bytes()),
            Ok(document)
        );
    }
}

fn other(later: Later) -> Later {
    match later {
        Later::Client => Later::Server,
        Later::Server => Later::Client,
    }
}

fn children(value: &Json) -> Vec<&Json> {
    match value {
        Json::Array(elements) => elements.iter().collect(),
        Json::Object(members) => members.values().collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    }
}

fn depth(value: &Json) -> usize {
    let nests = usize::from(matches!(value, Json::Array(_) | Json::Object(_)));
    let below = children(value).into_iter().map(depth).max();
    nests + below.unwrap_or_default()
}

fn leaves<'a>(value: &'a Json, found: &mut Vec<&'a Json>) {
    if !matches!(value, Json::Array(_) | Json::Object(_)) {
        found.push(value);
    }
    for child in children(value) {
        leaves(child, found);
    }
}

/// Few keys, few ids, few values, so that trees meet.
const KEYS: [&str; 8] = ["a", "b", "id", "days", "updatedAt", "updated_at", "~/", ""];
const NUMBERS: [&str; 7] = [
    "0",
    "1",
    "2",
    "-1.5",
    "9007199254740993",
    "1e308",
    "1700000000000",
];
const TEXTS: [&str; 6] = ["", "x", "1", "2026-01-02T03:04:05Z", "ü\n", "\"\\\u{1}/~"];

fn leaf(bytes: &mut Bytes<'_>) -> Json {
    match bytes.byte() % 6 {
        0 => Json::Null,
        1 => Json::Bool(bytes.byte() % 2 == 1),
        2 | 3 => Json::Number(Decimal::from_token(bytes.one_of(&NUMBERS))),
        _ => Json::String(bytes.one_of(&TEXTS).into()),
    }
}

fn tree(bytes: &mut Bytes<'_>, levels: usize) -> Json {
    let kind = bytes.byte();
    let count = usize::from(kind >> 4) % 5;
    match kind % 4 {
        _ if levels == 0 || bytes.0.is_empty() => leaf(bytes),
        0 => leaf(bytes),
        1 => Json::Array((0..count).map(|_| tree(bytes, levels - 1)).collect()),
        2 => Json::Array((0..count).map(|_| element(bytes, levels - 1)).collect()),
        _ => Json::Object(
            (0..count)
                .map(|_| (bytes.one_of(&KEYS).into(), tree(bytes, levels - 1)))
                .collect(),
        ),
    }
}

/// An object with an id, as lists that merge have.
fn element(bytes: &mut Bytes<'_>, levels: usize) -> Json {
    let id = leaf(bytes);
    let member = bytes.one_of(&KEYS).into();
    let value = tree(bytes, levels.saturating_sub(1));
    Json::Object([(member, value), ("id".into(), id)].into())
}

/// One change somewhere in a tree.
fn edit(value: &mut Json, bytes: &mut Bytes<'_>, levels: usize) {
    let choice = bytes.byte();
    match value {
        Json::Object(members) if !choice.is_multiple_of(4) => {
            let at = usize::from(bytes.byte()) % members.len().max(1);
            match members.values_mut().nth(at) {
                Some(member) if choice % 4 == 1 && levels > 0 => edit(member, bytes, levels - 1),
                Some(_) if choice % 4 == 2 => {
                    let key = members.keys().nth(at).cloned();
                    members.remove(&key.expect("it is there"));
                }
                _ => {
                    let key = bytes.one_of(&KEYS).into();
                    members.insert(key, tree(bytes, levels.saturating_sub(1)));
                }
            }
        }
        Json::Array(elements) if !choice.is_multiple_of(4) => {
            let at = usize::from(bytes.byte()) % elements.len().max(1);
            match choice / 4 % 4 {
                0 if at < elements.len() && levels > 0 => {
                    edit(&mut elements[at], bytes, levels - 1)
                }
                1 if at < elements.len() => drop(elements.remove(at)),
                2 if at < elements.len() => {
                    let moved = elements.remove(at);
                    let to = usize::from(bytes.byte()) % (elements.len() + 1);
                    elements.insert(to, moved);
                }
                _ => elements.push(element(bytes, levels.saturating_sub(1))),
            }
        }
        other => *other = tree(bytes, levels),
    }
}
