//! The conflict inbox as a device sees it.

use ironflow_sync::grpc::proto::{
    Choice, Conflict, ConflictState, GetConflictRequest, GetConflictResponse, ListConflictsRequest,
    ListConflictsResponse, ResolveConflictRequest, ResolveConflictResponse,
};
use serde_json::Value;
use tonic::Status;

use super::Device;

impl Device {
    /// A decision of the person on this device.
    pub fn decision(&self, conflict_id: &str, choice: Choice, seen: i32) -> ResolveConflictRequest {
        ResolveConflictRequest {
            device_id: self.device_id.clone(),
            conflict_id: conflict_id.to_owned(),
            choice: choice.into(),
            expected_version: seen,
            ..ResolveConflictRequest::default()
        }
    }

    /// A decision for data of the person's own.
    pub fn own_decision(
        &self,
        conflict_id: &str,
        data: &Value,
        seen: i32,
    ) -> ResolveConflictRequest {
        ResolveConflictRequest {
            data: data.to_string().into_bytes(),
            ..self.decision(conflict_id, Choice::UseData, seen)
        }
    }

    /// Sends a decision.
    pub async fn resolve(
        &mut self,
        request: ResolveConflictRequest,
    ) -> Result<ResolveConflictResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.resolve_conflict(request).await?.into_inner())
    }

    /// Everything about a conflict.
    pub async fn conflict(&mut self, conflict_id: &str) -> Result<GetConflictResponse, Status> {
        let conflict_id = conflict_id.to_owned();
        let request = self.authorized(GetConflictRequest { conflict_id });
        Ok(self.client.get_conflict(request).await?.into_inner())
    }

    /// A page of conflicts.
    pub async fn conflict_page(
        &mut self,
        request: ListConflictsRequest,
    ) -> Result<ListConflictsResponse, Status> {
        let request = self.authorized(request);
        Ok(self.client.list_conflicts(request).await?.into_inner())
    }

    /// All conflicts of a state.
    pub async fn conflicts(&mut self, state: ConflictState) -> Vec<Conflict> {
        let mut request = ListConflictsRequest {
            state: state.into(),
            page_size: 3,
            ..ListConflictsRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let page = self.conflict_page(request.clone()).await.expect("a page");
            found.extend(page.conflicts);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return found;
            }
        }
    }
}
