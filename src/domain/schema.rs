//! JSON Schemas of entity types: what the data of a type must look like.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Number, Value};

use super::json::{Json, Violation};
use super::number::Decimal;

/// Problems that are told of one document.
const VIOLATIONS_MAX: usize = 20;

/// Bytes of all their places together, unless the first alone is longer: a place is made of keys, and
/// a device may send long ones.
const PATHS_BYTES_MAX: usize = 4096;

/// Longest description, in characters: it may list what a schema allows.
const DESCRIPTION_CHARS_MAX: usize = 300;

/// A JSON Schema, ready to check documents. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Validator>);

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
    /// What was expected of the schema, and where in it.
    pub fn new(schema: &Value) -> Result<Self, Violation> {
        jsonschema::options()
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
        let mut paths_bytes = 0;
        self.0
            .iter_errors(&value(document))
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

/// A document as the validator reads it.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number_value(number),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(elements) => Value::Array(elements.iter().map(value).collect()),
        Json::Object(members) => {
            let members = members
                .iter()
                .map(|(key, member)| (key.clone(), value(member)));
            Value::Object(Map::from_iter(members))
        }
    }
}

fn number_value(number: &Decimal) -> Value {
    let text = number.to_string();
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    // The protocol's numbers go beyond a double's, by a few powers of ten.
    let nearest = text.parse::<f64>().unwrap_or_default();
    let nearest = nearest.clamp(f64::MIN, f64::MAX);
    Number::from_f64(nearest).map_or(Value::Null, Value::Number)
}

fn violation(error: &ValidationError<'_>) -> Violation {
    let mut description = format!("expected {}", expected(error));
    if let Some((end, _)) = description.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        description.truncate(end);
        description.push('…');
    }
    Violation {
        path: error.instance_path().as_str().to_owned(),
        description,
    }
}

/// What is wrong with a schema itself.
fn schema_problem(error: &ValidationError<'_>) -> Violation {
    let found = violation(error);
    // A pattern is only looked at after the schema as a whole has been found to be one.
    let is_pattern =
        matches!(error.kind(), ValidationErrorKind::Format { format } if format == "regex");
    Violation {
        path: match found.path.as_str() {
            "" => error.schema_path().as_str().to_owned(),
            _ => found.path,
        },
        description: match is_pattern {
            true => {
                "expected a regular expression without look-around and back-references".to_owned()
            }
            false => found.description,
        },
    }
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
        Kind::Referencing(problem) => format!("references within the schema: {problem}"),
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
