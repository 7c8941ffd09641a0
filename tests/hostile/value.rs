//! Bytes as the corpus writes them: text, or a small recipe, so that its files stay small and can be read.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use uuid::Uuid;

use super::message;

/// What recipes refer to by name.
#[derive(Clone, Default)]
pub struct Names(pub BTreeMap<String, Vec<u8>>);

impl Names {
    /// Adds a name.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The same names and one more.
    pub fn with(&self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        let mut names = self.clone();
        names.set(name, value);
        names
    }
}

/// The bytes of a recipe.
///
/// - `"text"`: itself, in UTF-8
/// - `{"hex": "00ff"}`
/// - `{"repeat": [recipe, times]}`, `{"join": [recipe, ..]}`, `{"numbered": ["k", 3, ","]}` = `k0,k1,k2,`
/// - `{"cut": [recipe, bytes]}`: only the first; `{"flip": [recipe, byte]}`: its lowest bit, from the end if
///   negative
/// - `{"base64": recipe}`
/// - `{"frame": [flag, recipe]}`: as gRPC sends a message; `{"message": ["PullRequest", {..}]}`
/// - `{"name": "own_cursor"}`: see `stage`; `uuid` is another one each time
pub fn bytes(recipe: &Value, names: &Names) -> Vec<u8> {
    let Value::Object(recipe) = recipe else {
        let text = recipe.as_str();
        return text.unwrap_or_else(|| panic!("no recipe: {recipe}")).into();
    };
    let (kind, value) = recipe.iter().next().expect("a recipe");
    let of = |at: usize| bytes(&value[at], names);
    let number = |at: usize| {
        value[at]
            .as_i64()
            .unwrap_or_else(|| panic!("{kind}: {value}"))
    };
    match kind.as_str() {
        "hex" => hex(value.as_str().expect("digits")),
        "repeat" => of(0).repeat(number(1) as usize),
        "join" => {
            let parts = value.as_array().expect("parts").iter();
            parts.flat_map(|part| bytes(part, names)).collect()
        }
        "numbered" => (0..number(1))
            .flat_map(|i| [of(0), i.to_string().into_bytes(), of(2)].concat())
            .collect(),
        "cut" => of(0)[..number(1) as usize].to_vec(),
        "flip" => {
            let mut changed = of(0);
            let at = number(1).rem_euclid(changed.len() as i64) as usize;
            changed[at] ^= 1;
            changed
        }
        "base64" => STANDARD.encode(bytes(value, names)).into_bytes(),
        "frame" => {
            let message = of(1);
            let length = u32::try_from(message.len()).expect("fits").to_be_bytes();
            [&[number(0) as u8][..], &length, &message].concat()
        }
        "message" => message::encode(value[0].as_str().expect("a name"), &value[1], names),
        "name" => match value.as_str().expect("a name") {
            "uuid" => Uuid::new_v4().to_string().into_bytes(),
            name => names
                .0
                .get(name)
                .unwrap_or_else(|| panic!("no {name}"))
                .clone(),
        },
        other => panic!("no recipe is called {other}"),
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    let bytes = digits.chunks_exact(2);
    bytes.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
