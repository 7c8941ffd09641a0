//! Brings the tables up to date: forward only, checksummed, safe to run from several instances at
//! once. See `migrations/README.md`.

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::Store;
use crate::error::Fault;

/// Which advisory lock the instances of this service take turns on. Any number will do, as long as
/// it never changes.
const MIGRATION_LOCK: i64 = 0x1F0D_5F6C;

const BEGIN_MIGRATION: &str = include_str!("sql/begin_migration.sql");
const LOCK_MIGRATIONS: &str = include_str!("sql/lock_migrations.sql");
const CREATE_MIGRATIONS: &str = include_str!("sql/create_migrations.sql");
const READ_MIGRATIONS: &str = include_str!("sql/read_migrations.sql");
const RECORD_MIGRATION: &str = include_str!("sql/record_migration.sql");

struct Migration {
    name: &'static str,
    sql: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sql: include_str!(concat!("../../migrations/", $name, ".sql")),
        }
    };
}

/// In the order they are applied.
const MIGRATIONS: [Migration; 13] = [
    migration!("0001_entities"),
    migration!("0002_feed"),
    migration!("0003_conflicts"),
    migration!("0004_isolation"),
    migration!("0005_standing"),
    migration!("0006_erasures"),
    migration!("0007_metrics"),
    migration!("0008_status"),
    migration!("0009_uncontested"),
    migration!("0010_last_errors"),
    migration!("0011_news"),
    migration!("0012_batches"),
    migration!("0013_pages"),
];

/// Why the tables could not be brought up to date.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// A migration that was applied is not the one this program has.
    #[error(
        "migration {0} was edited after it was applied to this database; released migrations never \
         change: restore the file and add a new one"
    )]
    Edited(String),
    /// The database has migrations this program does not know.
    #[error(
        "this database was migrated by a newer ironflow-sync (it has migration {0}); run that version"
    )]
    Newer(String),
    /// The login lacks a right.
    #[error("migration {migration} was refused: {problem}")]
    NotAllowed {
        /// Which.
        migration: &'static str,
        /// What Postgres says, and what to do.
        problem: String,
    },
    /// Postgres failed.
    #[error("migrating failed")]
    Store(#[from] Fault),
}

impl From<tokio_postgres::Error> for MigrationError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Applies what is missing, all or nothing, and returns the names of what it applied.
pub async fn migrate(store: &Store) -> Result<Vec<&'static str>, MigrationError> {
    apply(store, &MIGRATIONS).await
}

/// The names of what is missing; applies nothing.
pub async fn missing(store: &Store) -> Result<Vec<&'static str>, MigrationError> {
    let client = store.owner().await?;
    let applied = match client.query(READ_MIGRATIONS, &[]).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Vec::new(),
        applied => applied?,
    };
    let missing = unapplied(&applied, &MIGRATIONS)?;
    Ok(missing.iter().map(|migration| migration.name).collect())
}

async fn apply(
    store: &Store,
    migrations: &'static [Migration],
) -> Result<Vec<&'static str>, MigrationError> {
    let mut client = store.owner().await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute(BEGIN_MIGRATION).await?;
    transaction
        .execute(LOCK_MIGRATIONS, &[&MIGRATION_LOCK])
        .await?;
    transaction.batch_execute(CREATE_MIGRATIONS).await?;
    let applied = transaction.query(READ_MIGRATIONS, &[]).await?;
    let missing = unapplied(&applied, migrations)?;
    for migration in missing {
        let applied = transaction.batch_execute(migration.sql).await;
        applied.map_err(|error| migration.refused(error))?;
        let record: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&migration.name, &migration.checksum()];
        transaction.execute(RECORD_MIGRATION, &record).await?;
    }
    transaction.commit().await?;
    Ok(missing.iter().map(|migration| migration.name).collect())
}

/// What is not among the rows of those that were applied.
fn unapplied<'a>(
    applied: &[Row],
    migrations: &'a [Migration],
) -> Result<&'a [Migration], MigrationError> {
    for (place, row) in applied.iter().enumerate() {
        let (name, checksum): (String, Vec<u8>) = (row.try_get("name")?, row.try_get("checksum")?);
        match migrations.get(place) {
            Some(known) if known.name == name && known.checksum() == checksum => (),
            Some(known) if known.name == name => return Err(MigrationError::Edited(name)),
            Some(_) | None => return Err(MigrationError::Newer(name)),
        }
    }
    Ok(&migrations[applied.len()..])
}

impl Migration {
    /// What is missing in rights is told as Postgres does: there are no rows in it.
    fn refused(&self, error: tokio_postgres::Error) -> MigrationError {
        match error.as_db_error() {
            Some(refusal) if *refusal.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                let hint = refusal.hint().map(|hint| format!(". {hint}"));
                MigrationError::NotAllowed {
                    migration: self.name,
                    problem: format!("{}{}", refusal.message(), hint.unwrap_or_default()),
                }
            }
            Some(_) | None => error.into(),
        }
    }

    fn checksum(&self) -> Vec<u8> {
        Sha256::digest(self.sql).to_vec()
    }
}
