//! What devices were told is wrong, until it is written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::domain::scope::{DeviceId, Scope};
use crate::store::device::{ERRORS_KEPT, LastError};

/// Devices with errors between two writes. Those of others are only in the log.
const DEVICES_MAX: usize = 2_000;

/// Errors by device.
#[derive(Default)]
pub(super) struct Troubles(HashMap<(Scope, DeviceId), Vec<LastError>>);

impl Troubles {
    /// A device was told of an error.
    pub(super) fn add(&mut self, scope: &Scope, device: &DeviceId, error: LastError) {
        let full = self.0.len() >= DEVICES_MAX;
        match self.0.entry((scope.clone(), device.clone())) {
            Entry::Occupied(mut known) => remember(known.get_mut(), error),
            Entry::Vacant(place) if !full => {
                place.insert(vec![error]);
            }
            Entry::Vacant(_) => (),
        }
    }

    /// All there are.
    pub(super) fn take(&mut self) -> Vec<((Scope, DeviceId), Vec<LastError>)> {
        self.0.drain().collect()
    }
}

/// Equal ones are one; the latest come last, as many as are kept.
fn remember(known: &mut Vec<LastError>, error: LastError) {
    let same = known.iter().position(|known| known.is_like(&error));
    let before = same.map(|same| known.remove(same));
    if known.len() == ERRORS_KEPT {
        known.remove(0);
    }
    known.push(match before {
        Some(before) => LastError {
            first_time: before.first_time,
            count: before.count + error.count,
            ..error
        },
        None => error,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_equal_ones_counted() {
        let error = |code: &str, time| LastError {
            last_time: time,
            first_time: time,
            count: 1,
            code: code.to_owned(),
            message: format!("at {time}"),
            entity_type: None,
            entity_id: None,
        };
        let mut known = Vec::new();
        for (time, code) in (1..).zip(["A", "B", "A", "C", "D", "E", "F"]) {
            remember(&mut known, error(code, time));
        }
        let told = known.iter().map(|known| {
            let LastError {
                code,
                count,
                first_time,
                last_time,
                ..
            } = known;
            (code.as_str(), *count, *first_time, *last_time)
        });
        let expected = [
            ("A", 2, 1, 3),
            ("C", 1, 4, 4),
            ("D", 1, 5, 5),
            ("E", 1, 6, 6),
            ("F", 1, 7, 7),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(known[0].message, "at 3");
    }
}
