//! Whether an answer is the one that is defined, and gives nothing away.

use ironflow_sync::grpc::proto;
use ironflow_sync::grpc::proto::{ErrorCode, Resolution, ResolveStatus, SyncResult, SyncStatus};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::entry::{Defined, Entry, ItemAnswer};
use super::send::{Answer, Heard, code};
use super::stage::CANARY;

/// Words of what lies behind the service: Postgres, its statements, our code and machine.
const INSIDES: [&str; 16] = [
    "select ",
    "insert into",
    "update entities",
    "sqlstate",
    "postgres",
    "relation ",
    "constraint",
    "deadpool",
    "127.0.0.1",
    "/tmp",
    env!("CARGO_MANIFEST_DIR"),
    ".rs:",
    "panicked",
    "user/",
    "eyj",
    "backtrace",
];

/// What is wrong with an answer, if anything.
pub fn check(entry: &Entry, heard: &Heard) -> Result<(), String> {
    let raw = String::from_utf8_lossy(&heard.raw);
    if raw.contains(CANARY) {
        return Err(format!("another user's data: {raw}"));
    }
    let defined = &entry.answer;
    match &heard.answer {
        Answer::Closed if defined.closed => Ok(()),
        Answer::Http(status) if defined.http == Some(*status) => no_insides(&raw),
        Answer::Grpc(status, message) if defined.http.is_none() && !defined.closed => {
            check_grpc(entry, status, message)
        }
        other => Err(format!("another kind of answer: {other:?}")),
    }
}

fn no_insides(text: &str) -> Result<(), String> {
    let text = text.to_lowercase();
    match INSIDES.iter().find(|word| text.contains(*word)) {
        Some(word) => Err(format!("it says {word}: {text}")),
        None => Ok(()),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, got {got:?}")),
    }
}

fn says(text: &str, expected: Option<&String>) -> Result<(), String> {
    match expected {
        Some(word) if !text.contains(word) => Err(format!("does not say {word}: {text}")),
        _ => Ok(()),
    }
}

fn check_grpc(entry: &Entry, status: &Status, message: &[u8]) -> Result<(), String> {
    let defined = &entry.answer;
    let expected = defined.code.as_deref().map_or(Code::Ok, code);
    if status.code() != expected {
        return Err(format!("expected {expected:?}, got {status:?} {message:?}"));
    }
    if expected == Code::Ok {
        return check_message(entry, message);
    }
    no_insides(status.message())?;
    says(status.message(), defined.says.as_ref())?;
    let details = status.get_error_details();
    no_insides(&format!("{details:?}"))?;
    if defined.plain {
        return equal("an ErrorInfo", details.error_info().is_some(), false);
    }
    let info = details
        .error_info()
        .ok_or_else(|| format!("no ErrorInfo: {status:?}"))?;
    equal("domain", info.domain.as_str(), "ironflow.sync.v1")?;
    equal(
        "reason",
        Some(info.reason.as_str()),
        defined.reason.as_deref(),
    )?;
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice());
    let violations = violations.unwrap_or_default();
    let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
    equal(
        "fields",
        fields,
        defined.fields.iter().map(String::as_str).collect(),
    )?;
    if !violations
        .iter()
        .all(|v| v.description.contains("expected"))
    {
        return Err(format!("does not say what was expected: {violations:?}"));
    }
    Ok(())
}

fn check_message(entry: &Entry, message: &[u8]) -> Result<(), String> {
    fn decode<M: Message + Default>(message: &[u8]) -> Result<M, String> {
        M::decode(message).map_err(|error| error.to_string())
    }
    let defined = &entry.answer;
    let listed = match entry.rpc.as_str() {
        "Sync" => {
            let response: proto::SyncResponse = decode(message)?;
            return check_results(defined, &response.results);
        }
        "Pull" => decode::<proto::PullResponse>(message)?.entities.len(),
        "ListConflicts" => decode::<proto::ListConflictsResponse>(message)?
            .conflicts
            .len(),
        "ListVersions" => decode::<proto::ListVersionsResponse>(message)?
            .entries
            .len(),
        "ListDeleted" => decode::<proto::ListDeletedResponse>(message)?
            .entities
            .len(),
        "GetStatus" => decode::<proto::GetStatusResponse>(message)?.devices.len(),
        "ResolveConflict" => {
            let response: proto::ResolveConflictResponse = decode(message)?;
            let name = defined.status.as_deref().ok_or("a status is not defined")?;
            let status = ResolveStatus::from_str_name(&format!("RESOLVE_STATUS_{name}"));
            return equal("status", Some(response.status()), status);
        }
        "RestoreVersion" => {
            let response: proto::RestoreVersionResponse = decode(message)?;
            return equal("restored", Some(response.restored), defined.restored);
        }
        _ => return Ok(()),
    };
    equal("entries", Some(listed), defined.lists)
}

fn check_results(defined: &Defined, results: &[SyncResult]) -> Result<(), String> {
    if let Some(count) = defined.count {
        equal("answers", results.len(), count)?;
    }
    if let Some(each) = &defined.each {
        if results.is_empty() {
            return Err("no answers".to_owned());
        }
        return results
            .iter()
            .try_for_each(|result| check_result(each, result));
    }
    let Some(expected) = &defined.results else {
        return defined
            .count
            .map(drop)
            .ok_or("no answers are defined".to_owned());
    };
    equal("answers", results.len(), expected.len())?;
    let pairs = expected.iter().zip(results).enumerate();
    pairs.into_iter().try_for_each(|(i, (expected, result))| {
        check_result(expected, result).map_err(|error| format!("item {i}: {error}"))
    })
}

fn check_result(expected: &ItemAnswer, result: &SyncResult) -> Result<(), String> {
    let message = &result.error_message;
    if let Some(name) = &expected.is {
        let resolution = Resolution::from_str_name(&format!("RESOLUTION_{name}"));
        let resolution = resolution.ok_or_else(|| format!("no resolution is called {name}"))?;
        if result.resolution() != resolution {
            return Err(format!(
                "expected {name}, got {:?} {message}",
                result.resolution()
            ));
        }
        let version = expected.version.unwrap_or(result.server_version);
        return equal("version", result.server_version, version);
    }
    let name = expected.error.as_ref().ok_or("neither `is` nor `error`")?;
    let code = ErrorCode::from_str_name(&format!("ERROR_CODE_{name}"));
    let code = code.ok_or_else(|| format!("no error code is called {name}"))?;
    equal("status", result.status(), SyncStatus::Error)?;
    if result.error_code() != code {
        return Err(format!(
            "expected {name}, got {:?} {message}",
            result.error_code()
        ));
    }
    no_insides(message)?;
    says(message, expected.says.as_ref())?;
    if let Some(field) = &expected.field {
        let named = message.starts_with(&format!("{field}: ")) && message.contains("expected");
        if !named {
            return Err(format!(
                "does not name {field} and what was expected: {message}"
            ));
        }
    } else if message.is_empty() {
        return Err("an error without a word".to_owned());
    }
    let paths: Vec<&str> = result.violations.iter().map(|v| v.path.as_str()).collect();
    equal(
        "violations",
        paths,
        expected.path.as_deref().into_iter().collect(),
    )?;
    for violation in &result.violations {
        no_insides(&violation.description)?;
    }
    Ok(())
}
