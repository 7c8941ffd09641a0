//! Lists whose elements are known by an id, and the order of two of them merged.

use std::collections::BTreeMap;

use super::Later;
use crate::domain::json::Json;
use crate::domain::number::Decimal;

/// What an element is known by. The number 1 and the text "1" are two ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id<'a> {
    Number(&'a Decimal),
    Text(&'a str),
}

/// A list of objects with an `id` each, no two the same.
pub(super) struct IdList<'a> {
    elements: &'a [Json],
    /// The ids in the order of the list.
    ids: Vec<Id<'a>>,
    places: BTreeMap<Id<'a>, usize>,
}

impl<'a> IdList<'a> {
    /// The value as such a list, if it is one. An empty list is.
    pub(super) fn of(value: &'a Json) -> Option<Self> {
        let Json::Array(elements) = value else {
            return None;
        };
        let ids = elements.iter().map(id_of).collect::<Option<Vec<_>>>()?;
        let places: BTreeMap<_, _> = ids.iter().copied().zip(0..).collect();
        (places.len() == ids.len()).then_some(Self {
            elements,
            ids,
            places,
        })
    }

    /// Likewise for the base of a merge: what is no list counts as an empty one.
    pub(super) fn of_base(value: Option<&'a Json>) -> Option<Self> {
        const EMPTY: &Json = &Json::Array(Vec::new());
        Self::of(
            value
                .filter(|value| matches!(value, Json::Array(_)))
                .unwrap_or(EMPTY),
        )
    }

    /// The element with this id.
    pub(super) fn get(&self, id: Id<'_>) -> Option<&'a Json> {
        self.places.get(&id).map(|index| &self.elements[*index])
    }

    /// All ids, each with its index.
    pub(super) fn places(&self) -> impl Iterator<Item = (Id<'a>, usize)> {
        self.ids.iter().copied().zip(0..)
    }

    fn contains(&self, id: Id<'_>) -> bool {
        self.places.contains_key(&id)
    }
}

fn id_of(element: &Json) -> Option<Id<'_>> {
    let Json::Object(members) = element else {
        return None;
    };
    match members.get("id")? {
        Json::Number(number) => Some(Id::Number(number)),
        Json::String(text) => Some(Id::Text(text)),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The order of a merged list. `is_kept` says which ids are in it: all that both sides have, and
/// some that one side has.
///
/// 1. What both sides have stands in the order of the side that changed the base's order; if both
///    did, or neither, in that of `later`. An element that is not kept is not looked at: moving
///    what the other side removed changes nothing.
/// 2. What only one side has stays behind what it followed there, the nearest before it that both
///    sides have, or at the start. Behind the same element, the earlier side's come first, each
///    side's in their own order.
pub(super) fn order<'a>(
    base: &IdList<'a>,
    client: &IdList<'a>,
    server: &IdList<'a>,
    later: Later,
    is_kept: impl Fn(Id<'a>) -> bool,
) -> Vec<Id<'a>> {
    let leading = match (
        has_moved(base, client, &is_kept),
        has_moved(base, server, &is_kept),
    ) {
        (true, false) => client,
        (false, true) => server,
        (true, true) | (false, false) => later.of(client, server),
    };
    let clients = runs(client, server, &is_kept);
    let servers = runs(server, client, &is_kept);
    let (first, second) = later.of((&servers, &clients), (&clients, &servers));
    let shared = leading.ids.iter().copied();
    let shared = shared.filter(|id| client.contains(*id) && server.contains(*id));
    let mut order = Vec::new();
    for anchor in std::iter::once(None).chain(shared.map(Some)) {
        order.extend(anchor);
        for runs in [first, second] {
            order.extend(runs.get(&anchor).into_iter().flatten());
        }
    }
    order
}

/// Whether the elements that a side took from the base stand in another order there.
fn has_moved<'a>(base: &IdList<'a>, side: &IdList<'a>, is_kept: impl Fn(Id<'a>) -> bool) -> bool {
    let kept = side.ids.iter().filter(|id| is_kept(**id));
    !kept.filter_map(|id| base.places.get(id)).is_sorted()
}

/// The elements that only this side has, by the element before them that the other has too.
fn runs<'a>(
    side: &IdList<'a>,
    other: &IdList<'a>,
    is_kept: impl Fn(Id<'a>) -> bool,
) -> BTreeMap<Option<Id<'a>>, Vec<Id<'a>>> {
    let mut runs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut anchor = None;
    for id in side.ids.iter().copied() {
        if other.contains(id) {
            anchor = Some(id);
        } else if is_kept(id) {
            runs.entry(anchor).or_default().push(id);
        }
    }
    runs
}
