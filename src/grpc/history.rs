//! Histories and the recycle bin, between the messages of the wire and the types of the domain.

use super::batch::{bytes, written_resolution};
use super::edge::now;
use super::fields::{
    any_type, batch_number, device_id, entity_key, page_size, revision, revision_token, seen, token,
};
use super::inbox::copy_message;
use super::proto::{self, restore_version_request};
use crate::auth::Caller;
use crate::domain::decide::Rule;
use crate::domain::entity::MutationId;
use crate::domain::item::uuid;
use crate::domain::scope::Scope;
use crate::domain::standing::Gate;
use crate::domain::version::Version;
use crate::error::{FieldProblem, Refusal};
use crate::history::HistoryRequest;
use crate::push::resolve::{RestoreRequest, RestoreResponse, Source};
use crate::store::history::{
    DeletedEntity, DeletedPage, DeletedQuery, EntryKind, HistoryEntry, HistoryPage, HistoryPlace,
};

/// Checks a request for a page of a history.
pub(super) fn history_request(
    request: proto::ListVersionsRequest,
    caller: &Caller,
) -> Result<HistoryRequest, Refusal> {
    let key = entity_key(&request.entity_type, &request.entity_id);
    let limit = page_size(request.page_size);
    let behind = token(&request.page_token, history_place, place_token);
    match (key, limit, behind) {
        (Ok(key), Ok(limit), Ok(behind)) => Ok(HistoryRequest {
            scope: Scope::of(&caller.user),
            key,
            behind,
            limit,
        }),
        (key, limit, behind) => Err(refusal(key.err(), [limit.err(), behind.err()])),
    }
}

/// Checks a wish for an old version.
pub(super) fn restore_request(
    request: proto::RestoreVersionRequest,
    caller: &Caller,
    gate: Gate,
) -> Result<RestoreRequest, Refusal> {
    let key = entity_key(&request.entity_type, &request.entity_id);
    let device = device_id(&request.device_id);
    let source = source(request.source);
    let expected = seen("expected_version", request.expected_version);
    let number = batch_number(request.batch_number);
    match (key, device, source, expected, number) {
        (Ok(key), Ok(device), Ok(source), Ok(expected), Ok(number)) => Ok(RestoreRequest {
            scope: Scope::of(&caller.user),
            device,
            key,
            source,
            expected,
            number,
            gate,
            now: now(),
        }),
        (key, device, source, expected, number) => Err(refusal(
            key.err(),
            [device.err(), source.err(), expected.err(), number.err()],
        )),
    }
}

/// Checks a request for a page of the recycle bin.
pub(super) fn deleted_query(
    request: proto::ListDeletedRequest,
    caller: &Caller,
) -> Result<DeletedQuery, Refusal> {
    let entity_type = any_type(&request.entity_type);
    let limit = page_size(request.page_size);
    let before = token(&request.page_token, revision, revision_token);
    match (entity_type, limit, before) {
        (Ok(entity_type), Ok(limit), Ok(before)) => Ok(DeletedQuery {
            scope: Scope::of(&caller.user),
            entity_type,
            before,
            limit,
        }),
        (entity_type, limit, before) => Err(refusal(
            None,
            [entity_type.err(), limit.err(), before.err()],
        )),
    }
}

fn refusal(
    key: Option<Vec<FieldProblem>>,
    others: impl IntoIterator<Item = Option<FieldProblem>>,
) -> Refusal {
    let key = key.into_iter().flatten();
    Refusal::Invalid(key.chain(others.into_iter().flatten()).collect())
}

fn source(source: Option<restore_version_request::Source>) -> Result<Source, FieldProblem> {
    use restore_version_request::Source as Sent;
    match source {
        None => Err(FieldProblem {
            field: "version",
            expected: "the number of a version, or losing_side instead",
        }),
        Some(Sent::Version(number)) => Version::new(number)
            .filter(|version| *version > Version::NONE)
            .map(Source::Version)
            .ok_or(FieldProblem {
                field: "version",
                expected: "the number of a version, 1 or more",
            }),
        Some(Sent::LosingSide(id)) => uuid(&id)
            .map(|id| Source::LosingSide(MutationId(id)))
            .ok_or(FieldProblem {
                field: "losing_side",
                expected: "the mutation id of a losing side, a UUID with hyphens",
            }),
    }
}

fn history_place(text: &str) -> Option<HistoryPlace> {
    let (version, side) = match text.split_once('.') {
        Some((version, side)) => (version, Some(MutationId(uuid(side)?))),
        None => (text, None),
    };
    let version = Version::new(version.parse().ok()?)?;
    Some(HistoryPlace { version, side })
}

fn place_token(place: &HistoryPlace) -> String {
    let version = place.version.number();
    match place.side {
        Some(side) => format!("{version}.{}", side.0),
        None => version.to_string(),
    }
}

/// A page of a history, as a message.
pub(super) fn history_page(page: HistoryPage) -> proto::ListVersionsResponse {
    proto::ListVersionsResponse {
        next_page_token: page.next.as_ref().map(place_token).unwrap_or_default(),
        entries: page.entries.into_iter().map(entry).collect(),
    }
}

fn entry(entry: HistoryEntry) -> proto::HistoryEntry {
    let message = proto::HistoryEntry {
        version: entry.version.number(),
        deleted: entry.deleted,
        data: bytes(entry.document.as_ref()),
        data_removed: !entry.deleted && entry.document.is_none(),
        device_id: entry.device.as_str().to_owned(),
        device_label: entry.device_label.unwrap_or_default(),
        edit_time: entry.edit_time.0,
        updated_at: entry.updated_at.0,
        mutation_id: entry.mutation.0.to_string(),
        ..Default::default()
    };
    match entry.kind {
        EntryKind::Version {
            current,
            resolution,
            cause,
            rule,
            policy,
        } => proto::HistoryEntry {
            current,
            resolution: written_resolution(resolution).into(),
            cause: cause.name().to_owned(),
            rule: rule.map(Rule::number).unwrap_or_default().into(),
            policy: policy.unwrap_or_default(),
            ..message
        },
        EntryKind::LosingSide(conflict) => proto::HistoryEntry {
            losing_side: true,
            conflict_id: conflict.0.to_string(),
            ..message
        },
    }
}

/// What came of a wish for an old version, as a message.
pub(super) fn restore_response(restored: RestoreResponse) -> proto::RestoreVersionResponse {
    proto::RestoreVersionResponse {
        restored: restored.done,
        server: restored.copy.map(copy_message),
    }
}

/// A page of the recycle bin, as a message.
pub(super) fn deleted_page(page: DeletedPage) -> proto::ListDeletedResponse {
    proto::ListDeletedResponse {
        next_page_token: page.next.as_ref().map(revision_token).unwrap_or_default(),
        entities: page.entities.into_iter().map(deleted).collect(),
    }
}

fn deleted(entity: DeletedEntity) -> proto::DeletedEntity {
    proto::DeletedEntity {
        entity_type: entity.key.entity_type.as_str().to_owned(),
        entity_id: entity.key.entity_id.to_string(),
        version: entity.version.number(),
        device_id: entity.device.as_str().to_owned(),
        device_label: entity.device_label.unwrap_or_default(),
        edit_time: entity.edit_time.0,
        deleted_at: entity.deleted_at.0,
        last_version: entity.last_version.unwrap_or_default().number(),
        data_removed: entity.last_version.is_some() && entity.last_document.is_none(),
        last_data: bytes(entity.last_document.as_ref()),
    }
}
