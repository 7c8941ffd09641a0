//! One entry of the corpus: a request, and the answer the protocol defines for it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A hostile request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is hostile about it. Unique.
    pub name: String,
    /// The method.
    #[serde(default = "sync")]
    pub rpc: String,
    /// One item: changes to a good one.
    pub item: Option<Value>,
    /// Items: changes to good ones.
    pub items: Option<Value>,
    /// Fields of the request beside `items`.
    pub request: Option<Value>,
    /// The message, by its fields.
    pub message: Option<Value>,
    /// The message, as bytes.
    pub bytes: Option<Value>,
    /// What stands in the stream, the frame of the message included.
    pub body: Option<Value>,
    /// Headers that replace or join the usual ones; one that is null is left out.
    #[serde(default)]
    pub headers: Vec<(String, Value)>,
    /// Another path than the method's.
    pub path: Option<String>,
    /// Another HTTP method than POST.
    pub method: Option<String>,
    /// How it travels.
    #[serde(default)]
    pub via: Via,
    /// Whether the user has data, see `stage`.
    #[serde(default)]
    pub prepared: bool,
    /// The answer.
    pub answer: Defined,
}

fn sync() -> String {
    "Sync".to_owned()
}

/// How a request travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// gRPC over HTTP/2.
    #[default]
    Http2,
    /// gRPC-Web over HTTP/1.1.
    Web,
    /// gRPC-Web in base64.
    WebText,
    /// `body` is all that is sent, HTTP or not.
    Tcp,
}

/// What the answer must be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defined {
    /// The gRPC status code, by its name.
    pub code: Option<String>,
    /// The HTTP status, where the call does not reach gRPC.
    pub http: Option<u16>,
    /// Whether the connection ends, with or without a word of HTTP.
    #[serde(default)]
    pub closed: bool,
    /// The reason of the ErrorInfo; every failed call of the service has one.
    pub reason: Option<String>,
    /// Whether the answer comes from in front of the service, without an ErrorInfo.
    #[serde(default)]
    pub plain: bool,
    /// The fields of the BadRequest, in order.
    #[serde(default)]
    pub fields: Vec<String>,
    /// What the text of the answer holds.
    pub says: Option<String>,
    /// The answer to the only item, or to each.
    pub each: Option<ItemAnswer>,
    /// The answers to the items.
    pub results: Option<Vec<ItemAnswer>>,
    /// How many answers to items there are.
    pub count: Option<usize>,
    /// How many entries a listing has.
    pub lists: Option<usize>,
    /// The status of a decision (`ResolveStatus`).
    pub status: Option<String>,
    /// Whether an old version was brought back.
    pub restored: Option<bool>,
}

/// What the answer to an item must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemAnswer {
    /// The resolution, by its name.
    pub is: Option<String>,
    /// The version.
    pub version: Option<i32>,
    /// The error code, by its name.
    pub error: Option<String>,
    /// The field the message of the error begins with.
    pub field: Option<String>,
    /// The JSON Pointer of the only violation.
    pub path: Option<String>,
    /// What the message of the error holds.
    pub says: Option<String>,
}

/// All of the corpus: a JSON object on each line of each file, `#` for remarks.
pub fn corpus() -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hostile");
    let mut entries = Vec::new();
    for file in fs::read_dir(folder).expect("the corpus") {
        let path = file.expect("a file").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = serde_json::from_str(line);
            entries.push(
                entry.unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), number + 1)),
            );
        }
    }
    entries
}
