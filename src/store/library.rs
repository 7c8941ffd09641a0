//! What loading the shared library asks of Postgres beside pushing it.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Store;
use crate::domain::entity::EntityType;
use crate::domain::scope::Scope;
use crate::error::Fault;

const LIST_ENTITIES: &str = include_str!("sql/list_entities.sql");

impl Store {
    /// The ids of the live entities of one type.
    pub async fn list_entities(
        &self,
        scope: &Scope,
        entity_type: &EntityType,
    ) -> Result<Vec<Uuid>, Fault> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&scope.as_str(), &entity_type.as_str()];
        let rows = self.ask(scope, LIST_ENTITIES, &parameters).await?;
        rows.iter()
            .map(|row| Ok(row.try_get("entity_id")?))
            .collect()
    }
}
