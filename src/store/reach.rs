//! Whether the database that `DATABASE_URL` names can be used, in words for whoever named it.

use deadpool_postgres::PoolError;
use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::Store;
use super::fault::{io_error, tls_error};
use crate::error::Fault;

/// Why it cannot. What is in `DATABASE_URL` is not repeated: it may hold a password.
#[derive(Debug, Error)]
pub enum NoDatabase {
    /// Nothing answers there, or nothing that is Postgres.
    #[error(
        "DATABASE_URL: no Postgres answers at the host and port in it ({0}). Is it running, and may this \
         machine reach it? Try: psql \"$DATABASE_URL\" -c 'select 1'"
    )]
    Silent(String),
    /// The server does not take the user, or not with this password.
    #[error(
        "DATABASE_URL: Postgres does not take the password in it, or there is none in it. Write it as in \
         postgres://user:password@host/database, with / ? # @ : and % in hexadecimal (@ is %40), and try: \
         psql \"$DATABASE_URL\" -c 'select 1'"
    )]
    WrongPassword,
    /// The server does not take the user from here.
    #[error(
        "DATABASE_URL: Postgres does not let the user in it in: there is no such user, or pg_hba.conf does \
         not let them in from this machine, or not to this database. Make one: createuser --pwprompt USER"
    )]
    NotLetIn,
    /// The server has no such database.
    #[error(
        "DATABASE_URL: Postgres has no database of the name in it. Make it: createdb --owner USER DATABASE"
    )]
    NoSuchDatabase,
    /// Encryption failed.
    #[error("{0}")]
    Encryption(String),
    /// Anything else.
    #[error(transparent)]
    Other(Fault),
}

impl Store {
    /// Connects to the database, which is kept for the first who needs it.
    pub async fn reach(&self) -> Result<(), NoDatabase> {
        match self.pool.get().await {
            Ok(_) => Ok(()),
            Err(PoolError::Timeout(_)) => Err(NoDatabase::Silent("it is too slow".to_owned())),
            Err(PoolError::Backend(error)) => Err(self.unusable(error)),
            Err(
                error @ (PoolError::Closed
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_)),
            ) => Err(NoDatabase::Other(error.into())),
        }
    }

    fn unusable(&self, error: tokio_postgres::Error) -> NoDatabase {
        let Some(code) = error.code() else {
            if let Some(refused) = tls_error(&error) {
                return NoDatabase::Encryption(refused);
            }
            if let Some(said) = io_error(&error) {
                return NoDatabase::Silent(said);
            }
            // The server asks for a password, and the client has none to give.
            let is_asked = !error.is_closed() && self.address.config.get_password().is_none();
            return match is_asked {
                true => NoDatabase::WrongPassword,
                false => NoDatabase::Other(error.into()),
            };
        };
        if *code == SqlState::INVALID_PASSWORD {
            NoDatabase::WrongPassword
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            NoDatabase::NoSuchDatabase
        } else if [
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ]
        .contains(code)
        {
            NoDatabase::NotLetIn
        } else {
            NoDatabase::Other(error.into())
        }
    }
}
