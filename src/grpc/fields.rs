//! Fields that several requests have, each checked in one way.

use crate::domain::entity::{EntityKey, EntityType};
use crate::domain::item::uuid;
use crate::domain::scope::DeviceId;
use crate::domain::standing::BatchNumber;
use crate::domain::version::{Revision, Version};
use crate::error::FieldProblem;

/// Entries on a page of the inbox, of a history or of the recycle bin if the caller does not say, and at
/// most.
const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 500;

/// No token of ours is longer: ten digits, a point and a UUID.
const TOKEN_BYTES_MAX: usize = 47;

/// The device that calls.
pub(super) fn device_id(text: &str) -> Result<DeviceId, FieldProblem> {
    DeviceId::new(text).ok_or(FieldProblem {
        field: "device_id",
        expected: "1-128 bytes without NUL",
    })
}

/// How many batches a device has made; 0: it does not count them.
pub(super) fn batch_number(number: i64) -> Result<Option<BatchNumber>, FieldProblem> {
    match number {
        0 => Ok(None),
        number => BatchNumber::new(number).map(Some).ok_or(FieldProblem {
            field: "batch_number",
            expected: "0 or more",
        }),
    }
}

/// The entity that a request names.
pub(super) fn entity_key(
    entity_type: &str,
    entity_id: &str,
) -> Result<EntityKey, Vec<FieldProblem>> {
    let entity_type = EntityType::new(entity_type).ok_or(FieldProblem {
        field: "entity_type",
        expected: "a name of 1-64 lower-case letters, digits and underscores",
    });
    let entity_id = uuid(entity_id).ok_or(FieldProblem {
        field: "entity_id",
        expected: "a UUID with hyphens",
    });
    match (entity_type, entity_id) {
        (Ok(entity_type), Ok(entity_id)) => Ok(EntityKey {
            entity_type,
            entity_id,
        }),
        (entity_type, entity_id) => Err([entity_type.err(), entity_id.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

/// A type to look for; empty: any.
pub(super) fn any_type(text: &str) -> Result<Option<EntityType>, FieldProblem> {
    match text {
        "" => Ok(None),
        text => EntityType::new(text).map(Some).ok_or(FieldProblem {
            field: "entity_type",
            expected: "a name of 1-64 lower-case letters, digits and underscores, or nothing",
        }),
    }
}

/// A version the person saw.
pub(super) fn seen(field: &'static str, number: i32) -> Result<Version, FieldProblem> {
    Version::new(number).ok_or(FieldProblem {
        field,
        expected: "a version, 0 or more",
    })
}

/// How many entries a page has at most.
pub(super) fn page_size(asked: i32) -> Result<i64, FieldProblem> {
    match asked {
        0 => Ok(PAGE_SIZE_DEFAULT.into()),
        1.. => Ok(asked.min(PAGE_SIZE_MAX).into()),
        _ => Err(FieldProblem {
            field: "page_size",
            expected: "0 or more",
        }),
    }
}

/// A place that a page token names; nothing: `None`. Only the very text that this server writes for it
/// will do.
///
/// A token holds nothing but a place in the order of what is listed: whose it is, is said by the caller's
/// bearer token alone, so no page token reaches another user's data (promise 10).
pub(super) fn token<T>(
    text: &str,
    read: impl FnOnce(&str) -> Option<T>,
    write: impl FnOnce(&T) -> String,
) -> Result<Option<T>, FieldProblem> {
    if text.is_empty() {
        return Ok(None);
    }
    let place = Some(text).filter(|text| text.len() <= TOKEN_BYTES_MAX);
    match place.and_then(read) {
        Some(place) if write(&place) == text => Ok(Some(place)),
        Some(_) | None => Err(FieldProblem {
            field: "page_token",
            expected: "what the last answer gave, or nothing",
        }),
    }
}

/// A place in an order of changes.
pub(super) fn revision(text: &str) -> Option<Revision> {
    let number: i64 = text.parse().ok()?;
    (number > 0).then(|| Revision::new(number))
}

/// How a page token writes it.
pub(super) fn revision_token(revision: &Revision) -> String {
    revision.number().to_string()
}
