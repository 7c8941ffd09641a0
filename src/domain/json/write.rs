//! Writes JSON, so that our own reader reads an equal value.

use super::Json;

impl Json {
    /// The value as compact JSON: no space, keys in order, numbers exact (see
    /// [`Decimal`](crate::domain::number::Decimal)). What was read from a device is written
    /// as something a device may send.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        write_value(&mut text, self);
        text
    }
}

fn write_value(text: &mut String, value: &Json) {
    match value {
        Json::Null => text.push_str("null"),
        Json::Bool(true) => text.push_str("true"),
        Json::Bool(false) => text.push_str("false"),
        Json::Number(number) => text.push_str(&number.to_string()),
        Json::String(string) => write_string(text, string),
        Json::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, element);
            }
            text.push(']');
        }
        Json::Object(members) => {
            text.push('{');
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(text, key);
                text.push(':');
                write_value(text, member);
            }
            text.push('}');
        }
    }
}

/// Escapes what JSON demands to be escaped and nothing else.
fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control @ '\0'..' ' => {
                text.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::json::testing::tree;

    #[test]
    fn values_are_written_compactly_with_keys_in_order() {
        for (read, written) in [
            ("{}", "{}"),
            (
                "{ \"b\" : [ ] , \"a\" : [ null, true , false ] }",
                r#"{"a":[null,true,false],"b":[]}"#,
            ),
            (
                r#"{"n":[1025e-1,-0,1E3,9007199254740993]}"#,
                r#"{"n":[102.5,0,1000,9007199254740993]}"#,
            ),
            (
                r#"{"s":"\u00fc\ud83c\udfcb\/\"\\\n\r\t\b\f\u001f\u007f"}"#,
                "{\"s\":\"ü\u{1f3cb}/\\\"\\\\\\n\\r\\t\\u0008\\u000c\\u001f\u{7f}\"}",
            ),
            (r#"{"a\"\u0001":{"":0}}"#, r#"{"a\"\u0001":{"":0}}"#),
        ] {
            let value = Json::from_device(read.as_bytes()).expect(read);
            assert_eq!(value.to_text(), written, "{read}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(value in tree(), key in "\\PC*|[\u{1}-\u{2f}]*") {
            let value = Json::Object([(key.into(), value)].into());
            let text = value.to_text();
            prop_assert_eq!(Json::from_device(text.as_bytes()), Ok(value.clone()));
            prop_assert_eq!(Json::from_store(&text), Ok(value));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }
}
