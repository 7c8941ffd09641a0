//! Three-way merge: each place goes to the side that changed it.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::id_list::{IdList, order};
use super::{Later, Merge};
use crate::domain::json::{Json, Members, pointer_token};

/// Overlaps named at most, and their bytes together: a key may be as long as a document, and every place
/// below it begins with it.
const OVERLAPS_MAX: usize = 100;
const OVERLAPS_BYTES_MAX: usize = 16 * 1024;

/// Merges two edits of `base`: a place that only one side changed is as that side has it.
///
/// - Objects merge by key, lists whose elements are objects with an `id` (text or number, each
///   once) by that. Absence counts as a value: what one side removed and the other left alone is
///   gone. Where the base has no object or no list at all it counts as an empty one. Every other
///   list, and every leaf, is one place.
/// - A place that both sides changed, to different values, is an overlap: `later` has it.
///   Removing on one side what the other side changed is one as well.
/// - Merged lists keep their order: that of the side that moved elements of the base, that of
///   `later` if both did; what only one side has stays behind what it followed there, the earlier
///   side's first. Two different orders are no overlap: no element is lost by either.
/// - An overlap within a merged list points to the index the element has in the server's list, or
///   in the client's if the server has removed it. So two elements may share a pointer, and the
///   pointers are other ones with the sides swapped.
///
/// A side that is equal to the base gives the other side, unchanged. Merging the result again with
/// either side, by the same `later` or with the result as the later one, gives the result.
pub fn three_way(base: &Json, client: &Json, server: &Json, later: Later) -> Merge {
    let mut merger = Merger {
        later,
        pointer: String::new(),
        overlaps: BTreeSet::new(),
        overlap_bytes: 0,
    };
    let value = merger.both(Some(base), client, server);
    Merge {
        value,
        overlaps: merger.overlaps.into_iter().collect(),
    }
}

/// A merge on its way through the documents. The recursion is bounded by their depth.
struct Merger {
    later: Later,
    /// The current place.
    pointer: String,
    overlaps: BTreeSet<String>,
    overlap_bytes: usize,
}

impl Merger {
    /// Merges what may be absent anywhere; `None` if it shall be.
    fn place(
        &mut self,
        base: Option<&Json>,
        client: Option<&Json>,
        server: Option<&Json>,
    ) -> Option<Json> {
        match (client, server) {
            (Some(client), Some(server)) => Some(self.both(base, client, server)),
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => match base {
                // Added by one side.
                None => Some(one.clone()),
                // Removed by the other.
                Some(base) if base == one => None,
                // Removed by one, changed by the other.
                Some(_) => {
                    self.overlap();
                    self.later.of(client, server).cloned()
                }
            },
        }
    }

    /// Merges what both sides have. Only what is not entered is compared, so that the work grows
    /// with the size of the documents and not with their depth as well.
    fn both(&mut self, base: Option<&Json>, client: &Json, server: &Json) -> Json {
        if let (Json::Object(client), Json::Object(server)) = (client, server) {
            return Json::Object(self.objects(base, client, server));
        }
        if let (Some(base), Some(client), Some(server)) = (
            IdList::of_base(base),
            IdList::of(client),
            IdList::of(server),
        ) {
            return Json::Array(self.id_lists(&base, &client, &server));
        }
        if client == server || base == Some(client) {
            return server.clone();
        }
        if base == Some(server) {
            return client.clone();
        }
        self.overlap();
        self.later.of(client, server).clone()
    }

    /// Notes that both sides changed the current place. The first is always noted.
    fn overlap(&mut self) {
        let fits = self.overlaps.len() < OVERLAPS_MAX
            && self.overlap_bytes + self.pointer.len() <= OVERLAPS_BYTES_MAX;
        if (fits || self.overlaps.is_empty()) && self.overlaps.insert(self.pointer.clone()) {
            self.overlap_bytes += self.pointer.len();
        }
    }

    fn objects(&mut self, base: Option<&Json>, client: &Members, server: &Members) -> Members {
        let nothing = Members::new();
        let base = if let Some(Json::Object(members)) = base {
            members
        } else {
            &nothing
        };
        let keys: BTreeSet<&SmolStr> = client.keys().chain(server.keys()).collect();
        let mut merged = Members::new();
        for key in keys {
            let value = self.below(&pointer_token(key), |merger| {
                merger.place(base.get(key), client.get(key), server.get(key))
            });
            if let Some(value) = value {
                merged.insert(key.clone(), value);
            }
        }
        merged
    }

    fn id_lists<'a>(
        &mut self,
        base: &IdList<'a>,
        client: &IdList<'a>,
        server: &IdList<'a>,
    ) -> Vec<Json> {
        let mut merged = BTreeMap::new();
        // The server's index is the one reported, so its element comes last.
        let places: BTreeMap<_, _> = client.places().chain(server.places()).collect();
        for (id, index) in places {
            let value = self.below(&index.to_string(), |merger| {
                merger.place(base.get(id), client.get(id), server.get(id))
            });
            if let Some(value) = value {
                merged.insert(id, value);
            }
        }
        let order = order(base, client, server, self.later, |id| {
            merged.contains_key(&id)
        });
        order
            .into_iter()
            .filter_map(|id| merged.remove(&id))
            .collect()
    }

    /// Does something one step further down.
    fn below<T>(&mut self, token: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(token);
        let result = work(self);
        self.pointer.truncate(length);
        result
    }
}

#[cfg(test)]
mod tests;
