//! What becomes of two edits of one thing: the merges behind the policies `merge_fields`,
//! `merge_max` and `latest_per_key` (docs/protocol.md, section 3).
//!
//! Every merge is a pure function. None depends on which device came first: swap the sides, and
//! who is later with them, and the result is the same. None can fail, and no result nests deeper
//! than its deeper side, so that it is acceptable again. Whether it also is small enough, the
//! caller has to look.

mod id_list;
mod latest_per_key;
mod maximum;
#[cfg(test)]
mod testing;
mod three_way;

use super::clock::Millis;
use super::json::Json;

pub use latest_per_key::latest_per_key;
pub use maximum::maximum;
pub use three_way::three_way;

/// Which side wins what only one can have: the later edit, the server's if both are equally late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// The edit that arrives was made after the stored one.
    Client,
    /// It was made before the stored one, or at the same time.
    Server,
}

impl Later {
    /// What belongs to the later side.
    fn of<T>(self, client: T, server: T) -> T {
        match self {
            Self::Client => client,
            Self::Server => server,
        }
    }
}

/// The result of a three-way merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// Both edits in one.
    pub value: Json,
    /// JSON Pointers (RFC 6901) of the places that both sides changed differently, so that the
    /// earlier one's change is not in `value`; sorted, each once. Empty if nothing was lost; at most
    /// 100 and about 16 KiB of them, but always one.
    pub overlaps: Vec<String>,
}

/// One of two edits, for a merge that looks at the times of parts.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The whole document.
    pub value: &'a Json,
    /// When the edit was made, by the server's clock.
    pub edit_time: Millis,
    /// Milliseconds to add to times the device wrote into the document, to get the server's.
    pub clock_offset_ms: i64,
}
