//! The two ways a call fails as a whole: [`Refusal`], the caller's fault, and [`Fault`], ours.
//!
//! A conflict or a bad item is neither: those are answers ([`crate::domain::answer::Answer`]).

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::domain::clock::Millis;
use crate::domain::json::Violation;
use crate::domain::standing::Problem;

/// A call that is refused. Its text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No token, or not exactly one.
    #[error(
        "expected one token: a bearer token in the metadata key authorization, or one in x-jwt-token; with \
         grpcurl: -H 'authorization: Bearer TOKEN'"
    )]
    TokenMissing,
    /// The token is not one of ours, or no longer.
    #[error("expected a valid token: {0}")]
    TokenInvalid(&'static str),
    /// The token was valid once.
    #[error(
        "expected a valid token: it expired {} ago by the server's clock; sign in again, or to try the \
         service take a new one: ironflow-sync token --user NAME",
        in_words(*ago_s)
    )]
    TokenOutdated {
        /// How long ago, in seconds.
        ago_s: u64,
    },
    /// No key fits the token, as far as the keys are known.
    #[error("expected a valid token: it is signed with a key that is not known")]
    KeyUnknown,
    /// There is no knowing whether the token is valid: the keys have not been fetched yet.
    #[error("the keys of tokens cannot be fetched, try again")]
    KeysMissing,
    /// The request names another user than the token.
    #[error("user_id: expected it empty or equal to the user of the token")]
    NotYours,
    /// Fields of the request, not of one item, are malformed.
    #[error("expected valid fields: {}", named(.0))]
    Invalid(Vec<FieldProblem>),
    /// Data that a person gave is not acceptable.
    #[error("data: expected valid data: {}", .0.first().map(|first| first.description.as_str()).unwrap_or_default())]
    InvalidData(Vec<Violation>),
    /// More items than a batch may have.
    #[error("items: expected at most {limit} in a batch, got {got}")]
    TooManyItems {
        /// The most a batch may have.
        limit: usize,
        /// What this one has.
        got: usize,
    },
    /// More calls than a user may make.
    #[error("expected at most {per_s} calls a second, wait before the next")]
    RateLimited {
        /// How many a second, in the long run.
        per_s: u32,
        /// When the next one is welcome.
        wait: Duration,
    },
    /// More calls of one user under way than there may be.
    #[error("expected at most {limit} calls of one user under way, wait for one to end")]
    TooManyCalls {
        /// The most there may be.
        limit: usize,
    },
    /// More streams of one user than there may be.
    #[error("expected at most {limit} watches of one user, end one first")]
    TooManyStreams {
        /// The most there may be.
        limit: usize,
    },
    /// More devices than a user may have.
    #[error("device_id: expected one of the account's devices, it has {limit}, as many as it may")]
    TooManyDevices {
        /// The most there may be.
        limit: usize,
    },
    /// The process has more to do than it can. Nothing was done.
    #[error("the service is busy, try again; nothing was done")]
    Overloaded,
    /// The user has deleted their account, or the operator has.
    #[error("this account was deleted: nothing is taken or given any more; wipe the local data")]
    AccountDeleted,
    /// The cursor is from another life of the database, or ahead of it.
    #[error(
        "cursor: start again with an empty one and keep the local queue; the server was restored"
    )]
    CursorReset,
    /// The device was revoked.
    #[error("device_id: this device was revoked; sign out, nothing of what was synced is lost")]
    DeviceRevoked,
    /// Another installation has the same device id, or the device's data was put back.
    #[error(
        "device_id: another copy of this device was here (a restored backup, a clone, a reinstall), or \
         it made a batch while this call was under way; then call again, else make a new device id, \
         keep the queue, start again with an empty cursor and push again"
    )]
    DeviceIdReused,
    /// The user needs a subscription for this.
    #[error(
        "expected an active subscription; reading the status and exporting one's own data need none"
    )]
    SubscriptionRequired {
        /// When the last one ended.
        expired_at: Option<Millis>,
        /// Where a person can subscribe.
        upgrade_url: Option<Arc<str>>,
    },
    /// The stream outlived its token.
    #[error("the token has expired; call again with a new one, a watch from its last cursor")]
    TokenExpired,
    /// The stream ends because the server does.
    #[error("the server is shutting down; call again, a watch from its last cursor")]
    ShuttingDown,
}

/// One malformed field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// Its name in the request.
    pub field: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

impl From<FieldProblem> for Refusal {
    fn from(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Erased => Self::AccountDeleted,
            Problem::Revoked => Self::DeviceRevoked,
            Problem::Reused => Self::DeviceIdReused,
            Problem::NoSubscription {
                expired_at,
                upgrade_url,
            } => Self::SubscriptionRequired {
                expired_at,
                upgrade_url,
            },
        }
    }
}

/// A time span as a person says it: rounded down, in the largest unit it has two of.
fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

fn named(problems: &[FieldProblem]) -> String {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: expected {}", problem.field, problem.expected))
        .collect();
    texts.join("; ")
}

/// A call that failed on our side. Its text is for the log, never for the caller.
#[derive(Debug, Error)]
pub enum Fault {
    /// The store cannot be reached, or is too busy; trying again helps. Whether the work was done
    /// is unknown; asking again tells (promise 4).
    #[error("the store is out of reach")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// A defect: something the code relies on is not so.
    #[error("{0}")]
    Defect(String, #[source] Option<Box<dyn Error + Send + Sync>>),
}

impl Fault {
    /// Logs the fault, once, where it is handled; the caller only learns its kind.
    pub fn report(&self) {
        let cause = self.source().map(tracing::field::display);
        match self {
            Self::Unavailable(_) => tracing::warn!(cause, "{self}"),
            Self::Defect(..) => tracing::error!(cause, "{self}"),
        }
    }
}

/// Why a call failed as a whole.
#[derive(Debug, Error)]
pub enum CallError {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Ours.
    #[error(transparent)]
    Failed(#[from] Fault),
}

impl CallError {
    /// Logs a fault, once, where the call is known.
    pub fn report_fault(&self) {
        match self {
            Self::Refused(_) => (),
            Self::Failed(fault) => fault.report(),
        }
    }
}

/// The error and what caused it, on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let errors = successors(Some(error), |error| (*error).source());
    let texts: Vec<String> = errors.map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_told_in_the_largest_unit_it_has_two_of() {
        for (seconds, words) in [
            (31, "31 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (u64::MAX, "213503982334601 days"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
    }
}
