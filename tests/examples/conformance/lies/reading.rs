//! Lies about pages and watches.

use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{CaughtUp, WatchResponse};
use serde_json::Value;

use super::{HONEST, Lie};
use crate::examples::conformance::liar::Ways;

/// As many JSON libraries write it that know doubles only.
fn through_doubles(data: &mut Vec<u8>) {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) => *value = Value::from(number.as_f64()),
            Value::Array(values) => values.iter_mut().for_each(round),
            Value::Object(fields) => fields.values_mut().for_each(round),
            Value::Null | Value::Bool(_) | Value::String(_) => (),
        }
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(data) {
        round(&mut value);
        *data = value.to_string().into_bytes();
    }
}

pub const LIES: &[Lie] = &[
    Lie {
        name: "data goes through doubles",
        breaks: &["holds every digit and letter"],
        ways: Ways {
            pulled: |_, page| {
                for entity in &mut page.entities {
                    through_doubles(&mut entity.data);
                }
            },
            ..HONEST
        },
    },
    Lie {
        name: "tombstones are left out of pages",
        breaks: &[
            "after a cursor: tombstones too",
            "an old cursor leads to a deletion",
            "delete of the current version: APPLIED",
        ],
        ways: Ways {
            pulled: |_, page| page.entities.retain(|entity| !entity.deleted),
            ..HONEST
        },
    },
    Lie {
        name: "the cursor is ignored",
        breaks: &[
            "after a cursor: tombstones too",
            "a cursor can be used again",
            "a cursor that is none",
            "a cursor is bound to the types",
        ],
        ways: Ways {
            pull: |page| page.cursor.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "the types are ignored",
        breaks: &[
            "only the types that are asked for",
            "a cursor is bound to the types",
        ],
        ways: Ways {
            pull: |page| page.entity_types.clear(),
            ..HONEST
        },
    },
    Lie {
        name: "one's own edits come after a cursor",
        breaks: &[
            "after a cursor: not one's own edits",
            "a watch leaves out one's own edits",
        ],
        ways: Ways {
            pull: |page| page.include_own = true,
            watch: |page| page.include_own = true,
            ..HONEST
        },
    },
    Lie {
        name: "page_size is ignored",
        breaks: &[
            "a page has at most page_size entities",
            "page_size 0 and one beyond",
        ],
        ways: Ways {
            pull: |page| page.page_size = 0,
            ..HONEST
        },
    },
    Lie {
        name: "has_more is forgotten",
        breaks: &[
            "a page has at most page_size entities",
            "a page ends at about 1 MiB",
        ],
        ways: Ways {
            pulled: |_, page| page.has_more = false,
            ..HONEST
        },
    },
    Lie {
        name: "the last entity of a page is lost",
        breaks: &[
            "no change is missed by pages",
            "a page has at most page_size entities",
            "a page is in the order of changes",
        ],
        ways: Ways {
            pulled: |_, page| drop(page.entities.pop()),
            ..HONEST
        },
    },
    Lie {
        name: "pages are in another order",
        breaks: &["a page is in the order of changes"],
        ways: Ways {
            pulled: |_, page| page.entities.reverse(),
            ..HONEST
        },
    },
    Lie {
        name: "an export leaves out one's own",
        breaks: &["an export has all types"],
        ways: Ways {
            pull: |page| page.export = false,
            ..HONEST
        },
    },
    Lie {
        name: "CaughtUp comes again and again",
        breaks: &["a watch says CaughtUp once"],
        ways: Ways {
            watched: |event| {
                let again = match &event.event {
                    Some(Event::Changes(changes)) => Event::CaughtUp(CaughtUp {
                        cursor: changes.cursor.clone(),
                    }),
                    _ => return vec![event],
                };
                vec![event, WatchResponse { event: Some(again) }]
            },
            ..HONEST
        },
    },
    Lie {
        name: "a watch sends changes twice",
        breaks: &["no change is missed or doubled"],
        ways: Ways {
            watched: |event| match event.event {
                Some(Event::Changes(_)) => vec![event.clone(), event],
                _ => vec![event],
            },
            ..HONEST
        },
    },
    Lie {
        name: "a watch leaves out deletions",
        breaks: &["a watch sends tombstones"],
        ways: Ways {
            watched: |mut event| {
                if let Some(Event::Changes(changes)) = &mut event.event {
                    changes.entities.retain(|entity| !entity.deleted);
                }
                vec![event]
            },
            ..HONEST
        },
    },
    Lie {
        name: "a watch does not tell of conflicts",
        breaks: &["a watch tells of conflicts"],
        ways: Ways {
            watched: |event| match event.event {
                Some(Event::Conflict(_)) => Vec::new(),
                _ => vec![event],
            },
            ..HONEST
        },
    },
    Lie {
        name: "edit times lie in the future",
        breaks: &["no edit time is later than its arrival"],
        ways: Ways {
            pulled: |_, page| {
                for entity in &mut page.entities {
                    entity.edit_time += 3_600_000;
                }
            },
            ..HONEST
        },
    },
];
