//! A device of a user: everything it can call, and what checks ask of it again and again.

use std::time::Duration;

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{
    ConflictState, DeviceInfo, Entity, GetConflictRequest, GetConflictResponse, GetStatusRequest,
    GetStatusResponse, HistoryEntry, ListConflictsRequest, ListConflictsResponse,
    ListVersionsRequest, PullRequest, PullResponse, Resolution, ResolveConflictRequest,
    ResolveConflictResponse, RestoreVersionRequest, RestoreVersionResponse, SyncItem, SyncRequest,
    SyncResponse, SyncResult, WatchRequest, WatchResponse,
};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::check::{Checked, broken, expect, means, settled, there};
use crate::client::Patience;
use crate::record::{Record, note};
use crate::subject::{Subject, User};

/// Pages of one pull before a check gives up on reaching its end.
const PAGES_MAX: usize = 10_000;

/// A device of a user.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    pub user: &'a User,
    /// Its id.
    pub id: &'static str,
}

impl Device<'_> {
    /// Calls, and waits where the server asks for that.
    pub async fn call<M: Clone, R>(
        &self,
        message: M,
        rpc: impl AsyncFn(SyncServiceClient<Channel>, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Status> {
        let connection = &self.user.connection;
        let mut patience = Patience::default();
        loop {
            let request = connection.request(message.clone());
            match rpc(connection.client(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => patience.wait(status).await?,
            }
        }
    }

    /// A batch of it, still empty.
    pub fn batch(&self) -> SyncRequest {
        SyncRequest {
            device_id: self.id.to_owned(),
            device: Some(DeviceInfo {
                label: self.label(),
                platform: "conformance".to_owned(),
                ..DeviceInfo::default()
            }),
            ..SyncRequest::default()
        }
    }

    /// What a person would call it.
    pub fn label(&self) -> String {
        self.id.replace('-', " ")
    }

    /// Pushes a batch as it is, and remembers what may have been written.
    pub async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, Status> {
        if !request.validate_only {
            let keys = request
                .items
                .iter()
                .filter(|item| item.entity_id.len() == 36)
                .map(|item| (item.entity_type.clone(), item.entity_id.to_lowercase()));
            self.user.made.borrow_mut().extend(keys);
        }
        self.call(request, async |mut client, request| {
            client.sync(request).await
        })
        .await
    }

    /// Pushes items, and returns the answers: one each.
    pub async fn push(&self, items: &[SyncItem]) -> Checked<Vec<SyncResult>> {
        let request = SyncRequest {
            items: items.to_vec(),
            ..self.batch()
        };
        let answer = self.sync(request).await?;
        expect("answers, one per item", answer.results.len(), items.len())?;
        Ok(answer.results)
    }

    /// Pushes one item.
    pub async fn push_one(&self, item: SyncItem) -> Checked<SyncResult> {
        let mut results = self.push(&[item]).await?;
        there("an answer", results.pop())
    }

    /// Pushes one item, which is settled so.
    pub async fn settles(
        &self,
        item: SyncItem,
        resolution: Resolution,
        version: i32,
    ) -> Checked<SyncResult> {
        let force = if item.force { "forced " } else { "" };
        let what = format!(
            "{} by {} based on {}",
            item.operation, self.id, item.version
        );
        let answer = self.push_one(item).await?;
        settled(&format!("{force}{what}"), &answer, resolution, version)?;
        Ok(answer)
    }

    /// Puts a note on a version, which is the current one: it becomes the next.
    pub async fn writes(&self, record: &Record, base: i32, text: &str) -> Checked {
        let edit = record.put(base, &note(text));
        self.settles(edit, Resolution::Applied, base + 1).await?;
        Ok(())
    }

    /// The server's clock.
    pub async fn now(&self) -> Checked<i64> {
        Ok(self.sync(self.batch()).await?.server_time)
    }

    /// A request for a page of these types after a cursor.
    pub fn page(&self, entity_types: &[&str], cursor: &str) -> PullRequest {
        PullRequest {
            device_id: self.id.to_owned(),
            cursor: cursor.to_owned(),
            entity_types: entity_types.iter().map(|name| (*name).to_owned()).collect(),
            ..PullRequest::default()
        }
    }

    /// Pulls one page.
    pub async fn pull(&self, request: PullRequest) -> Result<PullResponse, Status> {
        self.call(request, async |mut client, request| {
            client.pull(request).await
        })
        .await
    }

    /// Pulls to the end: what came, in its order, and the cursor behind it.
    pub async fn pull_all(&self, mut request: PullRequest) -> Checked<(Vec<Entity>, String)> {
        let mut entities = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.pull(request.clone()).await?;
            entities.extend(page.entities);
            if !page.has_more {
                return Ok((entities, page.cursor));
            }
            if page.cursor == request.cursor {
                return broken(
                    "expected the cursor of a page with has_more to move on; it did not",
                );
            }
            request.cursor = page.cursor;
        }
        broken(format!("expected a pull to end, came {PAGES_MAX} pages"))
    }

    /// The cursor behind everything there is of these types now.
    pub async fn end(&self, subject: &Subject, entity_types: &[&str]) -> Checked<String> {
        let mut request = self.page(entity_types, &subject.begun(entity_types).await?);
        request.page_size = subject.limits().page_size_max;
        let (_, cursor) = self.pull_all(request).await?;
        Ok(cursor)
    }

    /// What came of these types after a cursor, its own included.
    pub async fn pull_after(&self, entity_types: &[&str], cursor: &str) -> Checked<Vec<Entity>> {
        let request = PullRequest {
            include_own: true,
            ..self.page(entity_types, cursor)
        };
        Ok(self.pull_all(request).await?.0)
    }

    /// Watches from where a pull would go on.
    pub async fn watch(&self, request: PullRequest) -> Result<Streaming<WatchResponse>, Status> {
        let request = WatchRequest {
            device_id: request.device_id,
            cursor: request.cursor,
            entity_types: request.entity_types,
            page_size: request.page_size,
            include_own: request.include_own,
            schema_version: request.schema_version,
            batch_number: request.batch_number,
        };
        self.call(request, async |mut client, request| {
            client.watch(request).await
        })
        .await
    }

    /// How the account is doing.
    pub async fn get_status(&self) -> Result<GetStatusResponse, Status> {
        let device_id = self.id.to_owned();
        self.call(
            GetStatusRequest { device_id },
            async |mut client, request| client.get_status(request).await,
        )
        .await
    }

    /// A page of the inbox.
    pub async fn list_conflicts(
        &self,
        request: ListConflictsRequest,
    ) -> Result<ListConflictsResponse, Status> {
        self.call(request, async |mut client, request| {
            client.list_conflicts(request).await
        })
        .await
    }

    /// The newest conflicts of a state and a type.
    pub async fn conflicts(
        &self,
        state: ConflictState,
        entity_type: &str,
    ) -> Checked<Vec<ironflow_sync::grpc::proto::Conflict>> {
        let request = ListConflictsRequest {
            state: state.into(),
            entity_type: entity_type.to_owned(),
            page_size: 500,
            ..ListConflictsRequest::default()
        };
        Ok(self.list_conflicts(request).await?.conflicts)
    }

    /// Everything about a conflict.
    pub async fn get_conflict(&self, conflict_id: &str) -> Result<GetConflictResponse, Status> {
        let conflict_id = conflict_id.to_owned();
        self.call(
            GetConflictRequest { conflict_id },
            async |mut client, request| client.get_conflict(request).await,
        )
        .await
    }

    /// Decides about a conflict on this device.
    pub async fn resolve(
        &self,
        request: ResolveConflictRequest,
    ) -> Result<ResolveConflictResponse, Status> {
        let request = ResolveConflictRequest {
            device_id: self.id.to_owned(),
            ..request
        };
        self.call(request, async |mut client, request| {
            client.resolve_conflict(request).await
        })
        .await
    }

    /// What an entity held before, the newest first: the first page, of up to 500 entries.
    pub async fn versions(&self, record: &Record) -> Checked<Vec<HistoryEntry>> {
        let request = ListVersionsRequest {
            entity_type: record.kind.name.to_owned(),
            entity_id: record.id.to_string(),
            page_size: 500,
            ..ListVersionsRequest::default()
        };
        let answer = self.call(request, async |mut client, request| {
            client.list_versions(request).await
        });
        Ok(answer.await?.entries)
    }

    /// Brings something back, on this device.
    pub async fn restore(
        &self,
        request: RestoreVersionRequest,
    ) -> Result<RestoreVersionResponse, Status> {
        let request = RestoreVersionRequest {
            device_id: self.id.to_owned(),
            ..request
        };
        self.call(request, async |mut client, request| {
            client.restore_version(request).await
        })
        .await
    }

    /// What the server holds of an entity of this run, by a pull. `None`: it never heard of it.
    pub async fn held(&self, subject: &Subject, record: &Record) -> Checked<Option<Entity>> {
        let cursor = subject.begun(&[record.kind.name]).await?;
        let entities = self.pull_after(&[record.kind.name], &cursor).await?;
        Ok(newest(&entities, record))
    }

    /// The server holds this as this version.
    pub async fn finds(
        &self,
        subject: &Subject,
        record: &Record,
        data: &Value,
        version: i32,
    ) -> Checked {
        let held = there("the entity on a page", self.held(subject, record).await?)?;
        expect("the version on a page", held.version, version)?;
        expect("deleted on a page", held.deleted, false)?;
        means("the entity on a page", &held.data, data)
    }

    /// The server holds a tombstone of this version.
    pub async fn finds_deleted(&self, subject: &Subject, record: &Record, version: i32) -> Checked {
        let held = there("the tombstone on a page", self.held(subject, record).await?)?;
        expect("deleted on a page", held.deleted, true)?;
        expect("the version on a page", held.version, version)
    }
}

/// The last that a list of changes says of an entity.
pub fn newest(entities: &[Entity], record: &Record) -> Option<Entity> {
    let id = record.id.to_string();
    let mut found = entities.iter().rev();
    found.find(|entity| entity.entity_id == id).cloned()
}

/// How long an event of a watch may take.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(30);
