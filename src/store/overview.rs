//! Reading how the database as a whole is doing: the server, who is connected, and all users together.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Store;
use super::columns::{millis, optional_millis, parsed, system_time, unexpected};
use super::session::Behalf;
use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::error::Fault;

const READ_SERVER: &str = include_str!("sql/read_server.sql");
const LIST_SESSIONS: &str = include_str!("sql/list_sessions.sql");
const COUNT_SCOPES: &str = include_str!("sql/count_scopes.sql");
const FIND_STUCK: &str = include_str!("sql/find_stuck.sql");

/// The Postgres server.
#[derive(Debug)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// The size of the database.
    pub bytes: i64,
    /// Its clock.
    pub now: Millis,
    /// How many connections it takes.
    pub connections_max: i32,
    /// It is a standby: nothing can be written.
    pub in_recovery: bool,
}

/// The sessions of one program on one machine.
#[derive(Debug)]
pub struct Sessions {
    /// What the program calls itself.
    pub application: String,
    /// The address of the machine; `None`: the one Postgres is on.
    pub client: Option<String>,
    /// How many.
    pub connections: i64,
    /// How many of them do something.
    pub busy: i64,
    /// When the oldest began.
    pub since: Option<Millis>,
}

/// All users together.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// Users that have ever synced and were not deleted.
    pub users: i64,
    /// Revisions given out, the library's included.
    pub revisions: i64,
    /// Conflicts that wait for a person.
    pub open_conflicts: i64,
    /// Users who have one.
    pub users_in_conflict: i64,
}

/// Which devices seem to be stuck.
#[derive(Debug, Clone, Copy)]
pub struct StuckQuery {
    /// Not seen since then.
    pub seen_before: Millis,
    /// With nothing queued: more than so many revisions behind.
    pub behind: i64,
    /// How many to list at most.
    pub limit: i64,
}

/// A device that seems to be stuck.
#[derive(Debug)]
pub struct StuckDevice {
    /// Whose.
    pub scope: Scope,
    /// Which.
    pub device: DeviceId,
    /// What it had queued when it last pushed.
    pub pending_count: i32,
    /// When it was last seen.
    pub last_seen: Millis,
    /// How many revisions it is behind; `None`: it never pulled.
    pub behind: Option<i64>,
}

impl Store {
    /// Reads what the server says of itself, and who else is connected to the database.
    pub async fn read_server(&self) -> Result<(Server, Vec<Sessions>), Fault> {
        let login = self.owner().await?;
        let row = login.query_one(READ_SERVER, &[]).await?;
        let server = Server {
            version: row.try_get("version")?,
            bytes: row.try_get("bytes")?,
            now: millis(&row, "now")?,
            connections_max: row.try_get("connections_max")?,
            in_recovery: row.try_get("in_recovery")?,
        };
        let sessions = login.query(LIST_SESSIONS, &[]).await?;
        let sessions = sessions.iter().map(sessions_of).collect::<Result<_, _>>()?;
        Ok((server, sessions))
    }

    /// Counts over all users.
    pub async fn count_scopes(&self) -> Result<Totals, Fault> {
        let row = self.ask_opt(Behalf::Keeper, COUNT_SCOPES, &[]).await?;
        let row = row.ok_or_else(|| unexpected("users"))?;
        Ok(Totals {
            users: row.try_get("users")?,
            revisions: row.try_get("revisions")?,
            open_conflicts: row.try_get("open_conflicts")?,
            users_in_conflict: row.try_get("users_in_conflict")?,
        })
    }

    /// Finds devices that seem to be stuck, the one seen last first, and how many there are.
    pub async fn find_stuck(&self, query: StuckQuery) -> Result<(Vec<StuckDevice>, i64), Fault> {
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&system_time(query.seen_before), &query.behind, &query.limit];
        let rows = self.ask(Behalf::Keeper, FIND_STUCK, &parameters).await?;
        let all = rows.first().map_or(Ok(0), |row| row.try_get("all_stuck"))?;
        let devices: Result<_, Fault> = rows.iter().map(stuck_device).collect();
        Ok((devices?, all))
    }
}

fn sessions_of(row: &Row) -> Result<Sessions, Fault> {
    Ok(Sessions {
        application: row.try_get("application")?,
        client: row.try_get("client")?,
        connections: row.try_get("connections")?,
        busy: row.try_get("busy")?,
        since: optional_millis(row, "since")?,
    })
}

fn stuck_device(row: &Row) -> Result<StuckDevice, Fault> {
    Ok(StuckDevice {
        scope: parsed(row, "scope", Scope::from_store)?,
        device: parsed(row, "device_id", DeviceId::new)?,
        pending_count: row.try_get("pending_count")?,
        last_seen: millis(row, "last_seen_at")?,
        behind: row.try_get("behind")?,
    })
}
