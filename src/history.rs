//! What an entity held before. Old versions are brought back by [`crate::push::resolve`].

use crate::domain::catalog::Catalog;
use crate::domain::entity::EntityKey;
use crate::domain::scope::Scope;
use crate::error::CallError;
use crate::store::Store;
use crate::store::history::{HistoryPage, HistoryPlace, HistoryQuery};

/// Whose history of what, and which part of it.
#[derive(Debug)]
pub struct HistoryRequest {
    /// Whose.
    pub scope: Scope,
    /// The entity.
    pub key: EntityKey,
    /// Only what is older than this.
    pub behind: Option<HistoryPlace>,
    /// How many entries at most.
    pub limit: i64,
}

/// Reads a page of the versions and losing sides of an entity.
///
/// The versions of a shared entity are everybody's; what a user's devices sent and lost with is theirs.
pub async fn history(
    store: &Store,
    catalog: &Catalog,
    request: HistoryRequest,
) -> Result<HistoryPage, CallError> {
    let query = HistoryQuery {
        versions_in: catalog.home(&request.key.entity_type, &request.scope),
        sides_in: request.scope,
        key: request.key,
        behind: request.behind,
        limit: request.limit,
    };
    store.list_versions(&query).await
}
