//! JSON trees for the tests of the domain: few keys, few ids, few values, so that trees meet.

use proptest::prelude::*;
use smol_str::SmolStr;

use super::{Json, Members};
use crate::domain::number::Decimal;

/// The value of a JSON text.
pub(in crate::domain) fn json(text: &str) -> Json {
    Json::from_store(text).unwrap_or_else(|violation| panic!("{text}: {violation:?}"))
}

/// Any value but arrays and objects.
pub(in crate::domain) fn leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        1 => Just(Json::Null),
        1 => any::<bool>().prop_map(Json::Bool),
        4 => number(),
        2 => proptest::sample::select(vec!["", "x", "y", "ü\n", "\"\\\u{1}/~"])
            .prop_map(|text| Json::String(text.into())),
    ]
}

/// Numbers that doubles would confuse, and small ones.
pub(in crate::domain) fn number() -> impl Strategy<Value = Json> {
    proptest::sample::select(vec![
        "0",
        "1",
        "2",
        "-1",
        "102.5",
        "9007199254740992",
        "9007199254740993",
        "0.1",
        "0.1000000000000000055511151231257827",
        "1234567890123456789012345678901234567890",
        "1234567890123456789012345678901234567891",
        "-1e-308",
        "1e308",
    ])
    .prop_map(|token| Json::Number(Decimal::from_token(token)))
}

/// A key of an object, never a number, so that numbers in JSON Pointers are indexes.
pub(in crate::domain) fn key() -> impl Strategy<Value = SmolStr> + Clone {
    proptest::sample::select(vec!["a", "b", "c", "~/", "id"]).prop_map(SmolStr::from)
}

/// A key that fits a pattern.
pub(in crate::domain) fn name(pattern: &'static str) -> impl Strategy<Value = SmolStr> {
    pattern.prop_map(SmolStr::from)
}

/// An id of an element: the number 1 and the text "1" are two.
pub(in crate::domain) fn id() -> impl Strategy<Value = Json> {
    proptest::sample::select(vec!["1", "2", "3", "\"1\"", "\"x\"", "\"y\""]).prop_map(json)
}

/// Any value: leaves, objects, lists of objects with ids, other lists.
pub(in crate::domain) fn tree() -> impl Strategy<Value = Json> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        let members = proptest::collection::btree_map(key(), inner.clone(), 0..4);
        prop_oneof![
            3 => members.clone().prop_map(Json::Object),
            3 => proptest::collection::vec((id(), members), 0..5).prop_map(id_list),
            1 => proptest::collection::vec(inner, 0..4).prop_map(Json::Array),
        ]
    })
}

/// A list of objects with these ids; of elements with one id only the first is in it.
pub(in crate::domain) fn id_list(elements: Vec<(Json, Members)>) -> Json {
    let mut list: Vec<Json> = Vec::new();
    for (id, mut members) in elements {
        members.insert("id".into(), id.clone());
        if !list.iter().any(|element| id_of(element) == Some(&id)) {
            list.push(Json::Object(members));
        }
    }
    Json::Array(list)
}

/// The `id` of an object.
pub(in crate::domain) fn id_of(element: &Json) -> Option<&Json> {
    match element {
        Json::Object(members) => members.get("id"),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => None,
    }
}
