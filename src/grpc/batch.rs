//! Pushing, between the messages of the wire and the types of the domain.

use super::fields::{batch_number, device_id};
use super::proto;
use crate::auth::Caller;
use crate::config::Limits;
use crate::domain::answer::{Answer, Conflicting, Verdict};
use crate::domain::catalog::Catalog;
use crate::domain::clock::Millis;
use crate::domain::decide::Resolution;
use crate::domain::entity::Document;
use crate::domain::item::{ItemRules, RawItem, Rejection, RejectionCode, Sender, Submission};
use crate::domain::scope::{DeviceId, LABEL_BYTES_MAX, Scope};
use crate::domain::standing::{BatchMark, BatchNumber, Gate};
use crate::error::{FieldProblem, Refusal};
use crate::push::{PushRequest, PushResponse};
use crate::store::device::DeviceInfo;

/// What of an item its answer repeats.
pub(super) struct Echo {
    entity_type: String,
    entity_id: String,
    mutation_id: String,
}

/// What the answers to a request repeat.
pub(super) fn echoes(request: &proto::SyncRequest) -> Vec<Echo> {
    request
        .items
        .iter()
        .map(|item| Echo {
            entity_type: item.entity_type.clone(),
            entity_id: item.entity_id.clone(),
            mutation_id: item.mutation_id.clone(),
        })
        .collect()
}

/// Checks what concerns the whole batch, and parses each item.
pub(super) fn push_request(
    request: proto::SyncRequest,
    caller: Caller,
    gate: Gate,
    limits: &Limits,
    catalog: &Catalog,
    now: Millis,
) -> Result<PushRequest, Refusal> {
    if !request.user_id.is_empty() && request.user_id != caller.user.as_str() {
        return Err(Refusal::NotYours);
    }
    if request.items.len() > limits.batch_items_max {
        return Err(Refusal::TooManyItems {
            limit: limits.batch_items_max,
            got: request.items.len(),
        });
    }
    let (device, info, number) = device(&request)?;
    let scope = Scope::of(&caller.user);
    let sender = Sender {
        user: caller.user,
        device,
        client_time: request.client_time,
        received: now,
    };
    let rules = ItemRules {
        catalog,
        item_bytes_max: limits.item_bytes_max,
        operator: false,
    };
    let items: Vec<RawItem> = request.items.into_iter().map(raw_item).collect();
    let mark = number.map(|number| BatchMark::of(number, &items));
    let batch = items
        .into_iter()
        .map(|item| Submission::parse(item, &sender, &rules))
        .collect();
    Ok(PushRequest {
        scope,
        device: sender.device,
        info,
        batch,
        mark,
        gate,
        validate_only: request.validate_only,
        now,
    })
}

/// The answers, in the order of the items.
pub(super) fn sync_response(
    echoes: Vec<Echo>,
    pushed: PushResponse,
    now: Millis,
) -> proto::SyncResponse {
    let results = echoes
        .into_iter()
        .zip(pushed.answers.into_iter().zip(pushed.mutations))
        .map(|(echo, (answer, mutation))| proto::SyncResult {
            entity_type: echo.entity_type,
            entity_id: echo.entity_id,
            mutation_id: mutation.map_or(echo.mutation_id, |mutation| mutation.0.to_string()),
            ..result(answer)
        })
        .collect();
    proto::SyncResponse {
        results,
        server_time: now.0,
    }
}

/// The device of a request, what it says of itself, and which of its batches this is.
fn device(
    request: &proto::SyncRequest,
) -> Result<(DeviceId, DeviceInfo, Option<BatchNumber>), Refusal> {
    let mut problems = Vec::new();
    let number = batch_number(request.batch_number);
    if let Err(problem) = &number {
        problems.push(problem.clone());
    }
    let device = device_id(&request.device_id);
    if let Err(problem) = &device {
        problems.push(problem.clone());
    }
    let mut label = |field, text: &str| {
        let fits = text.len() <= LABEL_BYTES_MAX && !text.contains('\0');
        if !fits {
            let expected = "at most 128 bytes without NUL";
            problems.push(FieldProblem { field, expected });
        }
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let said = request.device.clone().unwrap_or_default();
    let info = DeviceInfo {
        label: label("device.label", &said.label),
        platform: label("device.platform", &said.platform),
        app_version: label("device.app_version", &said.app_version),
        pending_count: Some(request.pending_count.max(0)),
    };
    match (device, number) {
        (Ok(device), Ok(number)) if problems.is_empty() => Ok((device, info, number)),
        _ => Err(Refusal::Invalid(problems)),
    }
}

fn raw_item(item: proto::SyncItem) -> RawItem {
    RawItem {
        entity_type: item.entity_type,
        entity_id: item.entity_id,
        operation: item.operation,
        data: item.data,
        version: item.version,
        timestamp: item.timestamp,
        mutation_id: item.mutation_id,
        force: item.force,
        group_id: item.group_id,
    }
}

/// An answer, without what it repeats of its item.
fn result(answer: Answer) -> proto::SyncResult {
    match answer {
        Answer::Written {
            written,
            possible_duplicate_of,
        } => proto::SyncResult {
            status: proto::SyncStatus::Success.into(),
            resolution: written_resolution(written.resolution).into(),
            server_version: written.version.number(),
            server_timestamp: written.at.0,
            possible_duplicate_of: possible_duplicate_of
                .map(|id| id.to_string())
                .unwrap_or_default(),
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
        Answer::Rejected(rejection) => rejection_result(rejection),
    }
}

fn conflict_result(conflicting: Conflicting) -> proto::SyncResult {
    let resolution = match conflicting.verdict {
        Verdict::Merged => proto::Resolution::Merged,
        Verdict::ServerWon => proto::Resolution::ServerWon,
        Verdict::NeedsUser => proto::Resolution::NeedsUser,
    };
    let copy = conflicting.copy;
    proto::SyncResult {
        status: proto::SyncStatus::Conflict.into(),
        resolution: resolution.into(),
        server_version: copy.version.number(),
        server_timestamp: copy.updated_at.0,
        server_deleted: copy.document.is_none(),
        server_data: bytes(copy.document.as_deref()),
        conflict: Some(proto::ConflictDetail {
            conflict_id: conflicting
                .conflict
                .map(|id| id.0.to_string())
                .unwrap_or_default(),
            base_data: bytes(conflicting.base.as_deref()),
            proposed_data: bytes(conflicting.proposed.as_deref()),
            overlapping_paths: conflicting.overlaps,
            server_device_id: copy.device.as_str().to_owned(),
            server_device_label: copy.device_label.unwrap_or_default(),
            server_edit_time: copy.edit_time.0,
        }),
        ..Default::default()
    }
}

/// JSON on the wire; nothing is empty.
pub(super) fn bytes(document: Option<&Document>) -> Vec<u8> {
    document
        .map(|document| document.text().as_bytes().to_vec())
        .unwrap_or_default()
}

fn rejection_result(rejection: Rejection) -> proto::SyncResult {
    let code = match rejection.code {
        RejectionCode::InvalidItem => proto::ErrorCode::InvalidItem,
        RejectionCode::UnknownEntityType => proto::ErrorCode::UnknownEntityType,
        RejectionCode::InvalidData => proto::ErrorCode::InvalidData,
        RejectionCode::TooLarge => proto::ErrorCode::TooLarge,
        RejectionCode::ReadOnly => proto::ErrorCode::ReadOnly,
        RejectionCode::GroupAborted => proto::ErrorCode::GroupAborted,
        RejectionCode::QuotaExceeded => proto::ErrorCode::QuotaExceeded,
        RejectionCode::RetryLater => proto::ErrorCode::RetryLater,
    };
    proto::SyncResult {
        status: proto::SyncStatus::Error.into(),
        error_code: code.into(),
        error_message: rejection.message,
        violations: rejection
            .violations
            .into_iter()
            .map(|violation| proto::FieldViolation {
                path: violation.path,
                description: violation.description,
            })
            .collect(),
        ..Default::default()
    }
}

/// How a version was settled.
pub(super) fn written_resolution(resolution: Resolution) -> proto::Resolution {
    match resolution {
        Resolution::Applied => proto::Resolution::Applied,
        Resolution::ClientWon => proto::Resolution::ClientWon,
        Resolution::Resurrected => proto::Resolution::Resurrected,
        Resolution::Merged => proto::Resolution::Merged,
    }
}
