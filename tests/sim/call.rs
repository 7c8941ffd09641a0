//! What a device asks of a server, and what it gets: messages of the wire, so that neither knows whether
//! the other is in the same process.

use ironflow_sync::grpc::proto::{
    GetConflictRequest, GetConflictResponse, ListConflictsResponse, PullRequest, PullResponse,
    ResolveConflictRequest, ResolveConflictResponse, SyncRequest, SyncResponse,
};

/// One call of a device.
#[derive(Debug, Clone)]
pub enum Call {
    /// Pushes a batch.
    Sync(SyncRequest),
    /// Asks for a page.
    Pull(PullRequest),
    /// Tells what the person decided.
    Resolve(ResolveConflictRequest),
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
