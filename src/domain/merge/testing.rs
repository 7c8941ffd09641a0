//! Two edits of one thing, for the laws of the merges.

use proptest::prelude::*;
use smol_str::SmolStr;

use super::{Later, Merge, three_way};
use crate::domain::json::Json;
use crate::domain::json::testing::{id, id_list, key, leaf, tree};

/// One change somewhere in a tree.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    /// Which child to enter, level by level, modulo their number.
    way: Vec<usize>,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Replace(Json),
    /// A member, or an element at this index.
    Add(SmolStr, Json, usize),
    Remove(usize),
    /// An element from one index to another.
    Move(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let element = (id(), proptest::collection::btree_map(key(), leaf(), 0..3))
        .prop_map(|element| id_list(vec![element]))
        .prop_map(|list| match list {
            Json::Array(mut elements) => elements.remove(0),
            other => other,
        });
    let change = prop_oneof![
        3 => leaf().prop_map(Change::Replace),
        1 => tree().prop_map(Change::Replace),
        2 => (key(), leaf(), 0..5_usize).prop_map(|(key, value, at)| Change::Add(key, value, at)),
        3 => (key(), element, 0..5_usize).prop_map(|(key, value, at)| Change::Add(key, value, at)),
        3 => (0..5_usize).prop_map(Change::Remove),
        3 => (0..5_usize, 0..5_usize).prop_map(|(from, to)| Change::Move(from, to)),
    ];
    (proptest::collection::vec(0..5_usize, 0..4), change)
        .prop_map(|(way, change)| Edit { way, change })
}

fn apply(value: &mut Json, way: &[usize], change: &Change) {
    match (value, way) {
        (Json::Object(members), [step, way @ ..]) if !members.is_empty() => {
            let at = step % members.len();
            if let Some(member) = members.values_mut().nth(at) {
                apply(member, way, change);
            }
        }
        (Json::Array(elements), [step, way @ ..]) if !elements.is_empty() => {
            let at = step % elements.len();
            apply(&mut elements[at], way, change);
        }
        (value, _) => change_here(value, change),
    }
}

fn change_here(value: &mut Json, change: &Change) {
    match (change, value) {
        (Change::Replace(new), value) => *value = new.clone(),
        (Change::Add(key, new, _), Json::Object(members)) => {
            members.insert(key.clone(), new.clone());
        }
        (Change::Add(_, new, at), Json::Array(elements)) => {
            elements.insert(at % (elements.len() + 1), new.clone());
        }
        (Change::Remove(at), Json::Object(members)) if !members.is_empty() => {
            let key = members.keys().nth(at % members.len()).cloned();
            members.remove(&key.expect("a key"));
        }
        (Change::Remove(at), Json::Array(elements)) if !elements.is_empty() => {
            elements.remove(at % elements.len());
        }
        (Change::Move(from, to), Json::Array(elements)) if !elements.is_empty() => {
            let element = elements.remove(from % elements.len());
            elements.insert(to % (elements.len() + 1), element);
        }
        (Change::Add(..) | Change::Remove(_) | Change::Move(..), _) => {}
    }
}

/// A base and two edits of it, or three things that have nothing to do with each other.
pub(super) fn versions() -> impl Strategy<Value = (Json, Json, Json)> {
    let edits = || proptest::collection::vec(edit(), 0..6);
    let edited = |base: &Json, edits: Vec<Edit>| {
        let mut value = base.clone();
        for Edit { way, change } in edits {
            apply(&mut value, &way, &change);
        }
        value
    };
    prop_oneof![
        1 => (tree(), tree(), tree()),
        4 => (tree(), edits(), edits()).prop_map(move |(base, ours, theirs)| {
            let (client, server) = (edited(&base, ours), edited(&base, theirs));
            (base, client, server)
        }),
    ]
}

pub(super) fn later() -> impl Strategy<Value = Later> {
    prop_oneof![Just(Later::Client), Just(Later::Server)]
}

/// The same side as seen from the other one.
pub(super) fn swapped(later: Later) -> Later {
    later.of(Later::Server, Later::Client)
}

/// Levels of nesting.
pub(super) fn depth(value: &Json) -> usize {
    children(value).map(depth).max().map_or_else(
        || usize::from(matches!(value, Json::Array(_) | Json::Object(_))),
        |below| below + 1,
    )
}

/// Whether every leaf of a merge is a leaf of a side.
pub(super) fn nothing_is_invented(merged: &Json, client: &Json, server: &Json) -> bool {
    let (mut from, mut found) = (Vec::new(), Vec::new());
    leaves(client, &mut from);
    leaves(server, &mut from);
    leaves(merged, &mut found);
    found.iter().all(|leaf| from.contains(leaf))
}

fn leaves<'a>(value: &'a Json, found: &mut Vec<&'a Json>) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => found.push(value),
        Json::Array(_) | Json::Object(_) => {
            children(value).for_each(|child| leaves(child, found));
        }
    }
}

fn children(value: &Json) -> Box<dyn Iterator<Item = &Json> + '_> {
    match value {
        Json::Array(elements) => Box::new(elements.iter()),
        Json::Object(members) => Box::new(members.values()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            Box::new(std::iter::empty())
        }
    }
}

/// The value with the elements of every list in one order, whatever they had.
pub(super) fn unordered(value: &Json) -> Json {
    match value {
        Json::Array(elements) => {
            let mut elements: Vec<Json> = elements.iter().map(unordered).collect();
            elements.sort_by_key(Json::to_text);
            Json::Array(elements)
        }
        Json::Object(members) => Json::Object(
            members
                .iter()
                .map(|(key, member)| (key.clone(), unordered(member)))
                .collect(),
        ),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
    }
}

/// Whether the value would be accepted from a device and mean the same.
pub(super) fn may_be_sent(value: &Json) -> bool {
    let document = Json::Object([("a".into(), value.clone())].into());
    Json::from_device(document.to_text().as_bytes()) == Ok(document)
}

/// Pointers with a star for each index, each once: which element of a list is left out.
pub(super) fn without_indexes(merge: &Merge) -> Vec<String> {
    let star = |token: &str| match token.parse::<usize>() {
        Ok(_) => "*".to_owned(),
        Err(_) => token.to_owned(),
    };
    let masked = merge.overlaps.iter().map(|pointer| {
        let tokens: Vec<String> = pointer.split('/').map(star).collect();
        tokens.join("/")
    });
    let mut masked: Vec<String> = masked.collect();
    masked.sort();
    masked.dedup();
    masked
}

/// Merges both ways round; panics unless the sides are treated alike.
pub(super) fn three_way_both_ways(base: &Json, a: &Json, b: &Json, later: Later) -> Merge {
    let merge = three_way(base, a, b, later);
    let other = three_way(base, b, a, swapped(later));
    assert_eq!(merge.value, other.value);
    assert_eq!(without_indexes(&merge), without_indexes(&other));
    merge
}
