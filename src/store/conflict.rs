//! Conflicts as rows.

use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{entity_key, millis, parsed, rule, version};
use crate::domain::conflict::{Conflict, ConflictId, Kind, Settled, Settlement};
use crate::domain::entity::MutationId;
use crate::domain::scope::DeviceId;
use crate::error::Fault;

/// A row with all columns of `conflicts`.
pub(super) fn conflict(row: &Row) -> Result<Conflict, Fault> {
    let other: Option<Uuid> = row.try_get("other_id")?;
    Ok(Conflict {
        id: ConflictId(row.try_get("conflict_id")?),
        kind: match other {
            Some(of) => Kind::Duplicate { of },
            None => Kind::Edit,
        },
        key: entity_key(row)?,
        device: parsed(row, "device_id", DeviceId::new)?,
        mutation: MutationId(row.try_get("mutation_id")?),
        base: version(row, "base_version")?,
        server_version: version(row, "server_version")?,
        rule: rule(row)?,
        policy: row.try_get("policy")?,
        asked: row.try_get("asked")?,
        opened_at: millis(row, "opened_at")?,
        settled: match row.try_get("open")? {
            true => None,
            false => Some(settled(row)?),
        },
    })
}

fn settled(row: &Row) -> Result<Settled, Fault> {
    let settlement = |name: &str| Settlement::ALL.into_iter().find(|s| s.name() == name);
    Ok(Settled {
        settlement: parsed(row, "settlement", settlement)?,
        by: parsed(row, "settled_by", DeviceId::new)?,
        at: millis(row, "settled_at")?,
        version: version(row, "settled_version")?,
    })
}
