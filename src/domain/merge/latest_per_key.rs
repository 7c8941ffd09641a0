//! A map merged entry by entry, each from where it was edited later.

use std::collections::BTreeSet;

use smol_str::SmolStr;

use super::{Later, Side};
use crate::domain::clock::Millis;
use crate::domain::json::{Json, Members};
use crate::domain::moment::moment;

/// Where an entry says when it was edited.
const ENTRY_TIMES: [&str; 2] = ["updatedAt", "updated_at"];

/// Merges two documents that hold a map under `key`, a member of the document.
///
/// The map is merged entry by entry; everything else is as the later side has it, the server's if
/// both are equally late. So is the map if neither side has an object there, and the whole if a
/// side is no object itself. If only one side has the map, the other one's counts as empty.
///
/// An entry that differs goes
/// - to the side that changed it, if the base is known and the other side did not;
/// - otherwise to the side with the later entry time, the server's if equal.
///
/// An entry that only one side has is gone if that side has it from the base, unchanged: then the
/// other one removed it. Otherwise it stays: it was added, or changed, and a removal has no time
/// that could be compared.
///
/// The time of an entry is its own `updatedAt` or `updated_at` (see [`moment`]), corrected by the
/// clock offset of its side, and never later than the edit of its side: no clock wins by being in
/// the future. An entry without one is as late as the edit.
pub fn latest_per_key(key: &str, base: Option<&Json>, client: Side<'_>, server: Side<'_>) -> Json {
    let later = if client.edit_time > server.edit_time {
        Later::Client
    } else {
        Later::Server
    };
    let (Json::Object(ours), Json::Object(theirs)) = (client.value, server.value) else {
        return later.of(client.value, server.value).clone();
    };
    let mut merged = later.of(ours, theirs).clone();
    let (our_map, their_map) = (map(ours.get(key)), map(theirs.get(key)));
    if our_map.is_none() && their_map.is_none() {
        return Json::Object(merged);
    }
    let nothing = Members::new();
    let base = base.map(|base| {
        map(Some(base))
            .and_then(|members| map(members.get(key)))
            .unwrap_or(&nothing)
    });
    let entries = entries(
        base,
        (our_map.unwrap_or(&nothing), client),
        (their_map.unwrap_or(&nothing), server),
    );
    // Not even an empty map is added to what has none.
    if !entries.is_empty() || later.of(our_map, their_map).is_some() {
        merged.insert(key.into(), Json::Object(entries));
    }
    Json::Object(merged)
}

fn map(value: Option<&Json>) -> Option<&Members> {
    if let Some(Json::Object(members)) = value {
        Some(members)
    } else {
        None
    }
}

/// Merges the maps of both sides; `base` is `None` if it is not known.
fn entries(
    base: Option<&Members>,
    (ours, client): (&Members, Side<'_>),
    (theirs, server): (&Members, Side<'_>),
) -> Members {
    let names: BTreeSet<&SmolStr> = ours.keys().chain(theirs.keys()).collect();
    let mut merged = Members::new();
    for name in names {
        let before = base.and_then(|base| base.get(name));
        let entry = match (ours.get(name), theirs.get(name)) {
            (Some(our), Some(their)) if before == Some(our) => Some(their),
            (Some(our), Some(their)) if before == Some(their) => Some(our),
            (Some(our), Some(their)) => {
                let is_ours = entry_time(our, client) > entry_time(their, server);
                Some(if is_ours { our } else { their })
            }
            (Some(one), None) | (None, Some(one)) => (before != Some(one)).then_some(one),
            (None, None) => None,
        };
        if let Some(entry) = entry {
            merged.insert(name.clone(), entry.clone());
        }
    }
    merged
}

fn entry_time(entry: &Json, side: Side<'_>) -> Millis {
    let own = map(Some(entry)).and_then(|members| {
        let mut named = ENTRY_TIMES.iter().filter_map(|name| members.get(*name));
        named.find_map(moment)
    });
    match own {
        Some(Millis(own)) => side
            .edit_time
            .min(Millis(own.saturating_add(side.clock_offset_ms))),
        None => side.edit_time,
    }
}

#[cfg(test)]
mod tests;
