//! What is told of an entity, as JSON and as text.

use std::fmt::Write as _;

use serde::Serialize;
use uuid::Uuid;

use super::super::table::{device, table};
use super::super::words::{why_duplicate, why_kept, why_written};
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, Kind};
use crate::domain::decide::Rule;
use crate::domain::entity::EntityKey;
use crate::domain::moment::rfc3339;
use crate::domain::scope::UserId;
use crate::domain::version::Revision;
use crate::store::explain::{Explained, ExplainedSide, ExplainedVersion};
use crate::store::export::ExportedDevice;

/// The entities of a user that have an id: of each type one at most.
#[derive(Serialize)]
pub(super) struct Answer {
    user_id: String,
    entity_id: String,
    revision: i64,
    entities: Vec<ExplainedEntity>,
}

/// What happened to an entity, and which device knows of it.
#[derive(Serialize)]
pub(super) struct ExplainedEntity {
    entity_type: String,
    version: i32,
    version_revision: i64,
    deleted: bool,
    /// In order. Times are milliseconds.
    events: Vec<Event>,
    possible_duplicates: Vec<Duplicate>,
    /// None for a shared entity: how far devices have read those is not kept.
    devices: Vec<DeviceLine>,
    cut_off: bool,
}

/// A version was written, or a side was kept.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Version(Box<VersionEvent>),
    LosingSide(Box<SideEvent>),
}

#[derive(Serialize)]
struct VersionEvent {
    version: i32,
    revision: i64,
    time: i64,
    edit_time: i64,
    device_id: String,
    device_label: Option<String>,
    current: bool,
    deleted: bool,
    data_removed: bool,
    mutation_id: String,
    resolution: &'static str,
    cause: &'static str,
    rule: Option<i16>,
    policy: Option<String>,
    why: String,
}

#[derive(Serialize)]
struct SideEvent {
    base_version: i32,
    server_version: i32,
    time: i64,
    edit_time: i64,
    device_id: String,
    device_label: Option<String>,
    deleted: bool,
    mutation_id: String,
    conflict_id: String,
    rule: Option<i16>,
    policy: Option<String>,
    open: bool,
    settlement: Option<&'static str>,
    settled_by_device_id: Option<String>,
    settled_time: Option<i64>,
    settled_version: Option<i32>,
    why: String,
}

#[derive(Serialize)]
struct Duplicate {
    conflict_id: String,
    entity_id: String,
    possible_duplicate_of: String,
    device_id: String,
    opened_time: i64,
    open: bool,
    settlement: Option<&'static str>,
    why: String,
}

#[derive(Serialize)]
struct DeviceLine {
    device_id: String,
    label: Option<String>,
    last_seen_time: i64,
    revoked_time: Option<i64>,
    pulled_revision: Option<i64>,
    /// The newest version it has pulled or written itself; 0: none.
    seen_version: i32,
    up_to_date: bool,
}

impl Answer {
    /// About an id of a user, whose scope has got to a revision.
    pub(super) fn new(
        user: &UserId,
        id: Uuid,
        revision: Revision,
        entities: Vec<ExplainedEntity>,
    ) -> Self {
        Self {
            user_id: user.as_str().to_owned(),
            entity_id: id.to_string(),
            revision: revision.number(),
            entities,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let texts: Vec<String> = self
            .entities
            .iter()
            .map(|entity| entity.text(self))
            .collect();
        texts.join("\n")
    }
}

impl ExplainedEntity {
    /// Of what was read.
    pub(super) fn of(key: &EntityKey, explained: &Explained, devices: &[ExportedDevice]) -> Self {
        let edits = explained.conflicts.iter().map(|(conflict, _)| conflict);
        let find = |side: &ExplainedSide| edits.clone().find(|edit| edit.id == side.conflict);
        // A side stands behind the version it met.
        let versions = explained.versions.iter().map(|version| {
            let place = (version.version, 0, version.updated_at);
            (place, Event::Version(Box::new(version_event(version))))
        });
        let sides = explained.sides.iter().map(|side| {
            let place = (side.server_version, 1, side.received_at);
            (
                place,
                Event::LosingSide(Box::new(side_event(side, find(side)))),
            )
        });
        let mut events: Vec<_> = versions.chain(sides).collect();
        events.sort_by_key(|(place, _)| *place);
        let current = explained.versions.first();
        Self {
            entity_type: key.entity_type.as_str().to_owned(),
            version: current.map_or(0, |current| current.version.number()),
            version_revision: current.map_or(0, |current| current.revision.number()),
            deleted: current.is_some_and(|current| current.deleted),
            events: events.into_iter().map(|(_, event)| event).collect(),
            possible_duplicates: edits.clone().filter_map(duplicate).collect(),
            devices: devices
                .iter()
                .map(|device| device_line(device, &explained.versions))
                .collect(),
            cut_off: explained.cut_off,
        }
    }

    fn text(&self, answer: &Answer) -> String {
        let deleted = if self.deleted { ", deleted" } else { "" };
        let mut text = format!(
            "{} {} of {}: version {}{deleted}\n\n",
            self.entity_type,
            answer.entity_id,
            answer.user_id.escape_debug(),
            self.version,
        );
        if self.cut_off {
            text.push_str("  (what is older is left out)\n");
        }
        let events: Vec<[String; 4]> = self.events.iter().map(Event::row).collect();
        text.push_str(&table(["when", "what", "device", "why"], &events));
        for duplicate in &self.possible_duplicates {
            // Writing to a String does not fail.
            let _ = writeln!(text, "\n  {}", duplicate.why);
        }
        if !self.devices.is_empty() {
            let rows: Vec<[String; 4]> = self.devices.iter().map(|line| line.row(self)).collect();
            text.push('\n');
            text.push_str(&table(["device", "has", "seen", "so"], &rows));
        }
        text
    }
}

impl Event {
    fn row(&self) -> [String; 4] {
        let (at, what, id, label, why) = match self {
            Self::Version(version) => (
                version.time,
                format!("version {}", version.version),
                &version.device_id,
                &version.device_label,
                &version.why,
            ),
            Self::LosingSide(side) => (
                side.time,
                format!("edit of {}, kept", side.base_version),
                &side.device_id,
                &side.device_label,
                &side.why,
            ),
        };
        let device = device(id, label.as_deref());
        [rfc3339(Millis(at)), what, device, why.clone()]
    }
}

impl DeviceLine {
    fn row(&self, entity: &ExplainedEntity) -> [String; 4] {
        let has = match self.seen_version {
            0 => "nothing of it".to_owned(),
            version => format!("version {version}"),
        };
        let so = match (self.revoked_time, self.up_to_date) {
            (Some(at), _) => format!("revoked {}: it is told nothing", rfc3339(Millis(at))),
            (None, true) => "up to date".to_owned(),
            (None, false) => format!(
                "has not told yet that it has version {}: it gets it at its next pull",
                entity.version
            ),
        };
        let device = device(&self.device_id, self.label.as_deref());
        [device, has, rfc3339(Millis(self.last_seen_time)), so]
    }
}

fn version_event(version: &ExplainedVersion) -> VersionEvent {
    VersionEvent {
        version: version.version.number(),
        revision: version.revision.number(),
        time: version.updated_at.0,
        edit_time: version.edit_time.0,
        device_id: version.device.as_str().to_owned(),
        device_label: version.device_label.clone(),
        current: version.current,
        deleted: version.deleted,
        data_removed: version.emptied,
        mutation_id: version.mutation.0.to_string(),
        resolution: version.resolution.name(),
        cause: version.cause.name(),
        rule: version.rule.map(Rule::number),
        policy: version.policy.clone(),
        why: why_written(version),
    }
}

fn side_event(side: &ExplainedSide, conflict: Option<&Conflict>) -> SideEvent {
    let settled = conflict.and_then(|conflict| conflict.settled.as_ref());
    SideEvent {
        base_version: side.base.number(),
        server_version: side.server_version.number(),
        time: side.received_at.0,
        edit_time: side.edit_time.0,
        device_id: side.device.as_str().to_owned(),
        device_label: side.device_label.clone(),
        deleted: side.deleted,
        mutation_id: side.mutation.0.to_string(),
        conflict_id: side.conflict.0.to_string(),
        rule: conflict
            .and_then(|conflict| conflict.rule)
            .map(Rule::number),
        policy: conflict.and_then(|conflict| conflict.policy.clone()),
        open: conflict.is_some_and(|conflict| conflict.settled.is_none()),
        settlement: settled.map(|settled| settled.settlement.name()),
        settled_by_device_id: settled.map(|settled| settled.by.as_str().to_owned()),
        settled_time: settled.map(|settled| settled.at.0),
        settled_version: settled.map(|settled| settled.version.number()),
        why: why_kept(conflict),
    }
}

fn duplicate(conflict: &Conflict) -> Option<Duplicate> {
    let of = match conflict.kind {
        Kind::Edit => return None,
        Kind::Duplicate { of } => of,
    };
    let settled = conflict.settled.as_ref();
    Some(Duplicate {
        conflict_id: conflict.id.0.to_string(),
        entity_id: conflict.key.entity_id.to_string(),
        possible_duplicate_of: of.to_string(),
        device_id: conflict.device.as_str().to_owned(),
        opened_time: conflict.opened_at.0,
        open: settled.is_none(),
        settlement: settled.map(|settled| settled.settlement.name()),
        why: why_duplicate(conflict),
    })
}

/// What a device has of an entity: what it pulled, and what it wrote.
fn device_line(device: &ExportedDevice, versions: &[ExplainedVersion]) -> DeviceLine {
    let known = &device.known;
    let has = |version: &&ExplainedVersion| {
        version.device == known.device
            || device
                .pulled
                .is_some_and(|pulled| version.revision <= pulled)
    };
    let seen = versions.iter().find(has);
    DeviceLine {
        device_id: known.device.as_str().to_owned(),
        label: known.info.label.clone(),
        last_seen_time: known.last_seen.0,
        revoked_time: known.revoked_at.map(|at| at.0),
        pulled_revision: device.pulled.map(Revision::number),
        seen_version: seen.map_or(0, |seen| seen.version.number()),
        up_to_date: seen.is_some_and(|seen| seen.current),
    }
}
