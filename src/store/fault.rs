//! What an error of Postgres means for the caller, by SQLSTATE and constraint name, never by text.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::Fault;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            // Not from the server: the connection is gone or never was.
            None if error.is_closed() || is_io(&error) => Self::Unavailable(error.into()),
            None => Self::Defect(
                "Postgres and the service do not fit".into(),
                Some(error.into()),
            ),
            Some(from_server) if passes(from_server.code()) => Self::Unavailable(error.into()),
            Some(from_server) => {
                let what = match from_server.constraint() {
                    Some(constraint) => format!("constraint {constraint} was violated"),
                    None => format!("Postgres answered {}", from_server.code().code()),
                };
                Self::Defect(what, Some(error.into()))
            }
        }
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Self::Unavailable(error.into()),
        }
    }
}

fn is_io(error: &Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<std::io::Error>())
}

/// Whether the same call may succeed a little later.
fn passes(code: &SqlState) -> bool {
    /// Connection exceptions, transaction rollbacks (deadlock, serialisation), insufficient
    /// resources, operator intervention (shutdown, cancel by timeout), system errors.
    const PASSING_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    PASSING_CLASSES
        .iter()
        .any(|class| code.code().starts_with(class))
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            // A primary that became a standby.
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // A migration changed a table under a prepared statement.
            SqlState::FEATURE_NOT_SUPPORTED,
        ]
        .contains(code)
}
