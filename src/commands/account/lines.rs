//! An export as lines of JSON.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::conflict::Conflict;
use crate::domain::decide::Rule;
use crate::domain::entity::Document;
use crate::domain::standing::Subscription;
use crate::domain::version::{Revision, Version};
use crate::export::Record;
use crate::store::export::{Counts, ExportedDevice, ExportedVersion};
use crate::store::inbox::LabelledSide;

/// A line of an export. Its names are those of the protocol's messages and never change; data is JSON, times
/// are milliseconds since the Unix epoch; what is unknown is null.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Account {
        user_id: &'a str,
        export_time: i64,
        revision: i64,
        counts: CountsLine,
        subscribed: bool,
        subscription_expiry_time: Option<i64>,
    },
    Device(DeviceLine<'a>),
    Entity(Box<VersionLine<'a>>),
    OldVersion(Box<VersionLine<'a>>),
    LosingSide(SideLine<'a>),
    Conflict(Box<ConflictLine<'a>>),
    Done {
        counts: CountsLine,
    },
}

#[derive(Serialize)]
pub(super) struct CountsLine {
    devices: i64,
    entities: i64,
    old_versions: i64,
    losing_sides: i64,
    conflicts: i64,
}

#[derive(Serialize)]
pub(super) struct DeviceLine<'a> {
    device_id: &'a str,
    label: Option<&'a str>,
    platform: Option<&'a str>,
    app_version: Option<&'a str>,
    pending_count: Option<i32>,
    first_seen_time: i64,
    last_seen_time: i64,
    pulled_revision: Option<i64>,
    revoked_time: Option<i64>,
    batch_number: i64,
}

#[derive(Serialize)]
pub(super) struct VersionLine<'a> {
    entity_type: &'a str,
    entity_id: String,
    version: i32,
    revision: i64,
    deleted: bool,
    data: Option<&'a RawValue>,
    data_removed: bool,
    device_id: &'a str,
    edit_time: i64,
    created_at: Option<i64>,
    updated_at: i64,
    mutation_id: String,
    resolution: &'static str,
    cause: &'static str,
    rule: Option<i16>,
    policy: Option<&'a str>,
    base_version: Option<i32>,
    foreign_version: Option<i32>,
    clock_offset_ms: Option<i64>,
    began_at: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct SideLine<'a> {
    entity_type: &'a str,
    entity_id: String,
    mutation_id: String,
    conflict_id: String,
    device_id: &'a str,
    base_version: i32,
    server_version: i32,
    deleted: bool,
    data: Option<&'a RawValue>,
    edit_time: i64,
    received_at: i64,
}

#[derive(Serialize)]
pub(super) struct ConflictLine<'a> {
    conflict_id: String,
    kind: &'static str,
    entity_type: &'a str,
    entity_id: String,
    possible_duplicate_of: Option<String>,
    open: bool,
    device_id: &'a str,
    base_version: i32,
    server_version: i32,
    rule: Option<i16>,
    policy: Option<&'a str>,
    asked: bool,
    opened_at: i64,
    settlement: Option<&'static str>,
    settled_by_device_id: Option<&'a str>,
    settled_at: Option<i64>,
    settled_version: Option<i32>,
}

impl<'a> Line<'a> {
    /// The line of a record.
    pub(super) fn of(record: &'a Record) -> Result<Self, serde_json::Error> {
        Ok(match record {
            Record::Account { user, at, account } => Self::Account {
                user_id: user.as_str(),
                export_time: at.0,
                revision: account.revision.number(),
                counts: counts(account.counts),
                subscribed: account.paid != Subscription::Free,
                subscription_expiry_time: account.paid.until().map(|at| at.0),
            },
            Record::Device(device) => Self::Device(device_line(device)),
            Record::Entity(entity) => Self::Entity(Box::new(version_line(entity)?)),
            Record::OldVersion(old) => Self::OldVersion(Box::new(version_line(old)?)),
            Record::LosingSide(side) => Self::LosingSide(side_line(side)?),
            Record::Conflict(conflict) => Self::Conflict(Box::new(conflict_line(conflict))),
            Record::Done(done) => Self::Done {
                counts: counts(*done),
            },
        })
    }
}

fn counts(counts: Counts) -> CountsLine {
    CountsLine {
        devices: counts.devices,
        entities: counts.entities,
        old_versions: counts.old_versions,
        losing_sides: counts.losing_sides,
        conflicts: counts.conflicts,
    }
}

fn device_line(exported: &ExportedDevice) -> DeviceLine<'_> {
    let info = &exported.known.info;
    DeviceLine {
        device_id: exported.known.device.as_str(),
        label: info.label.as_deref(),
        platform: info.platform.as_deref(),
        app_version: info.app_version.as_deref(),
        pending_count: info.pending_count,
        first_seen_time: exported.first_seen.0,
        last_seen_time: exported.known.last_seen.0,
        pulled_revision: exported.pulled.map(Revision::number),
        revoked_time: exported.known.revoked_at.map(|at| at.0),
        batch_number: exported.batches,
    }
}

fn version_line(exported: &ExportedVersion) -> Result<VersionLine<'_>, serde_json::Error> {
    let current = exported.current.as_ref();
    Ok(VersionLine {
        entity_type: exported.key.entity_type.as_str(),
        entity_id: exported.key.entity_id.to_string(),
        version: exported.version.number(),
        revision: exported.revision.number(),
        deleted: exported.deleted,
        data: data(exported.document.as_ref())?,
        data_removed: !exported.deleted && exported.document.is_none(),
        device_id: exported.device.as_str(),
        edit_time: exported.edit_time.0,
        created_at: current.map(|current| current.created_at.0),
        updated_at: exported.updated_at.0,
        mutation_id: exported.mutation.0.to_string(),
        resolution: exported.resolution.name(),
        cause: exported.cause.name(),
        rule: exported.rule.map(Rule::number),
        policy: exported.policy.as_deref(),
        base_version: current
            .and_then(|current| current.base)
            .map(Version::number),
        foreign_version: current.map(|current| current.foreign_version.number()),
        clock_offset_ms: current.map(|current| current.clock_offset_ms),
        began_at: current.and_then(|current| current.began_at).map(|at| at.0),
    })
}

fn side_line(exported: &LabelledSide) -> Result<SideLine<'_>, serde_json::Error> {
    let side = &exported.side;
    Ok(SideLine {
        entity_type: side.key.entity_type.as_str(),
        entity_id: side.key.entity_id.to_string(),
        mutation_id: side.mutation.0.to_string(),
        conflict_id: side.conflict.0.to_string(),
        device_id: side.device.as_str(),
        base_version: side.base.number(),
        server_version: side.server_version.number(),
        deleted: exported.deleted,
        data: data(side.document.as_deref())?,
        edit_time: side.edit_time.0,
        received_at: side.received_at.0,
    })
}

fn conflict_line(conflict: &Conflict) -> ConflictLine<'_> {
    let settled = conflict.settled.as_ref();
    ConflictLine {
        conflict_id: conflict.id.0.to_string(),
        kind: conflict.kind.name(),
        entity_type: conflict.key.entity_type.as_str(),
        entity_id: conflict.key.entity_id.to_string(),
        possible_duplicate_of: conflict.kind.older_id().map(|id| id.to_string()),
        open: settled.is_none(),
        device_id: conflict.device.as_str(),
        base_version: conflict.base.number(),
        server_version: conflict.server_version.number(),
        rule: conflict.rule.map(Rule::number),
        policy: conflict.policy.as_deref(),
        asked: conflict.asked,
        opened_at: conflict.opened_at.0,
        settlement: settled.map(|settled| settled.settlement.name()),
        settled_by_device_id: settled.map(|settled| settled.by.as_str()),
        settled_at: settled.map(|settled| settled.at.0),
        settled_version: settled.map(|settled| settled.version.number()),
    }
}

/// Data as it is: no number loses a digit.
fn data(document: Option<&Document>) -> Result<Option<&RawValue>, serde_json::Error> {
    document
        .map(|document| serde_json::from_str(document.text()))
        .transpose()
}
