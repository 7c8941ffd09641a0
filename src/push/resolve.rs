//! What a person decides: resolving a conflict, bringing an old version back.

use std::time::Instant;

use tracing::{Span, field};
use uuid::Uuid;

use super::Push;
use crate::domain::answer::ServerCopy;
use crate::domain::clock::Millis;
use crate::domain::conflict::{Conflict, ConflictId};
use crate::domain::entity::{EntityKey, MutationId};
use crate::domain::resolve::{
    Choice, Decision, ResolveStatus, RestoreStatus, decision_mutation, resolve, restore,
};
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::{BatchMark, BatchNumber, Gate, Wanted, admit};
use crate::domain::version::Version;
use crate::error::{CallError, FieldProblem, Refusal};
use crate::store::device::DeviceInfo;
use crate::trace::traced;

/// A person's decision about a conflict.
#[derive(Debug, Clone)]
pub struct ResolveRequest {
    /// Whose data.
    pub scope: Scope,
    /// Where the person is.
    pub device: DeviceId,
    /// Which conflict.
    pub conflict: ConflictId,
    /// What they chose.
    pub choice: Choice,
    /// The version of the entity they saw.
    pub expected: Version,
    /// Of two entities: the version of the older they saw.
    pub expected_other: Version,
    /// Which of the device's batches and decisions this is; `None`: it does not count them.
    pub number: Option<BatchNumber>,
    /// Whether a subscription is needed.
    pub gate: Gate,
    /// The server's clock.
    pub now: Millis,
}

/// What came of it.
#[derive(Debug)]
pub struct ResolveResponse {
    /// In one word.
    pub status: ResolveStatus,
    /// The conflict now.
    pub conflict: Conflict,
    /// What the server holds now.
    pub copy: Option<ServerCopy>,
    /// Of two entities: what the server holds of the older.
    pub other: Option<ServerCopy>,
}

/// A person's wish to have an old version back.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Whose data.
    pub scope: Scope,
    /// Where the person is.
    pub device: DeviceId,
    /// Which entity.
    pub key: EntityKey,
    /// What to bring back.
    pub source: Source,
    /// The version of the entity they saw.
    pub expected: Version,
    /// Which of the device's batches and decisions this is; `None`: it does not count them.
    pub number: Option<BatchNumber>,
    /// Whether a subscription is needed.
    pub gate: Gate,
    /// The server's clock.
    pub now: Millis,
}

/// What of an entity can be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An old version.
    Version(Version),
    /// What a device sent and lost with.
    LosingSide(MutationId),
}

/// What came of it.
#[derive(Debug)]
pub struct RestoreResponse {
    /// Whether the entity holds the old version again.
    pub done: bool,
    /// What the server holds now.
    pub copy: Option<ServerCopy>,
}

impl Push {
    /// Settles a conflict as a person decided.
    pub async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, CallError> {
        let span = traced(tracing::info_span!(
            "resolve",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
            status = field::Empty,
            duration_ms = field::Empty,
        ));
        let push = self.clone();
        let scope = request.scope.clone();
        let work = async move {
            let begun = Instant::now();
            let resolved = push.settle_conflict(&request).await?;
            Span::current()
                .record("duration_ms", begun.elapsed().as_millis() as u64)
                .record("status", field::debug(resolved.status));
            tracing::info!("decision taken");
            Ok(resolved)
        };
        self.in_turn(&scope, span, work).await
    }

    async fn settle_conflict(
        &self,
        request: &ResolveRequest,
    ) -> Result<ResolveResponse, CallError> {
        let decision = decision(request);
        let mark = mark(request.number, decision.mutation);
        let context = self.context(&request.device, request.now);
        let batch = self.store.begin(&request.scope).await?;
        let (standing, conflict) = tokio::try_join!(
            batch.read_standing(&request.device),
            batch.read_conflict(request.conflict),
        )?;
        if let Err(problem) = admit(&standing, Wanted::Write(mark), &request.gate, request.now) {
            return Err(batch.refuse(problem).await);
        }
        let Some((conflict, side)) = conflict else {
            let unknown = expected("conflict_id", "a conflict of this user");
            return Err(batch.refuse(unknown).await);
        };
        if let Choice::UseData(document) = &request.choice {
            let entity_type = &conflict.key.entity_type;
            let violations = context.catalog.violations(entity_type, document);
            if !violations.is_empty() {
                return Err(batch.refuse(Refusal::InvalidData(violations)).await);
            }
        }
        let older = conflict.older();
        let keys: Vec<&EntityKey> = [&conflict.key].into_iter().chain(&older).collect();
        let home = context
            .catalog
            .home(&conflict.key.entity_type, &request.scope);
        let mut snapshot = batch
            .read_whole(&home, &keys, decision.mutation, &request.device)
            .await?;
        if conflict.settled.is_none() && !snapshot.open.contains(&conflict) {
            snapshot.open.push(conflict.clone());
        }
        let resolved = resolve(&snapshot, &conflict, side.as_ref(), &decision, &context);
        let refusal = match resolved.status {
            ResolveStatus::Resolved | ResolveStatus::Moved | ResolveStatus::SettledBefore => None,
            ResolveStatus::NoSuchChoice => {
                Some(expected("choice", "KEEP_SERVER, KEEP_CLIENT or USE_DATA"))
            }
            ResolveStatus::OutOfVersions => Some(expected(
                "expected_version",
                "entities with room for another version, the largest int32 is used",
            )),
        };
        if let Some(refusal) = refusal {
            return Err(batch.refuse(refusal).await);
        }
        let info = DeviceInfo::default();
        let author = self.author(&request.device, &info, mark, request.now);
        let closed = resolved.plan.inbox.conflicts.iter();
        let mut closed = closed.map(|(_, conflict)| conflict);
        let conflict = closed
            .find(|closed| closed.id == conflict.id)
            .unwrap_or(&conflict)
            .clone();
        self.commit(batch, &request.scope, &resolved.plan, &author)
            .await?;
        Ok(ResolveResponse {
            status: resolved.status,
            conflict,
            copy: resolved.copy.map(|copy| told_to(&request.device, copy)),
            other: resolved.other.map(|copy| told_to(&request.device, copy)),
        })
    }

    /// Writes an old version as a new one.
    pub async fn restore(&self, request: RestoreRequest) -> Result<RestoreResponse, CallError> {
        let entity_type = &request.key.entity_type;
        let catalog = &self.rules.catalog;
        if !catalog.knows(entity_type) || catalog.rules(entity_type).shared {
            return Err(expected("entity_type", "a type that devices may write").into());
        }
        let span = traced(tracing::info_span!(
            "restore",
            trace_id = field::Empty,
            scope = %request.scope.log_name(),
            device = %request.device.log_name(),
            status = field::Empty,
            duration_ms = field::Empty,
        ));
        let push = self.clone();
        let scope = request.scope.clone();
        let source = request.source;
        let work = async move {
            let begun = Instant::now();
            let (status, copy) = push.bring_back(&request).await?;
            Span::current()
                .record("duration_ms", begun.elapsed().as_millis() as u64)
                .record("status", field::debug(status));
            tracing::info!("wish for an old version settled");
            Ok((status, copy))
        };
        let (status, copy) = self.in_turn(&scope, span, work).await?;
        Ok(restore_response(status, source, copy)?)
    }

    async fn bring_back(
        &self,
        request: &RestoreRequest,
    ) -> Result<(RestoreStatus, Option<ServerCopy>), CallError> {
        let key = &request.key;
        let mutation = restoration(request);
        let mark = mark(request.number, mutation);
        let context = self.context(&request.device, request.now);
        let batch = self.store.begin(&request.scope).await?;
        let held = async {
            match request.source {
                Source::Version(version) => batch.read_version(key, version).await,
                Source::LosingSide(side) => batch.read_side(key, side).await,
            }
        };
        let (standing, held) = tokio::try_join!(batch.read_standing(&request.device), held)?;
        if let Err(problem) = admit(&standing, Wanted::Write(mark), &request.gate, request.now) {
            return Err(batch.refuse(problem).await);
        }
        let snapshot = batch
            .read_whole(&request.scope, &[key], mutation, &request.device)
            .await?;
        let restored = restore(
            &snapshot,
            key,
            held.as_ref(),
            request.expected,
            mutation,
            &context,
        );
        let copy = restored.copy.map(|copy| told_to(&request.device, copy));
        match restored.status {
            RestoreStatus::Restored | RestoreStatus::Moved => {
                let info = DeviceInfo::default();
                let author = self.author(&request.device, &info, mark, request.now);
                self.commit(batch, &request.scope, &restored.plan, &author)
                    .await?;
            }
            RestoreStatus::NoSuchSource
            | RestoreStatus::SourceRemoved
            | RestoreStatus::OutOfVersions => batch.discard().await?,
        }
        Ok((restored.status, copy))
    }
}

/// What a caller is told of a wish for an old version.
fn restore_response(
    status: RestoreStatus,
    source: Source,
    copy: Option<ServerCopy>,
) -> Result<RestoreResponse, Refusal> {
    let (field, known, held) = match source {
        Source::Version(_) => (
            "version",
            "a version of this entity, see ListVersions",
            "a version whose data retention has not removed, see ListVersions",
        ),
        Source::LosingSide(_) => (
            "losing_side",
            "a losing side of this entity, see ListVersions",
            "a losing side whose data retention has not removed, see ListVersions",
        ),
    };
    match status {
        RestoreStatus::Restored => Ok(RestoreResponse { done: true, copy }),
        RestoreStatus::Moved => Ok(RestoreResponse { done: false, copy }),
        RestoreStatus::NoSuchSource => Err(expected(field, known)),
        RestoreStatus::SourceRemoved => Err(expected(field, held)),
        RestoreStatus::OutOfVersions => Err(expected(
            "expected_version",
            "an entity with room for another version, the largest int32 is used",
        )),
    }
}

/// A device knows what it is called itself.
fn told_to(device: &DeviceId, copy: ServerCopy) -> ServerCopy {
    let device_label = copy.device_label.filter(|_| copy.device != *device);
    ServerCopy {
        device_label,
        ..copy
    }
}

fn expected(field: &'static str, expected: &'static str) -> Refusal {
    Refusal::Invalid(vec![FieldProblem { field, expected }])
}

fn mark(number: Option<BatchNumber>, decision: MutationId) -> Option<BatchMark> {
    number.map(|number| BatchMark::of_decision(number, decision))
}

fn decision(request: &ResolveRequest) -> Decision {
    let (choice, data): (&[u8], &[u8]) = match &request.choice {
        Choice::KeepServer => (b"keep_server", b""),
        Choice::KeepClient => (b"keep_client", b""),
        Choice::UseData(document) => (b"use_data", document.text().as_bytes()),
        Choice::KeepBoth => (b"keep_both", b""),
    };
    let mutation = decision_mutation(&[
        request.conflict.0.as_bytes(),
        request.device.as_str().as_bytes(),
        choice,
        data,
        &request.expected.number().to_be_bytes(),
        &request.expected_other.number().to_be_bytes(),
    ]);
    Decision {
        choice: request.choice.clone(),
        expected: request.expected,
        expected_other: request.expected_other,
        mutation,
    }
}

fn restoration(request: &RestoreRequest) -> MutationId {
    let source: Uuid = match request.source {
        Source::Version(version) => Uuid::from_u128(version.number().unsigned_abs().into()),
        Source::LosingSide(mutation) => mutation.0,
    };
    decision_mutation(&[
        b"restore",
        request.key.entity_type.as_str().as_bytes(),
        request.key.entity_id.as_bytes(),
        request.device.as_str().as_bytes(),
        source.as_bytes(),
        &request.expected.number().to_be_bytes(),
    ])
}
