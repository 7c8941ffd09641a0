//! The larger of two, number by number.

use super::Later;
use crate::domain::json::{Json, Members};

/// Merges two states of something that only grows.
///
/// Objects have the keys of both and merge key by key; of two numbers the larger counts, compared
/// exactly. Everything else that differs, lists too, is as `later` has it; unless a base is given that
/// one side has not changed there: then it is as the other has it.
pub fn maximum(base: Option<&Json>, client: &Json, server: &Json, later: Later) -> Json {
    if let (Json::Object(client), Json::Object(server)) = (client, server) {
        return Json::Object(objects(base, client, server, later));
    }
    if let (Json::Number(client), Json::Number(server)) = (client, server) {
        return Json::Number(client.max(server).clone());
    }
    if base == Some(server) {
        return client.clone();
    }
    if base == Some(client) {
        return server.clone();
    }
    later.of(client, server).clone()
}

fn objects(base: Option<&Json>, client: &Members, server: &Members, later: Later) -> Members {
    let below = |key: &str| match base {
        Some(Json::Object(members)) => members.get(key),
        _ => None,
    };
    let mut merged = server.clone();
    for (key, ours) in client {
        let value = match server.get(key) {
            Some(theirs) => maximum(below(key), ours, theirs, later),
            None => ours.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

#[cfg(test)]
mod tests;
