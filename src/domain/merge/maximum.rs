//! The larger of two, number by number.

use std::collections::BTreeMap;

use super::Later;
use crate::domain::json::Json;

/// Merges two states of something that only grows.
///
/// Objects have the keys of both and merge key by key; of two numbers the larger counts, compared
/// exactly. Everything else that differs, lists too, is as `later` has it.
pub fn maximum(client: &Json, server: &Json, later: Later) -> Json {
    if let (Json::Object(client), Json::Object(server)) = (client, server) {
        return Json::Object(objects(client, server, later));
    }
    if let (Json::Number(client), Json::Number(server)) = (client, server) {
        return Json::Number(client.max(server).clone());
    }
    later.of(client, server).clone()
}

fn objects(
    client: &BTreeMap<String, Json>,
    server: &BTreeMap<String, Json>,
    later: Later,
) -> BTreeMap<String, Json> {
    let mut merged = server.clone();
    for (key, ours) in client {
        let value = match server.get(key) {
            Some(theirs) => maximum(ours, theirs, later),
            None => ours.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

#[cfg(test)]
mod tests;
