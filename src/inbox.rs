//! The conflict inbox, read: what waits for the person, and what was settled. Decisions are written by
//! [`crate::push::resolve`].

use std::sync::Arc;

use crate::domain::answer::ServerCopy;
use crate::domain::catalog::Catalog;
use crate::domain::conflict::{Conflict, ConflictId};
use crate::domain::entity::{Content, Document, Stored};
use crate::domain::scope::Scope;
use crate::domain::settle::{Proposal, later, propose};
use crate::domain::version::Version;
use crate::error::CallError;
use crate::store::Store;
use crate::store::inbox::LabelledSide;

/// Sides beside the one that counts told of at most.
const OTHER_SIDES_MAX: i64 = 100;

/// Everything about one conflict.
#[derive(Debug)]
pub struct Inspection {
    /// The conflict.
    pub conflict: Conflict,
    /// What its device is called.
    pub device_label: Option<String>,
    /// The side that counts now; `None` for a duplicate.
    pub client: Option<LabelledSide>,
    /// What the server holds now.
    pub server: Option<ServerCopy>,
    /// What the server holds now of the older of two duplicates.
    pub duplicate: Option<ServerCopy>,
    /// What the side started from, if it is still held.
    pub base: Option<Arc<Document>>,
    /// A merge of both sides.
    pub proposal: Option<Proposal>,
    /// Other sides, the newest first.
    pub other_sides: Vec<LabelledSide>,
}

/// Reads everything about one conflict; `None`: the user has no such conflict.
pub async fn inspect(
    store: &Store,
    catalog: &Catalog,
    scope: &Scope,
    id: ConflictId,
) -> Result<Option<Inspection>, CallError> {
    let Some((conflict, device_label)) = store.find_conflict(scope, id).await? else {
        return Ok(None);
    };
    let home = catalog.home(&conflict.key.entity_type, scope);
    let older = conflict.older();
    let (mut sides, server, duplicate, base) = tokio::try_join!(
        store.read_sides(scope, id, conflict.mutation, OTHER_SIDES_MAX + 1),
        store.read_current(&home, &conflict.key),
        async {
            match &older {
                Some(older) => store.read_current(&home, older).await,
                None => Ok(None),
            }
        },
        async {
            match conflict.base {
                Version::NONE => Ok(None),
                base => store.read_content(&home, &conflict.key, base).await,
            }
        },
    )?;
    let current = sides
        .iter()
        .position(|found| found.side.mutation == conflict.mutation);
    let client = current.map(|place| sides.remove(place));
    sides.truncate(OTHER_SIDES_MAX as usize);
    let proposal = proposal(
        client.as_ref(),
        server.as_ref(),
        duplicate.as_ref(),
        base.as_ref(),
    );
    Ok(Some(Inspection {
        conflict,
        device_label,
        client,
        server: server.as_ref().map(ServerCopy::of),
        duplicate: duplicate.as_ref().map(ServerCopy::of),
        base: match base {
            Some(Content::Live(document)) => Some(document),
            Some(Content::NotLoaded | Content::Withheld | Content::Tombstone) | None => None,
        },
        proposal,
        other_sides: sides,
    }))
}

/// A merge of the two sides; of two duplicates, of both entities.
fn proposal(
    client: Option<&LabelledSide>,
    server: Option<&Stored>,
    duplicate: Option<&Stored>,
    base: Option<&Content>,
) -> Option<Proposal> {
    let server = server?;
    if let Some(older) = duplicate {
        let Content::Live(newer) = &server.content else {
            return None;
        };
        let later = later(server.edit_time, older.edit_time);
        return propose(None, newer, &older.content, later);
    }
    let side = &client?.side;
    let later = later(side.edit_time, server.edit_time);
    propose(base, side.document.as_deref()?, &server.content, later)
}
