//! One page of changes: which stretches of the order to read, and where the next page begins.
//!
//! Up to four lanes, read one after the other: types that are new to the app from the beginning,
//! first the library's, then the user's; then what changed in the library, and in the user's scope.

use uuid::Uuid;

use super::catalog::{Catalog, VisibleTypes};
use super::cursor::{Backfill, Binding, Cursor, Position};
use super::scope::Scope;
use super::version::Revision;

/// A stretch of one scope's order of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Whose changes.
    pub scope: Scope,
    /// Read behind this revision..
    pub after: Revision,
    /// ..up to this one; `None`: the scope's last.
    pub until: Option<Revision>,
    /// See [`Position::began_at`]; `None`: the scope's last revision, the device begins now.
    pub began_at: Option<Revision>,
    /// Only the types that are new to the app.
    pub new_types: bool,
}

/// What a page reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// In the order they are read; 2 or 4.
    pub lanes: Vec<Lane>,
    /// Types of the lanes that follow changes.
    pub types: VisibleTypes,
    /// Types of the lanes that catch up on new types.
    pub new_types: Vec<String>,
}

/// What a lane's scope looked like when the page was read, and how far the page got in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRead {
    /// The scope's last revision.
    pub head: Revision,
    /// How many entities the scope holds, tombstones included.
    pub entities: i64,
    /// How many of the scope's conflicts are open.
    pub open_conflicts: i32,
    /// The revision at which the scope's conflict inbox last changed.
    pub inbox_revision: Revision,
    /// The last revision the page looked at; `None`: none.
    pub last: Option<Revision>,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageEnd {
    /// Where the next page begins.
    pub cursor: Cursor,
    /// Whether there is more now.
    pub has_more: bool,
    /// About how many entities are still to come.
    pub remaining: i64,
}

/// The cursor cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorProblem {
    /// It is for a newer schema than the app has.
    OlderSchema,
    /// It is from another life of the database, or ahead of it.
    Reset,
}

/// What to read for a device that is at `cursor` (`None`: at the beginning) and has this schema.
pub fn page_query(
    cursor: Option<&Cursor>,
    binding: &Binding,
    schema: i32,
    catalog: &Catalog,
) -> Result<PageQuery, CursorProblem> {
    let backfill = match cursor {
        Some(cursor) if cursor.schema > schema => return Err(CursorProblem::OlderSchema),
        Some(cursor) => upgrade(cursor, schema),
        None => None,
    };
    let before = backfill.map_or(schema, |backfill| backfill.schema_before);
    let new_types = match binding.export {
        true => Vec::new(),
        false => catalog.newly_visible(&binding.types, before, schema),
    };
    // Without anything new there is nothing to catch up on.
    let backfill = backfill.filter(|_| !new_types.is_empty());
    let lane = |scope: Scope, position: Option<Position>, backfill: bool| Lane {
        scope,
        after: position.unwrap_or_default().after,
        until: position
            .filter(|_| backfill)
            .map(|position| position.began_at),
        began_at: position.map(|position| position.began_at),
        new_types: backfill,
    };
    let user = || binding.scope.clone();
    let mut lanes = Vec::new();
    if let Some(backfill) = backfill {
        lanes.push(lane(Scope::library(), Some(backfill.library), true));
        lanes.push(lane(user(), Some(backfill.user), true));
    }
    lanes.push(lane(
        Scope::library(),
        cursor.map(|cursor| cursor.library),
        false,
    ));
    lanes.push(lane(user(), cursor.map(|cursor| cursor.user), false));
    Ok(PageQuery {
        lanes,
        types: match binding.export {
            true => VisibleTypes::whatever(&binding.types),
            false => catalog.visible(&binding.types, schema),
        },
        new_types,
    })
}

/// The new types to catch up on: begun before, or from the beginning up to where the cursor is.
/// An app that upgrades again while it catches up begins anew, from the oldest of its schemas.
fn upgrade(cursor: &Cursor, schema: i32) -> Option<Backfill> {
    let begin = |position: Position| Position {
        after: Revision::default(),
        began_at: position.after,
    };
    match cursor.backfill {
        Some(backfill) if cursor.schema == schema => Some(backfill),
        None if cursor.schema == schema => None,
        begun => Some(Backfill {
            schema_before: begun.map_or(cursor.schema, |begun| begun.schema_before),
            library: begin(cursor.library),
            user: begin(cursor.user),
        }),
    }
}

/// Where the page ended: `read[i]` is what was seen of `query.lanes[i]`, `exhausted` whether
/// everything there was has been looked at.
pub fn page_end(
    query: &PageQuery,
    read: &[LaneRead],
    exhausted: bool,
    epoch: Uuid,
    schema: i32,
    before: Option<&Cursor>,
) -> Result<PageEnd, CursorProblem> {
    let ahead = |(lane, read): (&Lane, &LaneRead)| {
        lane.after > read.head || lane.began_at > Some(read.head)
    };
    if before.is_some_and(|cursor| cursor.epoch != epoch) || query.lanes.iter().zip(read).any(ahead)
    {
        return Err(CursorProblem::Reset);
    }
    // The page stopped in the last lane it looked at; the lanes before it are done.
    let stopped_in = if exhausted {
        query.lanes.len()
    } else {
        read.iter()
            .rposition(|read| read.last.is_some())
            .unwrap_or_default()
    };
    let mut remaining = 0;
    let mut positions = Vec::new();
    for (i, (lane, read)) in query.lanes.iter().zip(read).enumerate() {
        let until = lane.until.unwrap_or(read.head);
        let after = if i < stopped_in {
            until
        } else {
            read.last.unwrap_or(lane.after)
        };
        let began_at = lane.began_at.unwrap_or(read.head);
        positions.push(Position { after, began_at });
        remaining += estimate(after, until, read);
    }
    let [.., library, user] = positions.as_slice() else {
        return Err(CursorProblem::Reset);
    };
    let backfill = match positions.as_slice() {
        [new_library, new_user, _, _] if stopped_in < 2 => Some(Backfill {
            schema_before: before.map_or(schema, schema_before),
            library: *new_library,
            user: *new_user,
        }),
        _ => None,
    };
    Ok(PageEnd {
        cursor: Cursor {
            epoch,
            schema,
            library: *library,
            user: *user,
            backfill,
        },
        has_more: !exhausted,
        remaining,
    })
}

fn schema_before(cursor: &Cursor) -> i32 {
    cursor
        .backfill
        .map_or(cursor.schema, |backfill| backfill.schema_before)
}

/// About how many entities lie between two revisions, taking them to be evenly spread: exact where
/// nothing was ever edited, never rising as `after` rises, 0 at the end.
fn estimate(after: Revision, until: Revision, read: &LaneRead) -> i64 {
    let distance = i128::from(until.number() - after.number()).max(0);
    let head = i128::from(read.head.number()).max(1);
    let entities = i128::from(read.entities).clamp(0, head);
    ((distance * entities + head - 1) / head) as i64
}
