//! JSON Schemas of entity types: what the data of a type must look like.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::json::{Json, Violation};
use nodes::Documents;

mod nodes;

/// Problems that are told of one document.
const VIOLATIONS_MAX: usize = 20;

/// Bytes of all their places together, unless the first alone is longer: a place is made of keys, and
/// a device may send long ones.
const PATHS_BYTES_MAX: usize = 4096;

/// Longest description, in characters: it may list what a schema allows.
const DESCRIPTION_CHARS_MAX: usize = 300;

/// A JSON Schema, ready to check documents. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Validator<Documents>>);

/// What is wrong with a schema itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblem {
    /// JSON Pointer into the schema.
    pub pointer: String,
    /// What was expected there.
    pub expected: String,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// A schema of the draft it names, or else of 2020-12. Patterns match in linear time, so no data
    /// can make them slow; look-around and back-references are refused for it. Formats are checked.
    /// References lead to places in the schema itself.
    ///
    /// # Errors
    ///
    /// The first problem of the schema.
    pub fn new(schema: &Value) -> Result<Self, SchemaProblem> {
        jsonschema::options_for::<Documents>()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(|error| schema_problem(&error))
    }

    /// What is wrong with a document: nothing, or up to 20 places with what was expected there, always
    /// the same ones in the same order. Numbers are compared as whole numbers of 64 bits or else as
    /// doubles; what is stored stays exact.
    pub fn violations(&self, document: &Json) -> Vec<Violation> {
        // Almost all are fine, and nothing is gathered for those.
        if self.0.is_valid(document) {
            return Vec::new();
        }
        let mut paths_bytes = 0;
        self.0
            .iter_errors(document)
            .take(VIOLATIONS_MAX)
            .map(|error| violation(&error))
            .enumerate()
            .take_while(|(i, violation)| {
                paths_bytes += violation.path.len();
                *i == 0 || paths_bytes <= PATHS_BYTES_MAX
            })
            .map(|(_, violation)| violation)
            .collect()
    }
}

fn violation(error: &ValidationError<'_>) -> Violation {
    Violation {
        path: error.instance_path().as_str().to_owned(),
        description: format!("expected {}", cut(expected(error))),
    }
}

fn schema_problem(error: &ValidationError<'_>) -> SchemaProblem {
    // A pattern is only looked at after the schema as a whole has been found to be one.
    let is_pattern =
        matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex");
    let pointer = match error.instance_path().as_str() {
        "" => error.schema_path(),
        _ => error.instance_path(),
    };
    SchemaProblem {
        pointer: pointer.as_str().to_owned(),
        expected: match is_pattern {
            true => "a regular expression without look-around and back-references".to_owned(),
            false => cut(expected(error)),
        },
    }
}

fn cut(mut description: String) -> String {
    if let Some((end, _)) = description.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        description.truncate(end);
        description.push('…');
    }
    description
}

/// What a schema expects where it was not fulfilled. Only words of the schema, nothing of the data.
fn expected(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Type {
            kind: TypeKind::Single(json_type),
        } => named(*json_type).to_owned(),
        Kind::Type {
            kind: TypeKind::Multiple(types),
        } => either(types.iter().map(|json_type| named(json_type).to_owned())),
        Kind::Enum { options } => match options.as_array() {
            Some(options) => either(options.iter().map(Value::to_string)),
            None => options.to_string(),
        },
        Kind::Constant { expected_value } => expected_value.to_string(),
        Kind::Minimum { limit } => format!("at least {}", limit),
        Kind::Maximum { limit } => format!("at most {}", limit),
        Kind::ExclusiveMinimum { limit } => format!("more than {}", limit),
        Kind::ExclusiveMaximum { limit } => format!("less than {}", limit),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::Pattern { pattern } => format!("text that matches {}", pattern),
        Kind::Format { format } => format!("text of the format {}", format),
        Kind::MinItems { limit } => format!("at least {limit} elements"),
        Kind::MaxItems { limit } => format!("at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("at most {limit} elements"),
        Kind::UniqueItems => "each element once".to_owned(),
        Kind::Contains => "an element that the schema asks for".to_owned(),
        Kind::UnevaluatedItems { .. } => "no other elements than the schema describes".to_owned(),
        Kind::MinProperties { limit } => format!("at least {limit} keys"),
        Kind::MaxProperties { limit } => format!("at most {limit} keys"),
        Kind::Required { property } => format!("the key {}", property),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "no other keys than the schema describes".to_owned()
        }
        Kind::PropertyNames { error } => format!("keys that fit: {}", expected(error)),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(error, context),
        Kind::OneOfMultipleValid { .. } => "exactly one of the schema's alternatives".to_owned(),
        Kind::Not { .. } | Kind::FalseSchema => "nothing that the schema rules out".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("text in {}", content_encoding),
        Kind::ContentMediaType { content_media_type } => {
            format!("text that is {content_media_type}")
        }
        Kind::FromUtf8 { .. } => "encoded UTF-8".to_owned(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "text whose pattern can be checked".to_owned()
        }
        Kind::Custom { message, .. } => message.clone(),
        Kind::Referencing(_) => "references that stay within the schema".to_owned(),
    }
}

/// What would fit each alternative, as far as they ask for something at this very place.
fn alternatives(error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> String {
    let here = error.instance_path().as_str();
    let first = context.iter().map(|errors| errors.first());
    let first: Option<Vec<_>> = first
        .map(|first| first.filter(|first| first.instance_path().as_str() == here))
        .collect();
    match first {
        Some(first) if !first.is_empty() => either(first.into_iter().map(expected)),
        _ => "what one of the schema's alternatives describes".to_owned(),
    }
}

fn named(json_type: JsonType) -> &'static str {
    match json_type {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    }
}

/// `a, b or c`.
pub(super) fn either(choices: impl Iterator<Item = String>) -> String {
    let choices: Vec<String> = choices.collect();
    match choices.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        all => all.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn violations(schema: Value, document: &Value) -> Vec<(String, String)> {
        let schema = Schema::new(&schema).expect("a schema");
        let document = Json::from_device(document.to_string().as_bytes()).expect("a document");
        let found = schema.violations(&document);
        found.into_iter().map(|v| (v.path, v.description)).collect()
    }

    /// What a value is under a schema: its place, and what was expected of it.
    #[test]
    fn what_a_schema_expects_is_told_without_what_was_sent() {
        for (schema, value, place, expected) in [
            (json!({"type": "string"}), json!(7), "", "text"),
            (
                json!({"type": ["integer", "null"]}),
                json!(7.5),
                "",
                "null or a whole number",
            ),
            (
                json!({"enum": ["oneADay", null, 2]}),
                json!("hunter2"),
                "",
                "\"oneADay\", null or 2",
            ),
            (json!({"const": "v1"}), json!("hunter2"), "", "\"v1\""),
            (json!({"minimum": 0}), json!(-0.5), "", "at least 0"),
            (json!({"maximum": 10}), json!(10.1), "", "at most 10"),
            (json!({"exclusiveMinimum": 0}), json!(0), "", "more than 0"),
            (json!({"exclusiveMaximum": 1}), json!(1), "", "less than 1"),
            (
                json!({"multipleOf": 0.25}),
                json!(0.3),
                "",
                "a multiple of 0.25",
            ),
            (
                json!({"minLength": 3}),
                json!("é!"),
                "",
                "at least 3 characters",
            ),
            (
                json!({"maxLength": 1}),
                json!("hunter2"),
                "",
                "at most 1 characters",
            ),
            (
                json!({"pattern": "^[a-z]+$"}),
                json!("hunter2"),
                "",
                "text that matches ^[a-z]+$",
            ),
            (
                json!({"format": "date"}),
                json!("hunter2"),
                "",
                "text of the format date",
            ),
            (
                json!({"minItems": 2}),
                json!([1]),
                "",
                "at least 2 elements",
            ),
            (json!({"maxItems": 0}), json!([1]), "", "at most 0 elements"),
            (
                json!({"uniqueItems": true}),
                json!([1, 1.0]),
                "",
                "each element once",
            ),
            (
                json!({"contains": {"const": 1}}),
                json!([2]),
                "",
                "an element that the schema asks for",
            ),
            (
                json!({"items": {"type": "null"}}),
                json!([null, 1]),
                "/1",
                "null",
            ),
            (
                json!({"required": ["reps"]}),
                json!({}),
                "",
                "the key \"reps\"",
            ),
            (
                json!({"minProperties": 1}),
                json!({}),
                "",
                "at least 1 keys",
            ),
            (
                json!({"maxProperties": 0}),
                json!({"hunter2": 1}),
                "",
                "at most 0 keys",
            ),
            (
                json!({"properties": {"a": {}}, "additionalProperties": false}),
                json!({"hunter2": 1}),
                "",
                "no other keys than the schema describes",
            ),
            (
                json!({"propertyNames": {"maxLength": 2}}),
                json!({"hunter2": 1}),
                "",
                "keys that fit: at most 2 characters",
            ),
            (
                json!({"properties": {"a/b": {"type": "boolean"}}}),
                json!({"a/b": 1}),
                "/a~1b",
                "true or false",
            ),
            (
                json!({"anyOf": [{"type": "null"}, {"enum": ["kg", "lb"]}]}),
                json!("hunter2"),
                "",
                "null or \"kg\" or \"lb\"",
            ),
            (
                json!({"oneOf": [{"type": "array"}, {"properties": {"x": {"type": "null"}}}]}),
                json!({"x": "hunter2"}),
                "",
                "what one of the schema's alternatives describes",
            ),
            (
                json!({"not": {"type": "string"}}),
                json!("hunter2"),
                "",
                "nothing that the schema rules out",
            ),
            (
                json!(false),
                json!("hunter2"),
                "",
                "nothing that the schema rules out",
            ),
        ] {
            let at = json!({"properties": {"at": schema}});
            let found = violations(at, &json!({"at": value}));
            let wanted = (format!("/at{place}"), format!("expected {expected}"));
            assert_eq!(found, [wanted]);
        }
    }

    #[test]
    fn numbers_are_compared_by_value_also_beyond_64_bits_and_doubles() {
        let number =
            json!({"properties": {"n": {"type": "integer", "minimum": 100, "maximum": 1e300}}});
        let schema = Schema::new(&number).expect("a schema");
        for (text, fine) in [
            ("100", true),
            ("1e2", true),
            ("100.0", true),
            ("99.999", false),
            ("9223372036854775807", true),
            ("18446744073709551616", true),
            ("1e299", true),
            ("1e301", false),
            ("99e308", false),
            ("-99e308", false),
            ("1e-308", false),
        ] {
            let document = Json::from_device(format!("{{\"n\":{text}}}").as_bytes());
            let found = schema.violations(&document.expect("a document"));
            assert_eq!(found.is_empty(), fine, "{text}: {found:?}");
        }
    }

    #[test]
    fn problems_are_bounded_and_come_in_the_same_order() {
        let schema = || json!({"additionalProperties": {"additionalProperties": {"type": "null"}}});
        let members = |length: usize| {
            let key = |n| format!("{n:0>length$}");
            json!({"a": Map::from_iter((0..100).map(|n| (key(n), json!(n))))})
        };
        let many = violations(schema(), &members(2));
        let places: Vec<&str> = many.iter().map(|(place, _)| place.as_str()).collect();
        let expected: Vec<String> = (0..20).map(|n| format!("/a/{n:02}")).collect();
        assert_eq!(places, expected);
        assert_eq!(
            violations(schema(), &members(1000)).len(),
            4,
            "4 KiB of places"
        );
        assert_eq!(
            violations(schema(), &members(9000)).len(),
            1,
            "always the first"
        );
        let long = json!({"properties": {"a": {"enum": ["kg".repeat(1000)]}}});
        let found = violations(long, &json!({"a": 1}));
        assert!(found[0].1.chars().count() < 320, "{found:?}");
    }

    /// A device's text cannot make a pattern slow: with a backtracking engine this never ends.
    #[test]
    fn patterns_match_in_linear_time() {
        let schema = json!({"properties": {"a": {"pattern": "^(a|a)*(a|a)*b?$|^((a+)+)+$"}}});
        let text = format!("{}!", "a".repeat(10_000));
        assert_eq!(violations(schema, &json!({"a": text})).len(), 1);
        let look_around = json!({"pattern": "^(?!a)"});
        let refused = Schema::new(&look_around).expect_err("look-around");
        assert_eq!(refused.pointer, "/pattern");
    }

    #[test]
    fn a_schema_that_leads_to_itself_comes_to_an_end() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"properties": {"a": {"$ref": "#"}}, "type": "object"}),
        ] {
            assert_eq!(violations(schema, &json!({"a": {"a": {}}})), []);
        }
    }

    #[test]
    fn references_stay_within_the_schema() {
        let within =
            json!({"$defs": {"a": {"type": "null"}}, "properties": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(violations(within, &json!({"a": 1})).len(), 1);
        for elsewhere in [
            "https://example.com/a.json",
            "file:///etc/passwd",
            "a.json",
            "#/$defs/b",
        ] {
            let refused = Schema::new(&json!({"$ref": elsewhere})).expect_err(elsewhere);
            assert_eq!(refused.expected, "references that stay within the schema");
        }
    }
}
