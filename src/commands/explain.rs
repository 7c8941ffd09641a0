//! How an entity came to be as it is: "why does my tablet show the old workout?"

mod lines;

use std::error::Error;

use thiserror::Error as ThisError;
use uuid::Uuid;

use lines::{Answer, ExplainedEntity};

use super::ask::{self, account, print_json};
use super::user::devices;
use super::{catalog, print, user_id};
use crate::config::{Config, Explain};
use crate::domain::catalog::Catalog;
use crate::domain::entity::{ENTITY_TYPE_BYTES_MAX, EntityKey, EntityType};
use crate::domain::item::uuid;
use crate::domain::scope::{Scope, UserId};
use crate::store::Store;

/// Why there is nothing to explain.
#[derive(Debug, ThisError)]
enum ExplainError {
    #[error("--entity: expected the id of an entity, a UUID with hyphens")]
    Entity,
    #[error(
        "--type: expected a name of 1-{ENTITY_TYPE_BYTES_MAX} lower-case letters, digits and underscores"
    )]
    Type,
    #[error(
        "this user has no entity of this id among the types of the catalog, and never had: no device has \
         brought it here yet, or it is of a type to be named with --type"
    )]
    Unknown,
    #[error(
        "this user has no entity of this type and id, and never had: no device has brought it here yet"
    )]
    UnknownOfType,
}

/// Explains an entity, or those that have its id.
pub(super) async fn run(config: &Config, asked: &Explain) -> Result<(), Box<dyn Error>> {
    let user = user_id("--user", &asked.user)?;
    let id = uuid(&asked.entity).ok_or(ExplainError::Entity)?;
    let named = asked.entity_type.as_deref();
    let named = named.map(|name| EntityType::new(name).ok_or(ExplainError::Type));
    let named = named.transpose()?;
    let catalog = catalog::in_effect(config)?;
    let database = ask::open(config, "ironflow-sync explain").await?;
    let explained = explain(&database.store, &catalog, &user, id, named).await;
    database.close().await;
    let explained = explained?;
    match asked.json {
        true => print_json(&explained)?,
        false => print(&explained.text()),
    }
    Ok(())
}

async fn explain(
    store: &Store,
    catalog: &Catalog,
    user: &UserId,
    id: Uuid,
    named: Option<EntityType>,
) -> Result<Answer, Box<dyn Error>> {
    let scope = Scope::of(user);
    let account = account(store, &scope).await?;
    let devices = devices(store, &scope).await?;
    let types: Vec<EntityType> = match &named {
        Some(named) => vec![named.clone()],
        None => catalog.types().map(|(name, _)| name.clone()).collect(),
    };
    let mut entities = Vec::new();
    // Of the user, and of what is shared.
    for home in [scope.clone(), Scope::library()] {
        let at_home = types
            .iter()
            .filter(|name| catalog.home(name, &scope) == home);
        let at_home: Vec<EntityType> = at_home.cloned().collect();
        for entity_type in store.explain_types(&scope, &home, &at_home, id).await? {
            let key = EntityKey {
                entity_type,
                entity_id: id,
            };
            let explained = store.explain(&scope, &home, &key).await?;
            let devices = if home == scope {
                devices.as_slice()
            } else {
                &[]
            };
            entities.push(ExplainedEntity::of(&key, &explained, devices));
        }
    }
    match (entities.is_empty(), named) {
        (false, _) => Ok(Answer::new(user, id, account.revision, entities)),
        (true, None) => Err(ExplainError::Unknown.into()),
        (true, Some(_)) => Err(ExplainError::UnknownOfType.into()),
    }
}
