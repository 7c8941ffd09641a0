//! Pulling and watching, between the messages of the wire and the types of the domain.

use super::edge::now;
use super::fields::{batch_number, device_id};
use super::inbox::conflict_message;
use super::packed::{Paged, PullResponse, WatchResponse};
use super::proto::{self, watch_response};
use crate::auth::Caller;
use crate::config::Limits;
use crate::domain::entity::EntityType;
use crate::domain::scope::Scope;
use crate::domain::standing::Gate;
use crate::error::{FieldProblem, Refusal};
use crate::pull::{Page, PullRequest};
use crate::watch::Event;

/// Entities on a page if the device does not say.
pub(super) const PAGE_SIZE_DEFAULT: i32 = 500;

/// Types a pull may name: more than any catalog has.
const TYPES_MAX: usize = 256;

/// Checks a request for a page. A watch asks with the same fields.
pub(super) fn pull_request(
    request: proto::PullRequest,
    caller: &Caller,
    gate: Gate,
    limits: &Limits,
) -> Result<PullRequest, Refusal> {
    let mut problems = Vec::new();
    let mut problem = |field, expected| problems.push(FieldProblem { field, expected });
    if request.page_size < 0 {
        problem("page_size", "0 or more");
    }
    if request.schema_version < 0 {
        problem("schema_version", "0 or more");
    }
    if request.entity_types.len() > TYPES_MAX {
        problem("entity_types", "at most 256 types");
    }
    let types: Option<Vec<EntityType>> = request
        .entity_types
        .iter()
        .map(|name| EntityType::new(name))
        .collect();
    if types.is_none() {
        problem(
            "entity_types",
            "names of 1-64 lower-case letters, digits and underscores",
        );
    }
    let batches = batch_number(request.batch_number);
    if let Err(number_problem) = &batches {
        problems.push(number_problem.clone());
    }
    let device = device_id(&request.device_id);
    if let Err(device_problem) = &device {
        problems.push(device_problem.clone());
    }
    let (Some(types), Ok(batches), Ok(device), []) = (types, batches, device, problems.as_slice())
    else {
        return Err(Refusal::Invalid(problems));
    };
    let page_size = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        asked => asked,
    };
    Ok(PullRequest {
        scope: Scope::of(&caller.user),
        device,
        cursor: request.cursor,
        types,
        page_size: page_size.min(limits.page_size_max).into(),
        include_own: request.include_own,
        schema: request.schema_version,
        batches,
        export: request.export,
        gate,
    })
}

/// A watch asks as a pull does.
pub(super) fn as_pull(request: proto::WatchRequest) -> proto::PullRequest {
    proto::PullRequest {
        device_id: request.device_id,
        cursor: request.cursor,
        entity_types: request.entity_types,
        page_size: request.page_size,
        include_own: request.include_own,
        schema_version: request.schema_version,
        batch_number: request.batch_number,
        export: false,
    }
}

/// A page, as a message.
pub(super) fn pull_response(page: Page) -> PullResponse {
    let rest = proto::PullResponse {
        entities: Vec::new(),
        cursor: page.cursor,
        has_more: page.has_more,
        server_time: now().0,
        remaining: page.remaining,
        open_conflicts: page.open_conflicts,
    };
    Paged {
        entities: page.entities,
        rest,
    }
}

/// What happens on a watch, as a message.
pub(super) fn watch_response(event: Event) -> WatchResponse {
    let event = match event {
        Event::Changes { entities, cursor } => {
            let rest = proto::Changes {
                entities: Vec::new(),
                cursor,
            };
            return WatchResponse::Changes(Paged { entities, rest });
        }
        Event::Conflict(conflict) => {
            watch_response::Event::Conflict(conflict_message(conflict, None))
        }
        Event::CaughtUp { cursor } => watch_response::Event::CaughtUp(proto::CaughtUp { cursor }),
        Event::Heartbeat { cursor } => watch_response::Event::Heartbeat(proto::Heartbeat {
            server_time: now().0,
            cursor,
        }),
    };
    proto::WatchResponse { event: Some(event) }.into()
}
