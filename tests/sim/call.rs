//! What a device asks of a server, and what it gets: messages of the wire, so that neither knows whether
//! the other is in the same process.

use ironflow_sync::grpc::proto::{
    GetConflictRequest, GetConflictResponse, ListConflictsResponse, PullRequest, PullResponse,
    ResolveConflictRequest, ResolveConflictResponse, SyncRequest, SyncResponse,
};

/// One call of a device. `batch_number` is the device's own count of what it has sent to be written; it
/// goes back when the device's data does, and so tells a copy of a device from the device.
#[derive(Debug, Clone)]
pub enum Call {
    /// Pushes a batch.
    Sync {
        request: SyncRequest,
        batch_number: i64,
    },
    /// Asks for a page.
    Pull {
        request: PullRequest,
        batch_number: i64,
    },
    /// Tells what the person decided.
    Resolve {
        request: ResolveConflictRequest,
        batch_number: i64,
    },
    /// Asks what waits for the person.
    List,
    /// Asks for all about one conflict.
    Look(GetConflictRequest),
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub enum Reply {
    Synced(SyncResponse),
    Page(PullResponse),
    Resolved(Box<ResolveConflictResponse>),
    Listed(ListConflictsResponse),
    Looked(Box<GetConflictResponse>),
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// FAILED_PRECONDITION / CURSOR_RESET.
    CursorReset,
    /// FAILED_PRECONDITION / DEVICE_ID_REUSED.
    DeviceIdReused,
    /// INVALID_ARGUMENT, and what was expected.
    Invalid(String),
    /// Nobody knows whether the server heard of it.
    Unreachable,
}

pub type Answered = Result<Reply, Failure>;
