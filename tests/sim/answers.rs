//! What the core answers, as messages of the wire: the model server's part of `grpc`.

use ironflow_sync::grpc::proto;
use uuid::Uuid;

use super::memory::Memory;
use crate::domain::answer::{Answer, Conflicting, ServerCopy, Verdict};
use crate::domain::conflict::{Conflict, ConflictId, Kind};
use crate::domain::decide::Resolution;
use crate::domain::entity::{Content, Document};
use crate::domain::item::RejectionCode;
use crate::domain::resolve::ResolveStatus;
use crate::domain::settle::{later, propose};

/// An answer, without what it repeats of its item.
pub fn result(answer: Answer) -> proto::SyncResult {
    match answer {
        Answer::Written { written, .. } => proto::SyncResult {
            status: proto::SyncStatus::Success.into(),
            resolution: match written.resolution {
                Resolution::Applied => proto::Resolution::Applied,
                Resolution::ClientWon => proto::Resolution::ClientWon,
                Resolution::Resurrected => proto::Resolution::Resurrected,
                Resolution::Merged => proto::Resolution::Merged,
            }
            .into(),
            server_version: written.version.number(),
            server_timestamp: written.at.0,
            ..Default::default()
        },
        Answer::Unchanged { version, at } => proto::SyncResult {
            status: proto::SyncStatus::Success.into(),
            resolution: proto::Resolution::Unchanged.into(),
            server_version: version.number(),
            server_timestamp: at.unwrap_or_default().0,
            ..Default::default()
        },
        Answer::Conflict(conflicting) => conflict_result(*conflicting),
        Answer::Rejected(rejection) => proto::SyncResult {
            status: proto::SyncStatus::Error.into(),
            error_code: match rejection.code {
                RejectionCode::InvalidItem => proto::ErrorCode::InvalidItem,
                RejectionCode::QuotaExceeded => proto::ErrorCode::QuotaExceeded,
                RejectionCode::UnknownEntityType => proto::ErrorCode::UnknownEntityType,
                RejectionCode::InvalidData => proto::ErrorCode::InvalidData,
                RejectionCode::TooLarge => proto::ErrorCode::TooLarge,
                RejectionCode::ReadOnly => proto::ErrorCode::ReadOnly,
                RejectionCode::GroupAborted => proto::ErrorCode::GroupAborted,
                RejectionCode::RetryLater => proto::ErrorCode::RetryLater,
            }
            .into(),
            error_message: rejection.message,
            ..Default::default()
        },
    }
}

fn conflict_result(conflicting: Conflicting) -> proto::SyncResult {
    let copy = conflicting.copy;
    let id = conflicting.conflict.map(|id| id.0.to_string());
    proto::SyncResult {
        status: proto::SyncStatus::Conflict.into(),
        resolution: match conflicting.verdict {
            Verdict::Merged => proto::Resolution::Merged,
            Verdict::ServerWon => proto::Resolution::ServerWon,
            Verdict::NeedsUser => proto::Resolution::NeedsUser,
        }
        .into(),
        server_version: copy.version.number(),
        server_timestamp: copy.updated_at.0,
        server_deleted: copy.document.is_none(),
        server_data: bytes(copy.document.as_deref()),
        conflict: Some(proto::ConflictDetail {
            conflict_id: id.unwrap_or_default(),
            base_data: bytes(conflicting.base.as_deref()),
            proposed_data: bytes(conflicting.proposed.as_deref()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// JSON on the wire; nothing is empty.
pub fn bytes(document: Option<&Document>) -> Vec<u8> {
    document.map_or_else(Vec::new, |document| document.text().as_bytes().to_vec())
}

pub fn copy(copy: ServerCopy) -> proto::ServerCopy {
    proto::ServerCopy {
        data: bytes(copy.document.as_deref()),
        version: copy.version.number(),
        deleted: copy.document.is_none(),
        device_id: copy.device.as_str().to_owned(),
        edit_time: copy.edit_time.0,
        updated_at: copy.updated_at.0,
        ..Default::default()
    }
}

pub fn conflict(conflict: &Conflict) -> proto::Conflict {
    let older = conflict.kind.older_id().map(|id| id.to_string());
    proto::Conflict {
        conflict_id: conflict.id.0.to_string(),
        kind: match conflict.kind {
            Kind::Edit => proto::ConflictKind::Edit,
            Kind::Duplicate { .. } => proto::ConflictKind::Duplicate,
        }
        .into(),
        entity_type: conflict.key.entity_type.as_str().to_owned(),
        entity_id: conflict.key.entity_id.to_string(),
        possible_duplicate_of: older.unwrap_or_default(),
        open: conflict.settled.is_none(),
        device_id: conflict.device.as_str().to_owned(),
        base_version: conflict.base.number(),
        server_version: conflict.server_version.number(),
        asked: conflict.asked,
        ..Default::default()
    }
}

pub fn resolve_status(status: ResolveStatus) -> proto::ResolveStatus {
    match status {
        ResolveStatus::Resolved => proto::ResolveStatus::Resolved,
        ResolveStatus::Moved => proto::ResolveStatus::Moved,
        ResolveStatus::SettledBefore => proto::ResolveStatus::SettledBefore,
        ResolveStatus::NoSuchChoice | ResolveStatus::OutOfVersions => {
            proto::ResolveStatus::Unspecified
        }
    }
}

/// What waits for the person.
pub fn listed(memory: &Memory) -> proto::ListConflictsResponse {
    let conflicts: Vec<proto::Conflict> = memory.open_conflicts().map(conflict).collect();
    proto::ListConflictsResponse {
        open_conflicts: memory.open,
        conflicts,
        ..Default::default()
    }
}

/// All about one conflict.
pub fn looked(memory: &Memory, id: &str) -> Option<proto::GetConflictResponse> {
    let id = ConflictId(Uuid::parse_str(id).ok()?);
    let found = memory.conflicts.get(&id)?;
    let side = memory.sides.get(&(found.key.clone(), found.mutation));
    let server = memory.current(&found.key);
    let duplicate = found.older().and_then(|older| memory.current(&older));
    let proposed = match (&server, &duplicate, side) {
        (Some(server), Some(older), _) => match &server.content {
            Content::Live(newer) => {
                let later = later(server.edit_time, older.edit_time);
                propose(None, newer, &older.content, later)
            }
            Content::NotLoaded | Content::Withheld | Content::Tombstone => None,
        },
        (Some(server), None, Some(side)) => side.document.as_ref().and_then(|sent| {
            let later = later(side.edit_time, server.edit_time);
            propose(None, sent, &server.content, later)
        }),
        (Some(_), None, None) | (None, _, _) => None,
    };
    Some(proto::GetConflictResponse {
        conflict: Some(conflict(found)),
        client: side.map(|side| proto::LosingSide {
            data: bytes(side.document.as_deref()),
            deleted: side.document.is_none(),
            base_version: side.base.number(),
            ..Default::default()
        }),
        server: server.as_ref().map(|held| copy(ServerCopy::of(held))),
        duplicate: duplicate.as_ref().map(|held| copy(ServerCopy::of(held))),
        proposed_data: bytes(proposed.map(|proposal| proposal.document).as_deref()),
        ..Default::default()
    })
}
