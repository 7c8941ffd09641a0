//! How the whole is doing: who serves, the database, how much is written, and what waits for somebody.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::ask::{self, print_json};
use super::table::{said, table};
use super::{now, print};
use crate::config::{Config, Status};
use crate::domain::clock::Millis;
use crate::domain::moment::rfc3339;
use crate::store::Store;
use crate::store::overview::{Sessions, StuckDevice, StuckQuery};

/// What the service calls itself towards Postgres.
const APPLICATION: &str = "ironflow-sync";

/// A device with nothing queued counts as stuck if it is further behind than this: a day's training is some
/// dozens of revisions.
const FAR_BEHIND: i64 = 100;

/// Stuck devices listed: those seen last.
const STUCK_MAX: i64 = 100;

const HOUR_MS: i64 = 3_600_000;

/// How the whole is doing.
#[derive(Serialize)]
struct Overview {
    time: i64,
    version: &'static str,
    database: DatabaseLine,
    instances: Vec<SessionsLine>,
    other_sessions: Vec<SessionsLine>,
    users: i64,
    revisions: i64,
    revisions_per_s: Option<f64>,
    over_s: u64,
    open_conflicts: i64,
    users_in_conflict: i64,
    stuck_after_h: u32,
    stuck_count: i64,
    stuck_devices: Vec<StuckLine>,
}

/// The Postgres server.
#[derive(Serialize)]
struct DatabaseLine {
    server_version: String,
    size_bytes: i64,
    clock_ahead_ms: i64,
    connections: i64,
    connections_max: i32,
    standby: bool,
}

/// The connections of a program on a machine.
#[derive(Serialize)]
struct SessionsLine {
    application: String,
    client: Option<String>,
    connections: i64,
    busy: i64,
    since_time: Option<i64>,
}

/// A device that seems to be stuck.
#[derive(Serialize)]
struct StuckLine {
    user_id: String,
    device_id: String,
    pending_count: i32,
    last_seen_time: i64,
    revisions_behind: Option<i64>,
}

/// Tells how the whole is doing.
pub(super) async fn run(config: &Config, asked: &Status) -> Result<(), Box<dyn Error>> {
    let database = ask::open(config, "ironflow-sync status").await?;
    let overview = look(&database.store, asked).await;
    database.close().await;
    let overview = overview?;
    match asked.json {
        true => print_json(&overview)?,
        false => print(&text(&overview)),
    }
    Ok(())
}

async fn look(store: &Store, asked: &Status) -> Result<Overview, Box<dyn Error>> {
    // First of all: a session more of ours would be in it.
    let (server, sessions) = store.read_server().await?;
    let time = now();
    let before = store.count_scopes().await?;
    let query = StuckQuery {
        seen_before: Millis(time.0 - i64::from(asked.stuck_after_h) * HOUR_MS),
        behind: FAR_BEHIND,
        limit: STUCK_MAX,
    };
    let (stuck, stuck_count) = store.find_stuck(query).await?;
    let (after, rate) = match asked.over_s {
        0 => (before, None),
        over_s => {
            tokio::time::sleep(Duration::from_secs(over_s)).await;
            let after = store.count_scopes().await?;
            let passed_s = (now().0 - time.0).max(1) as f64 / 1_000.0;
            let written = (after.revisions - before.revisions).max(0);
            (after, Some(written as f64 / passed_s))
        }
    };
    let connections = sessions.iter().map(|sessions| sessions.connections).sum();
    let (instances, other_sessions) = sessions
        .into_iter()
        .map(sessions_line)
        .partition(|sessions| sessions.application == APPLICATION);
    Ok(Overview {
        time: time.0,
        version: env!("CARGO_PKG_VERSION"),
        database: DatabaseLine {
            server_version: server.version,
            size_bytes: server.bytes,
            clock_ahead_ms: server.now.0 - time.0,
            connections,
            connections_max: server.connections_max,
            standby: server.in_recovery,
        },
        instances,
        other_sessions,
        users: after.users,
        revisions: after.revisions,
        revisions_per_s: rate,
        over_s: asked.over_s,
        open_conflicts: after.open_conflicts,
        users_in_conflict: after.users_in_conflict,
        stuck_after_h: asked.stuck_after_h,
        stuck_count,
        stuck_devices: stuck.into_iter().map(stuck_line).collect(),
    })
}

fn sessions_line(sessions: Sessions) -> SessionsLine {
    SessionsLine {
        application: sessions.application,
        client: sessions.client,
        connections: sessions.connections,
        busy: sessions.busy,
        since_time: sessions.since.map(|at| at.0),
    }
}

fn stuck_line(stuck: StuckDevice) -> StuckLine {
    let scope = stuck.scope.as_str();
    StuckLine {
        user_id: scope.strip_prefix("user/").unwrap_or(scope).to_owned(),
        device_id: stuck.device.as_str().to_owned(),
        pending_count: stuck.pending_count,
        last_seen_time: stuck.last_seen.0,
        revisions_behind: stuck.behind,
    }
}

fn text(overview: &Overview) -> String {
    let database = &overview.database;
    let standby = if database.standby { ", a standby" } else { "" };
    let mut text = format!(
        "database\n  Postgres {}{standby}, {} MiB, {} of {} connections, clock {} ms ahead of this machine's\n\n",
        database.server_version,
        database.size_bytes / (1024 * 1024),
        database.connections,
        database.connections_max,
        database.clock_ahead_ms,
    );
    text.push_str("instances\n");
    if overview.instances.is_empty() {
        text.push_str("  none is connected\n");
    } else {
        let rows: Vec<[String; 4]> = overview.instances.iter().map(sessions_row).collect();
        text.push_str(&table(["machine", "connections", "busy", "since"], &rows));
    }
    let rate = match overview.revisions_per_s {
        Some(rate) => format!(", {rate:.1} a second over the last {} s", overview.over_s),
        None => String::new(),
    };
    text.push_str(&format!(
        "\nusers\n  {} users, {} revisions{rate}\n  {} open conflicts, of {} users\n\nstuck devices\n",
        overview.users, overview.revisions, overview.open_conflicts, overview.users_in_conflict,
    ));
    if overview.stuck_devices.is_empty() {
        text.push_str("  none\n");
        return text;
    }
    let row = |stuck: &StuckLine| {
        [
            said(Some(&stuck.user_id)),
            said(Some(&stuck.device_id)),
            stuck.pending_count.to_string(),
            stuck
                .revisions_behind
                .map_or_else(|| "never pulled".to_owned(), |behind| behind.to_string()),
            rfc3339(Millis(stuck.last_seen_time)),
        ]
    };
    let rows: Vec<[String; 5]> = overview.stuck_devices.iter().map(row).collect();
    text.push_str(&table(
        ["user", "device", "queued", "behind", "seen"],
        &rows,
    ));
    let left_out = overview.stuck_count - rows.len() as i64;
    if left_out > 0 {
        text.push_str(&format!("  and {left_out} more, seen longer ago\n"));
    }
    text
}

fn sessions_row(sessions: &SessionsLine) -> [String; 4] {
    [
        sessions
            .client
            .clone()
            .unwrap_or_else(|| "that of Postgres".to_owned()),
        sessions.connections.to_string(),
        sessions.busy.to_string(),
        sessions
            .since_time
            .map_or_else(String::new, |at| rfc3339(Millis(at))),
    ]
}
