//! Conflicts, between the messages of the wire and the types of the domain.

use std::sync::Arc;

use uuid::Uuid;

use super::batch::{bytes, device_id};
use super::edge::now;
use super::proto;
use crate::auth::Caller;
use crate::config::Limits;
use crate::domain::answer::ServerCopy;
use crate::domain::catalog::Catalog;
use crate::domain::conflict::{Conflict, ConflictId, Kind, LosingSide, Settlement};
use crate::domain::decide::Rule;
use crate::domain::entity::EntityType;
use crate::domain::resolve::{Choice, ResolveStatus};
use crate::domain::scope::Scope;
use crate::domain::version::{Revision, Version};
use crate::error::{FieldProblem, Refusal};
use crate::inbox::{ConflictPage, ConflictQuery, Inspection};
use crate::push::resolve::{ResolveRequest, ResolveResponse};

/// Entries on a page of the inbox, of a history or of the recycle bin if the caller does not say, and at
/// most.
const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 500;

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

/// Checks a request for a page of conflicts.
pub(super) fn conflict_query(
    request: proto::ListConflictsRequest,
    caller: &Caller,
) -> Result<ConflictQuery, Refusal> {
    let before = match request.page_token.as_str() {
        "" => Ok(None),
        token => token
            .parse()
            .map(|number| Some(Revision::new(number)))
            .map_err(|_| bad_token()),
    };
    let state = proto::ConflictState::try_from(request.state).map_err(|_| FieldProblem {
        field: "state",
        expected: "OPEN, SETTLED or nothing",
    });
    match (state, any_type(&request.entity_type), page_size(request.page_size), before) {
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

/// A page token that was not given by this server.
pub(super) fn bad_token() -> FieldProblem {
    FieldProblem {
        field: "page_token",
        expected: "what the last answer gave, or nothing",
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
        next_page_token: page
            .next
            .map(|next| next.number().to_string())
            .unwrap_or_default(),
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
    let label = found.client.as_ref().and_then(|side| side.device_label.clone());
    let (proposed, overlaps) = match found.proposal {
        Some(proposal) => (Some(proposal.document), proposal.overlaps),
        None => (None, Vec::new()),
    };
    proto::GetConflictResponse {
        conflict: Some(conflict_message(found.conflict, label)),
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
    limits: &Limits,
    catalog: &Arc<Catalog>,
) -> Result<ResolveRequest, Refusal> {
    let _ = (limits, catalog);
    let choice = match proto::Choice::try_from(request.choice) {
        Ok(proto::Choice::KeepServer) => Ok(Choice::KeepServer),
        Ok(proto::Choice::KeepClient) => Ok(Choice::KeepClient),
        Ok(proto::Choice::UseData) => Ok(Choice::KeepServer),
        Ok(proto::Choice::KeepBoth) => Ok(Choice::KeepBoth),
        Ok(proto::Choice::Unspecified) | Err(_) => Err(FieldProblem {
            field: "choice",
            expected: "KEEP_SERVER, KEEP_CLIENT, USE_DATA or KEEP_BOTH",
        }),
    };
    let device = device_id(&request.device_id);
    let conflict = conflict_id(&request.conflict_id);
    let expected = seen("expected_version", request.expected_version);
    let other = seen("expected_duplicate_version", request.expected_duplicate_version);
    match (device, conflict, choice, expected, other) {
        (Ok(device), Ok(conflict), Ok(choice), Ok(expected), Ok(expected_other)) => {
            Ok(ResolveRequest {
                scope: Scope::of(&caller.user),
                device,
                conflict,
                choice,
                expected,
                expected_other,
                now: now(),
            })
        }
        (device, conflict, choice, expected, other) => Err(Refusal::Invalid(
            [device.err(), conflict.err(), choice.err(), expected.err(), other.err()]
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
        ResolveStatus::NoSuchChoice => proto::ResolveStatus::Unspecified,
    };
    proto::ResolveConflictResponse {
        status: status.into(),
        conflict: Some(conflict_message(resolved.conflict, None)),
        server: resolved.copy.map(copy_message),
        duplicate: resolved.other.map(copy_message),
    }
}
