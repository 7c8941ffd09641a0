//! Conflicts, between the messages of the wire and the types of the domain.

use std::sync::Arc;

use uuid::Uuid;

use super::batch::bytes;
use super::edge::now;
use super::fields::{
    any_type, batch_number, device_id, page_size, revision, revision_token, seen, token,
};
use super::proto;
use crate::auth::Caller;
use crate::config::Limits;
use crate::domain::answer::ServerCopy;
use crate::domain::conflict::{Conflict, ConflictId, Kind, Settlement};
use crate::domain::decide::Rule;
use crate::domain::item::untyped_document;
use crate::domain::resolve::{Choice, ResolveStatus};
use crate::domain::scope::Scope;
use crate::domain::standing::Gate;
use crate::error::{FieldProblem, Refusal};
use crate::inbox::Inspection;
use crate::push::resolve::{ResolveRequest, ResolveResponse};
use crate::store::inbox::{ConflictPage, ConflictQuery, LabelledSide};

/// Checks a request for a page of conflicts.
pub(super) fn conflict_query(
    request: proto::ListConflictsRequest,
    caller: &Caller,
) -> Result<ConflictQuery, Refusal> {
    let before = token(&request.page_token, revision, revision_token);
    let state = proto::ConflictState::try_from(request.state).map_err(|_| FieldProblem {
        field: "state",
        expected: "OPEN, SETTLED or nothing",
    });
    match (
        state,
        any_type(&request.entity_type),
        page_size(request.page_size),
        before,
    ) {
        (Ok(state), Ok(entity_type), Ok(limit), Ok(before)) => Ok(ConflictQuery {
            scope: Scope::of(&caller.user),
            open: match state {
                proto::ConflictState::Unspecified | proto::ConflictState::Open => true,
                proto::ConflictState::Settled => false,
            },
            entity_type,
            before,
            limit,
        }),
        (state, entity_type, limit, before) => Err(Refusal::Invalid(
            [state.err(), entity_type.err(), limit.err(), before.err()]
                .into_iter()
                .flatten()
                .collect(),
        )),
    }
}

/// A page of conflicts, as a message.
pub(super) fn conflict_page(page: ConflictPage) -> proto::ListConflictsResponse {
    proto::ListConflictsResponse {
        conflicts: page
            .conflicts
            .into_iter()
            .map(|(conflict, label)| conflict_message(conflict, label))
            .collect(),
        next_page_token: page.next.as_ref().map(revision_token).unwrap_or_default(),
        open_conflicts: page.open,
    }
}

/// The id of a conflict.
pub(super) fn conflict_id(text: &str) -> Result<ConflictId, FieldProblem> {
    Uuid::parse_str(text)
        .map(ConflictId)
        .map_err(|_| unknown_conflict())
}

/// There is no such conflict, or it is somebody else's.
pub(super) fn unknown_conflict() -> FieldProblem {
    FieldProblem {
        field: "conflict_id",
        expected: "a conflict of this user",
    }
}

/// A conflict with all there is to it, as a message.
pub(super) fn inspection(found: Inspection) -> proto::GetConflictResponse {
    let (proposed, overlaps) = match found.proposal {
        Some(proposal) => (Some(proposal.document), proposal.overlaps),
        None => (None, Vec::new()),
    };
    proto::GetConflictResponse {
        conflict: Some(conflict_message(found.conflict, found.device_label)),
        client: found.client.map(side_message),
        server: found.server.map(copy_message),
        duplicate: found.duplicate.map(copy_message),
        base_data: bytes(found.base.as_deref()),
        proposed_data: bytes(proposed.as_deref()),
        overlapping_paths: overlaps,
        other_sides: found.other_sides.into_iter().map(side_message).collect(),
    }
}

/// Checks a decision.
pub(super) fn resolve_request(
    request: proto::ResolveConflictRequest,
    caller: &Caller,
    gate: Gate,
    limits: &Limits,
) -> Result<ResolveRequest, Refusal> {
    let choice = match proto::Choice::try_from(request.choice) {
        Ok(proto::Choice::KeepServer) => Ok(Choice::KeepServer),
        Ok(proto::Choice::KeepClient) => Ok(Choice::KeepClient),
        Ok(proto::Choice::UseData) => {
            let document = untyped_document(request.data, limits.item_bytes_max);
            Ok(Choice::UseData(Arc::new(
                document.map_err(Refusal::InvalidData)?,
            )))
        }
        Ok(proto::Choice::KeepBoth) => Ok(Choice::KeepBoth),
        Ok(proto::Choice::Unspecified) | Err(_) => Err(FieldProblem {
            field: "choice",
            expected: "KEEP_SERVER, KEEP_CLIENT, USE_DATA or KEEP_BOTH",
        }),
    };
    let device = device_id(&request.device_id);
    let conflict = conflict_id(&request.conflict_id);
    let expected = seen("expected_version", request.expected_version);
    let other = seen(
        "expected_duplicate_version",
        request.expected_duplicate_version,
    );
    let number = batch_number(request.batch_number);
    match (device, conflict, choice, expected, other, number) {
        (Ok(device), Ok(conflict), Ok(choice), Ok(expected), Ok(expected_other), Ok(number)) => {
            Ok(ResolveRequest {
                scope: Scope::of(&caller.user),
                device,
                conflict,
                choice,
                expected,
                expected_other,
                number,
                gate,
                now: now(),
            })
        }
        (device, conflict, choice, expected, other, number) => Err(Refusal::Invalid(
            [
                device.err(),
                conflict.err(),
                choice.err(),
                expected.err(),
                other.err(),
                number.err(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        )),
    }
}

/// What came of a decision, as a message.
pub(super) fn resolve_response(resolved: ResolveResponse) -> proto::ResolveConflictResponse {
    let status = match resolved.status {
        ResolveStatus::Resolved => proto::ResolveStatus::Resolved,
        ResolveStatus::Moved => proto::ResolveStatus::Moved,
        ResolveStatus::SettledBefore => proto::ResolveStatus::SettledBefore,
        ResolveStatus::NoSuchChoice | ResolveStatus::OutOfVersions => {
            proto::ResolveStatus::Unspecified
        }
    };
    proto::ResolveConflictResponse {
        status: status.into(),
        conflict: Some(conflict_message(resolved.conflict, None)),
        server: resolved.copy.map(copy_message),
        duplicate: resolved.other.map(copy_message),
    }
}

/// A conflict, as a message.
pub(super) fn conflict_message(conflict: Conflict, label: Option<String>) -> proto::Conflict {
    let (kind, older) = match conflict.kind {
        Kind::Edit => (proto::ConflictKind::Edit, String::new()),
        Kind::Duplicate { of } => (proto::ConflictKind::Duplicate, of.to_string()),
    };
    let message = proto::Conflict {
        conflict_id: conflict.id.0.to_string(),
        kind: kind.into(),
        entity_type: conflict.key.entity_type.as_str().to_owned(),
        entity_id: conflict.key.entity_id.to_string(),
        possible_duplicate_of: older,
        open: conflict.settled.is_none(),
        device_id: conflict.device.as_str().to_owned(),
        device_label: label.unwrap_or_default(),
        base_version: conflict.base.number(),
        server_version: conflict.server_version.number(),
        rule: conflict.rule.map(Rule::number).unwrap_or_default().into(),
        policy: conflict.policy.unwrap_or_default(),
        asked: conflict.asked,
        opened_at: conflict.opened_at.0,
        ..Default::default()
    };
    match conflict.settled {
        None => message,
        Some(settled) => proto::Conflict {
            settlement: settlement(settled.settlement).into(),
            settled_by_device_id: settled.by.as_str().to_owned(),
            settled_at: settled.at.0,
            settled_version: settled.version.number(),
            ..message
        },
    }
}

fn settlement(settlement: Settlement) -> proto::Settlement {
    match settlement {
        Settlement::ServerWon => proto::Settlement::ServerWon,
        Settlement::Merged => proto::Settlement::Merged,
        Settlement::Pushed => proto::Settlement::Pushed,
        Settlement::KeepServer => proto::Settlement::KeepServer,
        Settlement::KeepClient => proto::Settlement::KeepClient,
        Settlement::UseData => proto::Settlement::UseData,
        Settlement::KeepBoth => proto::Settlement::KeepBoth,
    }
}

/// What the server holds, as a message.
pub(super) fn copy_message(copy: ServerCopy) -> proto::ServerCopy {
    proto::ServerCopy {
        data: bytes(copy.document.as_deref()),
        version: copy.version.number(),
        deleted: copy.document.is_none(),
        device_id: copy.device.as_str().to_owned(),
        device_label: copy.device_label.unwrap_or_default(),
        edit_time: copy.edit_time.0,
        updated_at: copy.updated_at.0,
    }
}

fn side_message(labelled: LabelledSide) -> proto::LosingSide {
    let side = labelled.side;
    proto::LosingSide {
        mutation_id: side.mutation.0.to_string(),
        data: bytes(side.document.as_deref()),
        deleted: labelled.deleted,
        data_left_out: side.document.is_none() && !labelled.deleted,
        base_version: side.base.number(),
        device_id: side.device.as_str().to_owned(),
        device_label: labelled.device_label.unwrap_or_default(),
        edit_time: side.edit_time.0,
        received_at: side.received_at.0,
    }
}
