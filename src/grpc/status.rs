//! The one bridge from our errors to gRPC statuses, with `google.rpc` details.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::proto::sync_service_server::SERVICE_NAME;
use crate::error::{CallError, Fault, Refusal};

/// The `domain` of every `ErrorInfo`.
const ERROR_DOMAIN: &str = "ironflow.sync.v1";

/// The process is too busy.
const OVERLOADED: &str = "OVERLOADED";

/// When to come back at the earliest and at the latest, if the store is out of reach, or the server
/// busy or at its end. Spread out, so that not all devices come back at once.
const RETRY_DELAY_MS: std::ops::Range<u64> = 500..4_000;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, reason) = kind(&refusal);
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata(&refusal));
        match &refusal {
            Refusal::Invalid(problems) => {
                let violations = problems
                    .iter()
                    .map(|problem| {
                        FieldViolation::new(problem.field, format!("expected {}", problem.expected))
                    })
                    .collect::<Vec<_>>();
                details.set_bad_request(violations);
            }
            Refusal::InvalidData(violations) => {
                let violations = violations
                    .iter()
                    .map(|violation| {
                        let field = format!("data{}", violation.path);
                        FieldViolation::new(field, violation.description.clone())
                    })
                    .collect::<Vec<_>>();
                details.set_bad_request(violations);
            }
            Refusal::TooManyItems { limit, .. } => {
                details.add_quota_failure_violation("items", format!("at most {limit} in a batch"));
            }
            Refusal::RateLimited { per_s, wait } => {
                let most = format!("at most {per_s} a second");
                details.add_quota_failure_violation("user.calls_per_s", most);
                details.set_retry_info(Some(*wait + jitter()));
            }
            Refusal::TooManyCalls { limit } => {
                details.add_quota_failure_violation("user.calls", under_way(*limit));
                details.set_retry_info(Some(retry_delay()));
            }
            Refusal::TooManyStreams { limit } => {
                details.add_quota_failure_violation("user.watches", under_way(*limit));
                details.set_retry_info(Some(retry_delay()));
            }
            Refusal::TooManyDevices { limit } => {
                let most = format!("at most {limit} of an account, revoke one that is out of use");
                details.add_quota_failure_violation("account.devices", most);
            }
            Refusal::SubscriptionRequired { upgrade_url, .. } => {
                if let Some(url) = upgrade_url {
                    details.add_help_link("how to subscribe", url.as_ref());
                }
            }
            Refusal::Overloaded | Refusal::ShuttingDown | Refusal::KeysMissing => {
                details.set_retry_info(Some(retry_delay()));
            }
            Refusal::TokenMissing
            | Refusal::TokenInvalid(_)
            | Refusal::TokenOutdated { .. }
            | Refusal::KeyUnknown
            | Refusal::NotYours
            | Refusal::AccountDeleted
            | Refusal::CursorReset
            | Refusal::DeviceRevoked
            | Refusal::DeviceIdReused
            | Refusal::TokenExpired => (),
        }
        Self::with_error_details(code, refusal.to_string(), details)
    }
}

/// The status code of a refusal, and its reason: one word for programs.
pub(super) fn kind(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::TokenMissing => (Code::Unauthenticated, "TOKEN_MISSING"),
        Refusal::TokenInvalid(_) | Refusal::TokenOutdated { .. } | Refusal::KeyUnknown => {
            (Code::Unauthenticated, "TOKEN_INVALID")
        }
        Refusal::KeysMissing => (Code::Unavailable, "KEYS_UNAVAILABLE"),
        Refusal::NotYours => (Code::PermissionDenied, "USER_MISMATCH"),
        Refusal::Invalid(_) => (Code::InvalidArgument, "INVALID_REQUEST"),
        Refusal::InvalidData(_) => (Code::InvalidArgument, "INVALID_REQUEST"),
        Refusal::TooManyItems { .. } => (Code::ResourceExhausted, "BATCH_TOO_LARGE"),
        Refusal::RateLimited { .. } => (Code::ResourceExhausted, "RATE_LIMITED"),
        Refusal::TooManyCalls { .. } => (Code::ResourceExhausted, "TOO_MANY_CALLS"),
        Refusal::TooManyStreams { .. } => (Code::ResourceExhausted, "TOO_MANY_STREAMS"),
        Refusal::TooManyDevices { .. } => (Code::ResourceExhausted, "TOO_MANY_DEVICES"),
        Refusal::Overloaded => (Code::Unavailable, OVERLOADED),
        Refusal::AccountDeleted => (Code::PermissionDenied, "ACCOUNT_DELETED"),
        Refusal::CursorReset => (Code::FailedPrecondition, "CURSOR_RESET"),
        Refusal::DeviceRevoked => (Code::PermissionDenied, "DEVICE_REVOKED"),
        Refusal::DeviceIdReused => (Code::FailedPrecondition, "DEVICE_ID_REUSED"),
        Refusal::SubscriptionRequired { .. } => (Code::PermissionDenied, "SUBSCRIPTION_REQUIRED"),
        Refusal::TokenExpired => (Code::Unauthenticated, "TOKEN_EXPIRED"),
        Refusal::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN"),
    }
}

/// What an app needs to ask for a subscription.
fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    let Refusal::SubscriptionRequired {
        expired_at,
        upgrade_url,
    } = refusal
    else {
        return HashMap::new();
    };
    [
        Some(("plan", "free".to_owned())),
        expired_at.map(|at| ("expired_at", at.0.to_string())),
        upgrade_url
            .as_ref()
            .map(|url| ("upgrade_url", url.to_string())),
    ]
    .into_iter()
    .flatten()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => refusal.into(),
            CallError::Failed(fault) => {
                fault.report();
                fault.into()
            }
        }
    }
}

/// The status of an error that is in the log already.
pub(super) fn reported(error: CallError) -> Status {
    match error {
        CallError::Refused(refusal) => refusal.into(),
        CallError::Failed(fault) => fault.into(),
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(_) => unavailable("the store is out of reach, try again"),
            Fault::Defect(..) => Self::with_error_details(
                Code::Internal,
                "an internal error; nothing is lost, try again",
                ErrorDetails::with_error_info("INTERNAL", ERROR_DOMAIN, HashMap::new()),
            ),
        }
    }
}

fn under_way(limit: usize) -> String {
    format!("at most {limit} under way")
}

/// What is added to the exact wait, so that the devices of a user do not all come back at once.
fn jitter() -> Duration {
    Duration::from_millis(fastrand::u64(0..250))
}

fn retry_delay() -> Duration {
    Duration::from_millis(fastrand::u64(RETRY_DELAY_MS))
}

/// Why a call was refused, beside an answer that says so: who counts refusals need not take it apart.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    pub(super) code: Code,
    pub(super) reason: &'static str,
}

/// OVERLOADED, made beforehand: it is said most when there is least time for it. So many are made that it stays
/// spread out when their callers come back.
pub(super) fn overloaded() -> Response<Body> {
    const SPREAD: usize = 256;
    static HEADERS: LazyLock<Vec<HeaderMap>> = LazyLock::new(|| {
        let each = (0..SPREAD).map(|_| Status::from(Refusal::Overloaded));
        each.map(|status| status.into_http::<Body>().into_parts().0.headers)
            .collect()
    });
    let mut response = Response::new(Body::empty());
    if let Some(headers) = fastrand::choice(HEADERS.iter()) {
        response.headers_mut().clone_from(headers);
    }
    let (code, reason) = (Code::Unavailable, OVERLOADED);
    response.extensions_mut().insert(Counted { code, reason });
    response
}

/// UNAVAILABLE, with when to come back.
fn unavailable(message: &str) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_delay()));
    details.set_error_info("STORE_UNAVAILABLE", ERROR_DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, message, details)
}

/// RESOURCE_EXHAUSTED for a message beyond the limit.
pub(super) fn message_too_large(bytes_max: usize) -> Status {
    let mut details =
        ErrorDetails::with_quota_failure_violation("message", format!("at most {bytes_max} bytes"));
    details.set_error_info("MESSAGE_TOO_LARGE", ERROR_DOMAIN, HashMap::new());
    let message = format!("expected a message of at most {bytes_max} bytes, send smaller batches");
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// INVALID_ARGUMENT for a body that is not a message in its frame.
pub(super) fn bad_framing() -> Status {
    Status::with_error_details(
        Code::InvalidArgument,
        "expected one message in the frame of gRPC: whole, and packed as grpc-encoding says or not at all",
        ErrorDetails::with_error_info("INVALID_MESSAGE", ERROR_DOMAIN, HashMap::new()),
    )
}

/// INVALID_ARGUMENT for bytes that are no message. The error names the field and holds none of them.
pub(super) fn invalid_message(error: &prost::DecodeError) -> Status {
    Status::with_error_details(
        Code::InvalidArgument,
        format!("expected a valid protobuf message: {error}"),
        ErrorDetails::with_error_info("INVALID_MESSAGE", ERROR_DOMAIN, HashMap::new()),
    )
}

/// UNIMPLEMENTED for a path that leads nowhere, with where paths lead. `is_ours`: it names our service.
pub(super) fn no_such_call(is_ours: bool) -> Status {
    let message = match is_ours {
        true => format!(
            "{SERVICE_NAME} has no such method; letter case counts, as in {SERVICE_NAME}/Sync. To see all: \
             grpcurl -plaintext HOST:PORT list {SERVICE_NAME}"
        ),
        false => format!(
            "there is no such service or method: expected {SERVICE_NAME}, as in {SERVICE_NAME}/Sync, \
             grpc.health.v1.Health or grpc.reflection.v1.ServerReflection. To see all: grpcurl -plaintext \
             HOST:PORT list"
        ),
    };
    Status::unimplemented(message)
}

/// DEADLINE_EXCEEDED. The work itself goes on: asking again tells what came of it.
pub(super) fn deadline_exceeded() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the deadline passed before the answer was ready; asking again is safe",
        ErrorDetails::with_error_info("DEADLINE_EXCEEDED", ERROR_DOMAIN, HashMap::new()),
    )
}
