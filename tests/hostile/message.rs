//! Messages written as JSON, by the names of their fields, as protobuf.

use std::sync::OnceLock;

use ironflow_sync::grpc::proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};

use super::value::{Names, bytes};

const VARINT: u32 = 0;
const DELIMITED: u32 = 2;

/// The bytes of a message. Texts and bytes are recipes, enums their numbers; a repeated field may be
/// `{"times": 3, "each": ..}`, with the name `index` in it.
pub fn encode(name: &str, message: &Value, names: &Names) -> Vec<u8> {
    let fields = message
        .as_object()
        .unwrap_or_else(|| panic!("no message: {message}"));
    let mut encoded = Vec::new();
    for (field_name, value) in fields {
        let field = descriptor(name)
            .field
            .iter()
            .find(|field| field.name() == field_name);
        let field = field.unwrap_or_else(|| panic!("{name} has no {field_name}"));
        if field.label() != Label::Repeated {
            put(&mut encoded, field, value, names);
            continue;
        }
        let each = &value["each"];
        match value.as_array() {
            Some(values) => values
                .iter()
                .for_each(|value| put(&mut encoded, field, value, names)),
            None => (0..value["times"].as_i64().expect("times")).for_each(|index| {
                put(
                    &mut encoded,
                    field,
                    each,
                    &names.with("index", index.to_string()),
                );
            }),
        }
    }
    encoded
}

fn put(encoded: &mut Vec<u8>, field: &FieldDescriptorProto, value: &Value, names: &Names) {
    let number = field.number() as u32;
    let number_or_bool = || value.as_i64().or_else(|| value.as_bool().map(i64::from));
    let delimited = match field.r#type() {
        Type::String | Type::Bytes => bytes(value, names),
        Type::Message => {
            let name = field.type_name().rsplit('.').next().expect("a name");
            encode(name, value, names)
        }
        _ => {
            let value = number_or_bool().unwrap_or_else(|| panic!("no number: {value}"));
            varint(encoded, (number << 3 | VARINT).into());
            return varint(encoded, value as u64);
        }
    };
    varint(encoded, (number << 3 | DELIMITED).into());
    varint(encoded, delimited.len() as u64);
    encoded.extend_from_slice(&delimited);
}

fn varint(encoded: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        encoded.push(value as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
}

fn descriptor(name: &str) -> &'static DescriptorProto {
    static FILES: OnceLock<FileDescriptorSet> = OnceLock::new();
    let files = FILES.get_or_init(|| FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors"));
    let mut messages = files.file.iter().flat_map(|file| &file.message_type);
    let found = messages.find(|message| message.name() == name);
    found.unwrap_or_else(|| panic!("no message is called {name}"))
}

/// A push of these items: each a good one, but for the fields it names.
pub fn push(request: Option<&Value>, items: &Value) -> Value {
    let good = |changes: &Value| {
        let mut item = json!({
            "entity_type": "workout",
            "entity_id": {"name": "uuid"},
            "operation": "update",
            "data": "{}",
            "mutation_id": {"name": "uuid"},
        });
        merge(&mut item, changes);
        item
    };
    let items = match items.as_array() {
        Some(items) => Value::Array(items.iter().map(good).collect()),
        None => json!({"times": items["times"], "each": good(&items["each"])}),
    };
    let mut message = json!({"device_id": "phone", "items": items});
    merge(&mut message, request.unwrap_or(&json!({})));
    message
}

fn merge(into: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().expect("fields") {
        into[name] = value.clone();
    }
}
