//! Conflicts as rows.

use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{millis, parsed, version};
use crate::domain::conflict::{Conflict, ConflictId, Kind, Settled, Settlement};
use crate::domain::decide::Rule;
use crate::domain::entity::{EntityKey, EntityType, MutationId};
use crate::domain::scope::DeviceId;
use crate::error::Fault;

/// A row with all columns of `conflicts`.
pub(super) fn conflict(row: &Row) -> Result<Conflict, Fault> {
    let other: Option<Uuid> = row.try_get("other_id")?;
    let rule: Option<i16> = row.try_get("rule")?;
    Ok(Conflict {
        id: ConflictId(row.try_get("conflict_id")?),
        kind: match other {
            Some(of) => Kind::Duplicate { of },
            None => Kind::Edit,
        },
        key: EntityKey {
            entity_type: parsed(row, "entity_type", EntityType::new)?,
            entity_id: row.try_get("entity_id")?,
        },
        device: parsed(row, "device_id", DeviceId::new)?,
        mutation: MutationId(row.try_get("mutation_id")?),
        base: version(row, "base_version")?,
        server_version: version(row, "server_version")?,
        rule: rule.and_then(Rule::of_number),
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
