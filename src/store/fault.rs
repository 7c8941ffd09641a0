//! What an error of Postgres means for the caller, by SQLSTATE and constraint name, never by text.

use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::tls::TlsError;
use crate::error::Fault;

/// The kinds of errors, as metrics name them.
const KINDS: [&str; 7] = [
    "connection",
    "pool_timeout",
    "timeout",
    "conflict",
    "resources",
    "constraint",
    "other",
];

/// How often something went wrong, by kind.
#[derive(Debug, Default)]
pub(super) struct ErrorTally([AtomicU64; KINDS.len()]);

impl ErrorTally {
    /// Counts an error of Postgres, or of the connection to it, and says what it means.
    pub(super) fn fault(&self, error: Error) -> Fault {
        self.count(kind(&error));
        error.into()
    }

    /// Counts an error of the pool, and says what it means.
    pub(super) fn pool_fault(&self, error: PoolError) -> Fault {
        self.count(match &error {
            PoolError::Backend(error) => kind(error),
            PoolError::Timeout(TimeoutType::Wait) => "pool_timeout",
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) | PoolError::Closed => {
                "connection"
            }
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => "other",
        });
        error.into()
    }

    /// The counts, by kind.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts)
    }

    fn count(&self, kind: &'static str) {
        let place = KINDS.iter().position(|known| *known == kind);
        if let Some(count) = place.and_then(|place| self.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The kind of an error, by SQLSTATE class.
fn kind(error: &Error) -> &'static str {
    let Some(code) = error.code() else {
        return match io_error(error).is_some() || tls_error(error).is_some() || error.is_closed() {
            true => "connection",
            false => "other",
        };
    };
    if [&SqlState::QUERY_CANCELED, &SqlState::LOCK_NOT_AVAILABLE].contains(&code)
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
    {
        return "timeout";
    }
    match code.code().get(..2) {
        Some("08" | "57") => "connection",
        Some("40") => "conflict",
        Some("53" | "58") => "resources",
        Some("23") => "constraint",
        Some(_) | None => "other",
    }
}

impl From<Error> for Fault {
    /// The text of a database error stays behind: it may quote rows.
    fn from(error: Error) -> Self {
        let Some(from_server) = error.as_db_error() else {
            // Not from the server: the connection is gone or never was, or we misread an answer.
            if let Some(refused) = tls_error(&error) {
                return Self::Unavailable(refused.into());
            }
            return match io_error(&error) {
                Some(io) => Self::Unavailable(io.into()),
                None if error.is_closed() => Self::Unavailable(error.into()),
                None => Self::Defect(
                    "Postgres and the service do not fit".into(),
                    Some(error.into()),
                ),
            };
        };
        let code = from_server.code();
        if passes(code) {
            return Self::Unavailable(format!("Postgres answered {}", code.code()).into());
        }
        let what = match from_server.constraint() {
            Some(constraint) => format!("constraint {constraint} was violated"),
            None => format!("Postgres answered {}", code.code()),
        };
        Self::Defect(what, None)
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

/// Why there is no TLS, if that is what went wrong.
pub(super) fn tls_error(error: &Error) -> Option<String> {
    let tls = error.source()?.downcast_ref::<TlsError>()?;
    let cause = tls.source().map(|cause| format!(": {cause}"));
    Some(format!("{tls}{}", cause.unwrap_or_default()))
}

/// What the operating system said of the connection, if that is what went wrong.
pub(super) fn io_error(error: &Error) -> Option<String> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    Some(io.to_string())
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
