//! Taking everything along and deleting it, as messages.

use super::batch::{bytes, written_resolution};
use super::inbox::conflict_message;
use super::proto::{self, export_account_response};
use crate::domain::clock::Millis;
use crate::domain::decide::Rule;
use crate::domain::standing::Subscription;
use crate::domain::version::{Revision, Version};
use crate::erasure::Offer;
use crate::export::Record;
use crate::store::device::LastError;
use crate::store::export::{Counts, ExportedDevice, ExportedVersion};
use crate::store::inbox::LabelledSide;

/// A record of an export, as a message.
pub(super) fn export_response(record: Record) -> proto::ExportAccountResponse {
    use export_account_response::Record as Message;
    let record = match record {
        Record::Account { user, at, account } => Message::Account(proto::AccountSummary {
            subscribed: account.paid != Subscription::Free,
            subscription_expiry_time: account.paid.until().unwrap_or_default().0,
            user_id: user.as_str().to_owned(),
            export_time: at.0,
            revision: account.revision.number(),
            counts: Some(account_counts(account.counts)),
        }),
        Record::Device(exported) => Message::Device(device(exported)),
        Record::Entity(exported) => Message::Entity(version(exported)),
        Record::OldVersion(exported) => Message::OldVersion(version(exported)),
        Record::LosingSide(exported) => Message::LosingSide(losing_side(exported)),
        Record::Conflict(exported) => Message::Conflict(conflict_message(exported, None)),
        Record::Done(counts) => Message::Done(proto::ExportDone {
            counts: Some(account_counts(counts)),
        }),
    };
    proto::ExportAccountResponse {
        record: Some(record),
    }
}

/// What would be deleted, as a message.
pub(super) fn offered(offer: Offer) -> proto::DeleteAccountResponse {
    proto::DeleteAccountResponse {
        deleted: false,
        confirmation_token: offer.token,
        confirmation_expires_time: offer.expires.0,
        counts: Some(account_counts(offer.counts)),
    }
}

/// What was deleted, as a message.
pub(super) fn deleted(counts: Counts) -> proto::DeleteAccountResponse {
    proto::DeleteAccountResponse {
        deleted: true,
        counts: Some(account_counts(counts)),
        ..Default::default()
    }
}

fn account_counts(counts: Counts) -> proto::AccountCounts {
    proto::AccountCounts {
        devices: counts.devices,
        entities: counts.entities,
        old_versions: counts.old_versions,
        losing_sides: counts.losing_sides,
        conflicts: counts.conflicts,
    }
}

fn device(exported: ExportedDevice) -> proto::ExportedDevice {
    let known = exported.known;
    proto::ExportedDevice {
        device_id: known.device.as_str().to_owned(),
        label: known.info.label.unwrap_or_default(),
        platform: known.info.platform.unwrap_or_default(),
        app_version: known.info.app_version.unwrap_or_default(),
        pending_count: known.info.pending_count.unwrap_or_default(),
        first_seen_time: exported.first_seen.0,
        last_seen_time: known.last_seen.0,
        pulled_revision: exported.pulled.map(Revision::number).unwrap_or_default(),
        revoked_time: known.revoked_at.unwrap_or_default().0,
        batch_number: exported.batches,
        last_errors: exported.last_errors.into_iter().map(error).collect(),
    }
}

fn error(told: LastError) -> proto::LastError {
    let entity_id = told.entity_id.map(|id| id.to_string());
    proto::LastError {
        code: told.code,
        message: told.message,
        count: told.count,
        first_time: told.first_time,
        last_time: told.last_time,
        entity_type: told.entity_type.unwrap_or_default(),
        entity_id: entity_id.unwrap_or_default(),
    }
}

fn version(exported: ExportedVersion) -> proto::ExportedVersion {
    let message = proto::ExportedVersion {
        entity_type: exported.key.entity_type.as_str().to_owned(),
        entity_id: exported.key.entity_id.to_string(),
        version: exported.version.number(),
        revision: exported.revision.number(),
        deleted: exported.deleted,
        data: bytes(exported.document.as_ref()),
        data_removed: !exported.deleted && exported.document.is_none(),
        device_id: exported.device.as_str().to_owned(),
        edit_time: exported.edit_time.0,
        updated_at: exported.updated_at.0,
        mutation_id: exported.mutation.0.to_string(),
        resolution: written_resolution(exported.resolution).into(),
        cause: exported.cause.name().to_owned(),
        rule: exported.rule.map(Rule::number).unwrap_or_default().into(),
        policy: exported.policy.unwrap_or_default(),
        ..Default::default()
    };
    match exported.current {
        None => message,
        Some(current) => proto::ExportedVersion {
            created_at: current.created_at.0,
            base_version: current.base.map(Version::number).unwrap_or_default(),
            foreign_version: current.foreign_version.number(),
            clock_offset_ms: current.clock_offset_ms,
            began_at: current.began_at.map_or(0, |Millis(at)| at),
            ..message
        },
    }
}

fn losing_side(exported: LabelledSide) -> proto::ExportedLosingSide {
    let side = exported.side;
    proto::ExportedLosingSide {
        entity_type: side.key.entity_type.as_str().to_owned(),
        entity_id: side.key.entity_id.to_string(),
        mutation_id: side.mutation.0.to_string(),
        conflict_id: side.conflict.0.to_string(),
        device_id: side.device.as_str().to_owned(),
        base_version: side.base.number(),
        server_version: side.server_version.number(),
        deleted: exported.deleted,
        data: bytes(side.document.as_deref()),
        edit_time: side.edit_time.0,
        received_at: side.received_at.0,
    }
}
