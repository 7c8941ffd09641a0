//! What the commands share that only look: they change nothing, and a service may run meanwhile.

use std::error::Error;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error as ThisError;

use super::{Database, print};
use crate::config::Config;
use crate::domain::scope::Scope;
use crate::postgres;
use crate::store::Store;
use crate::store::export::Account;
use crate::store::migrations::missing;

/// Connections of a command that looks.
const CONNECTIONS_MAX: usize = 2;

/// Why a question has no answer.
#[derive(Debug, ThisError)]
pub(super) enum NoAnswer {
    #[error(
        "there is no database in {0}; name yours with DATABASE_URL or --database-url, or another data \
         folder with --data-dir"
    )]
    NoDatabase(PathBuf),
    #[error(
        "the tables lack {0}: start the service of this version, or type: ironflow-sync migrate"
    )]
    OldTables(String),
    #[error(
        "there is nothing of this user: no device of theirs has been here. The id is the one their tokens \
         have, and upper and lower case differ"
    )]
    UnknownUser,
    #[error(
        "the account of this user was deleted, and nothing of it is told any more. To let them come back: \
         ironflow-sync account reopen"
    )]
    Deleted,
}

/// The database of a question. A private one that a service runs is asked beside it; none is ever made.
pub(super) async fn open(config: &Config, holder: &str) -> Result<Database, Box<dyn Error>> {
    let database = reachable(config, holder).await?;
    match missing(&database.store).await {
        Ok(lacking) if lacking.is_empty() => Ok(database),
        Ok(lacking) => {
            database.close().await;
            Err(NoAnswer::OldTables(lacking.join(", ")).into())
        }
        Err(error) => {
            database.close().await;
            Err(error.into())
        }
    }
}

/// The database, whatever its tables are like.
pub(super) async fn reachable(config: &Config, holder: &str) -> Result<Database, Box<dyn Error>> {
    if config.database.database_url.is_none() {
        let data_dir = config.database.data_dir();
        if let Some(running) = postgres::beside(&data_dir) {
            let store = Store::new(running, CONNECTIONS_MAX)?;
            // A crash leaves behind what says that it runs: then it is started.
            if store.reach().await.is_ok() {
                return Ok(Database {
                    store,
                    cluster: None,
                });
            }
        }
        if !data_dir.join("pg").exists() {
            return Err(NoAnswer::NoDatabase(data_dir).into());
        }
    }
    Database::open(config, holder).await
}

/// What there is of a user; an error if there is nothing.
pub(super) async fn account(store: &Store, scope: &Scope) -> Result<Account, Box<dyn Error>> {
    if store.is_erased(scope).await? {
        return Err(NoAnswer::Deleted.into());
    }
    let account = store.count_account(scope).await?;
    match account.counts.all() {
        0 => Err(NoAnswer::UnknownUser.into()),
        _ => Ok(account),
    }
}

/// Prints an answer as one line of JSON.
pub(super) fn print_json(answer: &impl Serialize) -> Result<(), Box<dyn Error>> {
    print(&format!("{}\n", serde_json::to_string(answer)?));
    Ok(())
}
