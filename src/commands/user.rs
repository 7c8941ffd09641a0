//! One user, as the database knows them: how far each device has got, what waits, what is paid for.

use std::error::Error;

use serde::Serialize;

use super::ask::{self, account, print_json};
use super::table::{device, said, table};
use super::words::{outcome, why_duplicate};
use super::{now, print, user_id};
use crate::config::{Config, UserCommand};
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, Kind};
use crate::domain::decide::Rule;
use crate::domain::moment::rfc3339;
use crate::domain::scope::{Scope, UserId};
use crate::domain::standing::Subscription;
use crate::domain::version::Revision;
use crate::store::Store;
use crate::store::device::LastError;
use crate::store::export::{Account, ExportedDevice};
use crate::store::inbox::ConflictQuery;

/// Open conflicts shown: the ones that changed last.
const CONFLICTS_MAX: i64 = 100;

/// A user.
#[derive(Serialize)]
struct Shown {
    user_id: String,
    revision: i64,
    plan: &'static str,
    plan_expiry_time: Option<i64>,
    plan_expired: bool,
    entities: i64,
    old_versions: i64,
    losing_sides: i64,
    open_conflicts: i32,
    settled_conflicts: i64,
    devices: Vec<ShownDevice>,
    conflicts: Vec<ShownConflict>,
}

/// One of their devices.
#[derive(Serialize)]
struct ShownDevice {
    device_id: String,
    label: Option<String>,
    platform: Option<String>,
    app_version: Option<String>,
    pending_count: i32,
    first_seen_time: i64,
    last_seen_time: i64,
    revoked_time: Option<i64>,
    pulled_revision: Option<i64>,
    revisions_behind: i64,
    batch_number: i64,
    last_errors: Vec<LastError>,
}

/// An open conflict of theirs.
#[derive(Serialize)]
struct ShownConflict {
    conflict_id: String,
    kind: &'static str,
    entity_type: String,
    entity_id: String,
    possible_duplicate_of: Option<String>,
    device_id: String,
    device_label: Option<String>,
    base_version: i32,
    server_version: i32,
    rule: Option<i16>,
    policy: Option<String>,
    opened_time: i64,
    #[serde(skip)]
    text: String,
}

/// Runs a command about a user.
pub(super) async fn run(config: &Config, command: UserCommand) -> Result<(), Box<dyn Error>> {
    let UserCommand::Show { id, json } = command;
    let user = user_id("ID", &id)?;
    let database = ask::open(config, "ironflow-sync user").await?;
    let shown = show(&database.store, &user).await;
    database.close().await;
    let shown = shown?;
    match json {
        true => print_json(&shown)?,
        false => print(&text(&shown)),
    }
    Ok(())
}

async fn show(store: &Store, user: &UserId) -> Result<Shown, Box<dyn Error>> {
    let scope = Scope::of(user);
    let account = account(store, &scope).await?;
    let devices = devices(store, &scope).await?;
    let query = ConflictQuery {
        scope,
        open: true,
        entity_type: None,
        before: None,
        limit: CONFLICTS_MAX,
    };
    let conflicts = store.list_conflicts(&query).await?;
    let (plan, expires) = match account.paid {
        Subscription::Free => ("free", None),
        Subscription::Premium { until } => ("premium", until),
    };
    Ok(Shown {
        user_id: user.as_str().to_owned(),
        revision: account.revision.number(),
        plan,
        plan_expiry_time: expires.map(|at| at.0),
        plan_expired: expires.is_some_and(|at| at <= now()),
        entities: account.counts.entities,
        old_versions: account.counts.old_versions,
        losing_sides: account.counts.losing_sides,
        open_conflicts: conflicts.open,
        settled_conflicts: account.counts.conflicts - i64::from(conflicts.open),
        devices: devices
            .iter()
            .map(|device| shown_device(device, &account))
            .collect(),
        conflicts: conflicts.conflicts.into_iter().map(conflict).collect(),
    })
}

/// All devices of a user, the one seen last first.
pub(super) async fn devices(
    store: &Store,
    scope: &Scope,
) -> Result<Vec<ExportedDevice>, Box<dyn Error>> {
    let mut devices: Vec<ExportedDevice> = Vec::new();
    loop {
        let behind = devices.last().map(|last| last.known.device.clone());
        let page = store.export_devices(scope, behind.as_ref()).await?;
        if page.is_empty() {
            break;
        }
        devices.extend(page);
    }
    devices.sort_by_key(|device| std::cmp::Reverse(device.known.last_seen));
    Ok(devices)
}

fn shown_device(device: &ExportedDevice, account: &Account) -> ShownDevice {
    let (known, info) = (&device.known, &device.known.info);
    let pulled = device.pulled.map(Revision::number);
    ShownDevice {
        device_id: known.device.as_str().to_owned(),
        label: info.label.clone(),
        platform: info.platform.clone(),
        app_version: info.app_version.clone(),
        pending_count: info.pending_count.unwrap_or_default(),
        first_seen_time: device.first_seen.0,
        last_seen_time: known.last_seen.0,
        revoked_time: known.revoked_at.map(|at| at.0),
        pulled_revision: pulled,
        revisions_behind: (account.revision.number() - pulled.unwrap_or_default()).max(0),
        batch_number: device.batches,
        last_errors: device.last_errors.clone(),
    }
}

fn conflict((conflict, device_label): (Conflict, Option<String>)) -> ShownConflict {
    let text = match conflict.kind {
        Kind::Edit => outcome(&conflict),
        Kind::Duplicate { .. } => why_duplicate(&conflict),
    };
    ShownConflict {
        conflict_id: conflict.id.0.to_string(),
        kind: conflict.kind.name(),
        entity_type: conflict.key.entity_type.as_str().to_owned(),
        entity_id: conflict.key.entity_id.to_string(),
        possible_duplicate_of: conflict.kind.older_id().map(|id| id.to_string()),
        device_id: conflict.device.as_str().to_owned(),
        device_label,
        base_version: conflict.base.number(),
        server_version: conflict.server_version.number(),
        rule: conflict.rule.map(Rule::number),
        policy: conflict.policy.clone(),
        opened_time: conflict.opened_at.0,
        text,
    }
}

fn text(shown: &Shown) -> String {
    let paid = match (shown.plan_expiry_time, shown.plan_expired) {
        (None, _) => shown.plan.to_owned(),
        (Some(at), false) => format!("{} until {}", shown.plan, rfc3339(Millis(at))),
        (Some(at), true) => format!("{}, expired {}", shown.plan, rfc3339(Millis(at))),
    };
    let mut text = format!(
        "user {}\n  paid: {paid}\n  revision {}: {} entities, {} old versions, {} losing sides\n  conflicts: \
         {} open, {} settled\n\n",
        shown.user_id.escape_debug(),
        shown.revision,
        shown.entities,
        shown.old_versions,
        shown.losing_sides,
        shown.open_conflicts,
        shown.settled_conflicts,
    );
    let devices: Vec<[String; 7]> = shown.devices.iter().map(device_row).collect();
    let head = [
        "device",
        "app",
        "seen",
        "queued",
        "pulled to",
        "behind",
        "revoked",
    ];
    text.push_str(&table(head, &devices));
    let errors = |of: &ShownDevice| {
        let name = device(&of.device_id, of.label.as_deref());
        let row = move |error: &LastError| error_row(&name, error);
        of.last_errors.iter().map(row).collect::<Vec<_>>()
    };
    let errors: Vec<[String; 6]> = shown.devices.iter().flat_map(errors).collect();
    if !errors.is_empty() {
        let head = [
            "last errors of",
            "last",
            "times",
            "code",
            "entity",
            "what it was told",
        ];
        text.push('\n');
        text.push_str(&table(head, &errors));
    }
    if !shown.conflicts.is_empty() {
        let row = |open: &ShownConflict| {
            [
                open.entity_type.clone(),
                open.entity_id.clone(),
                device(&open.device_id, open.device_label.as_deref()),
                rfc3339(Millis(open.opened_time)),
                open.text.clone(),
            ]
        };
        let rows: Vec<[String; 5]> = shown.conflicts.iter().map(row).collect();
        let head = ["open conflict of", "entity", "device", "since", "which"];
        text.push('\n');
        text.push_str(&table(head, &rows));
    }
    text
}

fn error_row(device: &str, shown: &LastError) -> [String; 6] {
    let id = shown.entity_id.map(|id| id.to_string());
    let entity: Vec<String> = shown.entity_type.iter().cloned().chain(id).collect();
    [
        device.to_owned(),
        rfc3339(Millis(shown.last_time)),
        shown.count.to_string(),
        shown.code.clone(),
        entity.join(" "),
        shown.message.clone(),
    ]
}

fn device_row(shown: &ShownDevice) -> [String; 7] {
    let time = |at: i64| rfc3339(Millis(at));
    let said_of_app = [shown.platform.as_deref(), shown.app_version.as_deref()];
    let app: Vec<&str> = said_of_app.into_iter().flatten().collect();
    [
        device(&shown.device_id, shown.label.as_deref()),
        said(Some(&app.join(" "))),
        time(shown.last_seen_time),
        shown.pending_count.to_string(),
        shown
            .pulled_revision
            .map_or_else(|| "never".to_owned(), |at| at.to_string()),
        shown.revisions_behind.to_string(),
        shown.revoked_time.map_or_else(String::new, time),
    ]
}
