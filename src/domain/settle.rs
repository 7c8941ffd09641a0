//! Rule 9: what a policy makes of the two sides of a true conflict.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock::Millis;
use super::entity::{Content, Document, Stored};
use super::item::Item;
use super::json::Json;
use super::merge::{Later, Merge, Side, latest_per_key, maximum, three_way};
use super::policy::{OnOverlap, Policy};

/// What a policy makes of a conflict.
#[derive(Debug, Clone)]
pub enum Ruling {
    /// The item as sent.
    Client,
    /// The server's copy as it is.
    Server,
    /// Something of both.
    Merged(Arc<Document>),
    /// Something of both, which the server holds already.
    AlreadyMerged,
    /// Nothing: it is for the person.
    Person,
}

/// What an app may show a person beside the two sides of a conflict.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// A merge of both sides.
    pub document: Arc<Document>,
    /// JSON Pointers of the places both sides changed, at most 100.
    pub overlaps: Vec<String>,
}

/// What a put is merged against.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// What the entity held at the item's base version, if that is still known.
    Base(Option<&'a Json>),
    /// What the same device sent before it, on the same base: the stored version is the merge of that, so
    /// only what has changed since is new (promise 5).
    OwnEdit(&'a Json),
}

/// Settles a put that met other content, by the policy of its type.
pub fn settle(
    policy: &Policy,
    against: Against<'_>,
    stored: &Stored,
    item: &Item,
    sent: &Arc<Document>,
) -> Ruling {
    let (base, own, later) = match against {
        Against::Base(base) => (base, None, later(item.edit_time, stored.edit_time)),
        // Of two equally late edits of one device the one sent later is the later.
        Against::OwnEdit(own) if item.edit_time >= stored.edit_time => {
            (Some(own), Some(own), Later::Client)
        }
        Against::OwnEdit(own) => (Some(own), Some(own), Later::Server),
    };
    let (Some(client), Some(server)) = (sent.json(), content_json(&stored.content)) else {
        // Something this reader refuses can be compared with nothing.
        return Ruling::Person;
    };
    match policy {
        Policy::Ask => Ruling::Person,
        Policy::ServerAuthoritative => Ruling::Server,
        Policy::LastWriteWins => match later {
            Later::Client => Ruling::Client,
            Later::Server => Ruling::Server,
        },
        Policy::MergeFields { on_overlap } => match (base, on_overlap) {
            (Some(base), _) => {
                let Merge { value, overlaps } = three_way(base, client, server, later);
                match on_overlap {
                    OnOverlap::Ask if !overlaps.is_empty() => Ruling::Person,
                    OnOverlap::Ask | OnOverlap::Latest => merged(value, client, server),
                }
            }
            (None, OnOverlap::Ask) => Ruling::Person,
            (None, OnOverlap::Latest) => match later {
                Later::Client => Ruling::Client,
                Later::Server => Ruling::AlreadyMerged,
            },
        },
        Policy::MergeMax => merged(maximum(own, client, server, later), client, server),
        Policy::LatestPerKey { key } => {
            let edit_time = match later {
                Later::Client => item.edit_time.max(Millis(stored.edit_time.0 + 1)),
                Later::Server => item.edit_time,
            };
            let client_side = Side {
                value: client,
                edit_time,
                clock_offset_ms: item.clock_offset_ms,
            };
            let server_side = Side {
                value: server,
                edit_time: stored.edit_time,
                clock_offset_ms: stored.clock_offset_ms,
            };
            let value = latest_per_key(key, base, client_side, server_side);
            merged(value, client, server)
        }
    }
}

/// A merge a person may be offered; `None` if a side is deleted. Without a base, whatever both sides
/// hold differently overlaps.
pub fn propose(
    base: Option<&Content>,
    client: &Document,
    server: &Content,
    later: Later,
) -> Option<Proposal> {
    let nothing = Json::Object(BTreeMap::new());
    let base = base.and_then(content_json).unwrap_or(&nothing);
    let merge = three_way(base, client.json()?, content_json(server)?, later);
    Some(Proposal {
        document: Arc::new(Document::from_json(merge.value)),
        overlaps: merge.overlaps,
    })
}

/// Which of two edits is the later. Clocks break ties, nothing more (promise 9); of two equal ones the
/// server's counts as the later.
pub fn later(client: Millis, server: Millis) -> Later {
    if client > server {
        Later::Client
    } else {
        Later::Server
    }
}

fn merged(value: Json, client: &Json, server: &Json) -> Ruling {
    if value == *client {
        Ruling::Client
    } else if value == *server {
        Ruling::AlreadyMerged
    } else {
        Ruling::Merged(Arc::new(Document::from_json(value)))
    }
}

/// What a version held, as JSON; `None` if it held nothing, or that is not known.
pub fn content_json(content: &Content) -> Option<&Json> {
    match content {
        Content::Live(document) => document.json(),
        Content::NotLoaded | Content::Withheld | Content::Tombstone => None,
    }
}
