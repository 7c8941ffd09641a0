//! Reading how an entity came to be as it is: its versions, losing sides and conflicts, without what they hold.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use super::columns::{cause, millis, parsed, resolution, revision, rule, version};
use super::inbox::labelled;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId};
use crate::domain::decide::{Resolution, Rule};
use crate::domain::entity::{EntityKey, EntityType, MutationId};
use crate::domain::plan::Cause;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::version::{Revision, Version};
use crate::error::{CallError, Fault};

const EXPLAIN_TYPES: &str = include_str!("sql/explain_types.sql");
const EXPLAIN_VERSIONS: &str = include_str!("sql/explain_versions.sql");
const EXPLAIN_SIDES: &str = include_str!("sql/explain_sides.sql");
const EXPLAIN_CONFLICTS: &str = include_str!("sql/explain_conflicts.sql");

/// Rows of each kind at most: more than a person reads.
const ROWS_MAX: i64 = 1_000;

/// What happened to an entity, each list with the newest first.
#[derive(Debug)]
pub struct Explained {
    /// Its versions.
    pub versions: Vec<ExplainedVersion>,
    /// What devices sent and lost with.
    pub sides: Vec<ExplainedSide>,
    /// The conflicts it was in, each with the label of its device.
    pub conflicts: Vec<(Conflict, Option<String>)>,
    /// There is more than is listed: the oldest is left out.
    pub cut_off: bool,
}

/// A version, and why it was written.
#[derive(Debug)]
pub struct ExplainedVersion {
    /// The version.
    pub version: Version,
    /// Its place in the order of changes.
    pub revision: Revision,
    /// It is what the entity holds now.
    pub current: bool,
    /// It deleted the entity.
    pub deleted: bool,
    /// Retention has removed its data.
    pub emptied: bool,
    /// Who wrote it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server wrote it.
    pub updated_at: Millis,
    /// The edit.
    pub mutation: MutationId,
    /// How it was settled.
    pub resolution: Resolution,
    /// What made it.
    pub cause: Cause,
    /// The rule that decided; `None`: from before this was kept.
    pub rule: Option<Rule>,
    /// The policy, for rule 9.
    pub policy: Option<String>,
}

/// What a device sent and lost with.
#[derive(Debug)]
pub struct ExplainedSide {
    /// The edit.
    pub mutation: MutationId,
    /// Its conflict.
    pub conflict: ConflictId,
    /// Who sent it.
    pub device: DeviceId,
    /// What that device is called.
    pub device_label: Option<String>,
    /// What it started from.
    pub base: Version,
    /// The version it met.
    pub server_version: Version,
    /// It would have deleted the entity.
    pub deleted: bool,
    /// When the edit was made.
    pub edit_time: Millis,
    /// When the server received it.
    pub received_at: Millis,
}

impl Store {
    /// Of which of these types there is an entity with this id, in the user's scope or another one they may read.
    pub async fn explain_types(
        &self,
        user: &Scope,
        home: &Scope,
        types: &[EntityType],
        id: Uuid,
    ) -> Result<Vec<EntityType>, CallError> {
        let types: Vec<&str> = types.iter().map(EntityType::as_str).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&home.as_str(), &types, &id];
        let rows = self.ask_account(user, EXPLAIN_TYPES, &parameters).await?;
        let types = rows
            .iter()
            .map(|row| parsed(row, "entity_type", EntityType::new));
        Ok(types.collect::<Result<_, Fault>>()?)
    }

    /// Reads what happened to an entity of a user, or to a shared one (whose home is elsewhere) as that user
    /// met it.
    pub async fn explain(
        &self,
        user: &Scope,
        home: &Scope,
        key: &EntityKey,
    ) -> Result<Explained, Fault> {
        let (entity_type, one_more) = (key.entity_type.as_str(), ROWS_MAX + 1);
        let of_home: [&(dyn ToSql + Sync); 4] =
            [&home.as_str(), &entity_type, &key.entity_id, &one_more];
        let of_user: [&(dyn ToSql + Sync); 4] =
            [&user.as_str(), &entity_type, &key.entity_id, &one_more];
        let session = self.session().await?;
        let questions = [
            (EXPLAIN_VERSIONS, of_home.as_slice()),
            (EXPLAIN_SIDES, of_user.as_slice()),
            (EXPLAIN_CONFLICTS, of_user.as_slice()),
        ];
        let mut answers = session.ask(user, questions).await?;
        let mut cut_off = false;
        for rows in &mut answers {
            cut_off |= rows.len() as i64 > ROWS_MAX;
            rows.truncate(ROWS_MAX as usize);
        }
        let [versions, sides, conflicts] = answers;
        Ok(Explained {
            versions: versions
                .iter()
                .map(explained_version)
                .collect::<Result<_, _>>()?,
            sides: sides.iter().map(explained_side).collect::<Result<_, _>>()?,
            conflicts: conflicts.iter().map(labelled).collect::<Result<_, _>>()?,
            cut_off,
        })
    }
}

fn explained_version(row: &Row) -> Result<ExplainedVersion, Fault> {
    Ok(ExplainedVersion {
        version: version(row, "version")?,
        revision: revision(row, "revision")?,
        current: row.try_get("current")?,
        deleted: row.try_get("deleted")?,
        emptied: row.try_get("emptied")?,
        device: parsed(row, "device_id", DeviceId::new)?,
        device_label: row.try_get("device_label")?,
        edit_time: millis(row, "edit_time")?,
        updated_at: millis(row, "updated_at")?,
        mutation: MutationId(row.try_get("mutation_id")?),
        resolution: parsed(row, "resolution", resolution)?,
        cause: parsed(row, "cause", cause)?,
        rule: rule(row)?,
        policy: row.try_get("policy")?,
    })
}

fn explained_side(row: &Row) -> Result<ExplainedSide, Fault> {
    Ok(ExplainedSide {
        mutation: MutationId(row.try_get("mutation_id")?),
        conflict: ConflictId(row.try_get("conflict_id")?),
        device: parsed(row, "device_id", DeviceId::new)?,
        device_label: row.try_get("device_label")?,
        base: version(row, "base_version")?,
        server_version: version(row, "server_version")?,
        deleted: row.try_get("deleted")?,
        edit_time: millis(row, "edit_time")?,
        received_at: millis(row, "received_at")?,
    })
}
