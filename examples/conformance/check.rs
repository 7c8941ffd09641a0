//! One check, and the words in which it fails: what was done, what was expected, what came.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use ironflow_sync::grpc::proto::{ErrorCode, Resolution, SyncResult, SyncStatus};
use serde_json::Value;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::client::described;
use crate::subject::Subject;

/// The domain of every `google.rpc.ErrorInfo` of the protocol.
const ERROR_DOMAIN: &str = "ironflow.sync.v1";

/// How long one check may take, waiting for events of a watch included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(180);

/// Something the contract says that a caller can see.
pub struct Check {
    /// Where the contract says it: `rule 5`.
    pub about: &'static str,
    /// What it says.
    pub says: &'static str,
    /// Finds out whether it is so.
    pub find_out: FindOut,
}

/// Finds out whether something is so.
pub type FindOut = for<'a> fn(&'a Subject) -> LocalBoxFuture<'a, Checked>;

/// What a step of a check came to.
pub type Checked<T = ()> = Result<T, Finding>;

/// Why a line is not `pass`.
#[derive(Debug)]
pub enum Finding {
    /// The server does something else than the contract says.
    Broken(String),
    /// This server cannot be asked.
    NotAsked(String),
}

impl Check {
    /// Finds out whether it is so.
    pub async fn run(&self, subject: &Subject) -> Checked {
        let found = timeout(CHECK_TIMEOUT, (self.find_out)(subject)).await;
        found.unwrap_or_else(|_| broken(format!("no end within {CHECK_TIMEOUT:?}")))
    }

    /// Its line, without what came of it.
    pub fn line(&self) -> String {
        format!("{:<12}  {}", self.about, self.says)
    }
}

impl From<Status> for Finding {
    fn from(status: Status) -> Self {
        Self::Broken(format!("expected an answer, came {}", described(&status)))
    }
}

/// The server does something else than the contract says.
pub fn broken<T>(what: impl Into<String>) -> Checked<T> {
    Err(Finding::Broken(what.into()))
}

/// What came is what was expected.
pub fn expect<T: PartialEq + Debug>(what: &str, came: T, expected: T) -> Checked {
    if came == expected {
        return Ok(());
    }
    broken(format!("{what}: expected {expected:?}, came {came:?}"))
}

/// Something is so; otherwise `expected` says what should have been, and what was.
pub fn ensure(so: bool, expected: impl FnOnce() -> String) -> Checked {
    if so {
        Ok(())
    } else {
        broken(format!("expected {}", expected()))
    }
}

/// Something is there.
pub fn there<T>(what: &str, found: Option<T>) -> Checked<T> {
    found.ok_or_else(|| Finding::Broken(format!("expected {what}, came none")))
}

/// An item was settled so, as this version. The status is the one that goes with the resolution; a conflict
/// brings the server copy along.
pub fn settled(
    what: &str,
    came: &SyncResult,
    expected: Resolution,
    expected_version: i32,
) -> Checked {
    let status = match expected {
        Resolution::Applied
        | Resolution::Unchanged
        | Resolution::ClientWon
        | Resolution::Resurrected => SyncStatus::Success,
        Resolution::Merged | Resolution::ServerWon | Resolution::NeedsUser => SyncStatus::Conflict,
        Resolution::Unspecified => SyncStatus::Error,
    };
    let as_expected = came.status() == status
        && came.resolution() == expected
        && came.server_version == expected_version;
    if !as_expected {
        let expected = format!(
            "{} {}, version {expected_version}",
            short(status.as_str_name(), "SYNC_STATUS_"),
            short(expected.as_str_name(), "RESOLUTION_")
        );
        return broken(format!("{what}: expected {expected}; came {}", told(came)));
    }
    let copy_missing =
        status == SyncStatus::Conflict && came.server_data.is_empty() && !came.server_deleted;
    ensure(!copy_missing, || {
        format!("the server copy with the CONFLICT of {what}; server_data is empty")
    })
}

/// An item is an ERROR of this kind, and its message names the field.
pub fn failed(what: &str, came: &SyncResult, expected: ErrorCode, field: &str) -> Checked {
    if came.status() != SyncStatus::Error || came.error_code() != expected {
        let expected = short(expected.as_str_name(), "ERROR_CODE_");
        return broken(format!(
            "{what}: expected ERROR {expected}; came {}",
            told(came)
        ));
    }
    ensure(came.error_message.contains(field), || {
        format!(
            "the error_message of {what} to name {field}; it is {:?}",
            came.error_message
        )
    })
}

/// An answer in a few words: `CONFLICT NEEDS_USER, version 2`.
pub fn told(came: &SyncResult) -> String {
    let status = short(came.status().as_str_name(), "SYNC_STATUS_");
    match came.status() {
        SyncStatus::Error => {
            let code = short(came.error_code().as_str_name(), "ERROR_CODE_");
            format!("{status} {code} ({})", came.error_message)
        }
        SyncStatus::Success | SyncStatus::Conflict | SyncStatus::Unspecified => {
            let resolution = short(came.resolution().as_str_name(), "RESOLUTION_");
            format!("{status} {resolution}, version {}", came.server_version)
        }
    }
}

fn short<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// A call was refused as a whole, for this reason (in `google.rpc.ErrorInfo`).
pub fn refused<T>(
    what: &str,
    came: Result<T, Status>,
    code: Code,
    reason: &str,
) -> Checked<Status> {
    let Err(status) = came else {
        return broken(format!("{what}: expected {code:?}, came an answer"));
    };
    let expected = format!("{code:?} with reason {reason} in domain {ERROR_DOMAIN}");
    if status.code() != code {
        let came = described(&status);
        return broken(format!("{what}: expected {expected}; came {came}"));
    }
    let info = status.get_details_error_info();
    let info = info.map(|info| (info.domain, info.reason));
    let (domain, came) = info.unwrap_or_default();
    ensure(came == reason && domain == ERROR_DOMAIN, || {
        format!("{expected} for {what}; came {code:?} with reason {came:?} in domain {domain:?}")
    })?;
    Ok(status)
}

/// A call is INVALID_ARGUMENT, and `google.rpc.BadRequest` names the field.
pub fn refused_for<T>(what: &str, came: Result<T, Status>, field: &str) -> Checked {
    let status = refused(what, came, Code::InvalidArgument, "INVALID_REQUEST")?;
    let listed = status.get_details_bad_request();
    let listed = listed.map_or_else(Vec::new, |bad| bad.field_violations);
    let fields: Vec<&str> = listed.iter().map(|bad| bad.field.as_str()).collect();
    ensure(fields.contains(&field), || {
        format!("the BadRequest of {what} to name {field}; it names {fields:?}")
    })
}

/// Data means what was expected, however it is written.
pub fn means(what: &str, came: &[u8], expected: &Value) -> Checked {
    let same = serde_json::from_slice(came).is_ok_and(|came| same(&came, expected));
    ensure(same, || {
        let came = String::from_utf8_lossy(came);
        format!("{what} to hold {expected}; came {came:?}")
    })
}

/// Whether two values mean the same: a number may be written in several ways.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}
