//! Our tree of a document as the validator walks it: no second tree is made, unless something is wrong with it.

use std::borrow::Cow;
use std::collections::btree_map;
use std::slice;

use jsonschema::JsonType;
use jsonschema::json::{self, Array, Node, NodeIdentity, Object};
use serde_json::{Map, Number, Value};
use smol_str::SmolStr;

use crate::domain::json::{Json, Members};
use crate::domain::number::Decimal;

/// Documents in the form of [`Json`].
pub(super) struct Documents;

impl json::Json for Documents {
    type Node<'a> = &'a Json;
    type PreparedKey = String;
    type StringBuffer = Option<Json>;

    /// A lookup compares some keys of a small map, a pass all of them.
    const KEYS_PER_LOOKUP: usize = 2;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Option<Json>,
        string: &str,
        f: impl FnOnce(&Json) -> T,
    ) -> T {
        f(buffer.insert(Json::String(string.into())))
    }
}

impl<'a> Node<'a, Documents> for &'a Json {
    type Object = &'a Members;
    type Array = &'a [Json];
    type Number = Number;

    fn as_object(&self) -> Option<&'a Members> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&'a [Json]> {
        match self {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Json::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<Number> {
        match self {
            Json::Number(number) => Some(checked(number)),
            _ => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Json::Number(_))
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Json::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Json::Null => JsonType::Null,
            Json::Bool(_) => JsonType::Boolean,
            Json::Number(_) => JsonType::Number,
            Json::String(_) => JsonType::String,
            Json::Array(_) => JsonType::Array,
            Json::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self, expected) {
            (Json::String(text), Value::String(expected)) => text == expected,
            (Json::String(_), _) => false,
            _ => json::cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(value(self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Json>(self) as usize))
    }
}

impl<'a> Object<'a, Documents> for &'a Members {
    type Node = &'a Json;
    type MemberName = &'a str;
    type MembersIter = MembersIter<'a>;

    fn len(&self) -> usize {
        (*self).len()
    }

    fn get(&self, key: &String) -> Option<&'a Json> {
        (*self).get(key.as_str())
    }

    fn members(&self) -> MembersIter<'a> {
        MembersIter(self.iter())
    }
}

impl<'a> Array<'a, Documents> for &'a [Json] {
    type Node = &'a Json;
    type ElementsIter = slice::Iter<'a, Json>;

    fn len(&self) -> usize {
        <[Json]>::len(self)
    }

    fn elements(&self) -> slice::Iter<'a, Json> {
        self.iter()
    }
}

/// The members of an object, in the order of their keys.
pub(super) struct MembersIter<'a>(btree_map::Iter<'a, SmolStr, Json>);

impl<'a> Iterator for MembersIter<'a> {
    type Item = (&'a str, &'a Json);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, member)| (key.as_str(), member))
    }
}

/// As the library's own tree: for what is told of a problem, and what is compared with something that is no string.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => Value::Number(checked(number)),
        Json::String(text) => Value::String(text.to_string()),
        Json::Array(elements) => Value::Array(elements.iter().map(value).collect()),
        Json::Object(members) => {
            let members = members
                .iter()
                .map(|(key, member)| (key.to_string(), value(member)));
            Value::Object(Map::from_iter(members))
        }
    }
}

/// A number as schemas compare it: a whole number of 64 bits, or else a double.
fn checked(number: &Decimal) -> Number {
    match number.to_i64() {
        Some(whole) => whole.into(),
        // It is one of JSON: never infinite, never no number.
        None => Number::from_f64(number.to_f64()).unwrap_or_else(|| 0.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own test of what it relies on.
    #[test]
    fn the_tree_is_one_the_validator_can_walk() {
        let text = json::conformance::document().to_string();
        let document = Json::from_device(text.as_bytes()).expect("a document");
        json::conformance::assert_conformance::<Documents>(&&document);
    }
}
