//! The server at hand, and the users it is asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use ironflow_sync::grpc::proto::export_account_response::Record as Exported;
use ironflow_sync::grpc::proto::{
    Choice, ConflictState, EntityTypeInfo, ExportAccountRequest, GetServerInfoRequest,
    GetServerInfoResponse, Limits, ListConflictsRequest, ResolveConflictRequest, ServerCopy,
    SyncItem, SyncRequest, SyncStatus,
};
use tonic::Status;
use uuid::Uuid;

use crate::check::{Checked, Finding};
use crate::client::{Account, Connection, described};
use crate::device::Device;
use crate::record::{Kind, Record, forced};

/// The server at hand.
pub struct Subject {
    /// What it says of itself.
    pub info: GetServerInfoResponse,
    /// The last number of a batch that a check took for the counting device.
    pub last_number: Cell<i64>,
    mine: User,
    other: Option<User>,
    /// Where pulls of these types ended when they were first needed: checks begin there, so that they need not
    /// read what was there before them.
    begun: RefCell<BTreeMap<Vec<String>, String>>,
}

/// A user of it.
pub struct User {
    /// How they are reached.
    pub account: Account,
    /// Their connection.
    pub connection: Connection,
    /// What was written for them: types and ids.
    pub made: RefCell<BTreeSet<(String, String)>>,
}

impl User {
    async fn open(account: Account) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            connection: Connection::open(&account).await?,
            account,
            made: RefCell::default(),
        })
    }

    fn device(&self, id: &'static str) -> Device<'_> {
        Device { user: self, id }
    }

    /// Who they are, by the first record of an export. `None` if the server does not say.
    pub async fn id(&self) -> Option<String> {
        let request = self.connection.request(ExportAccountRequest {});
        let records = self.connection.client().export_account(request).await;
        let first = records.ok()?.into_inner().message().await.ok()??;
        match first.record? {
            Exported::Account(account) => Some(account.user_id),
            Exported::Device(_)
            | Exported::Entity(_)
            | Exported::OldVersion(_)
            | Exported::LosingSide(_)
            | Exported::Conflict(_)
            | Exported::Done(_) => None,
        }
    }
}

impl Subject {
    /// Connects, and finds out whether the server can be asked at all; otherwise says what to do.
    pub async fn open(
        account: &Account,
        other_token: Option<&str>,
    ) -> Result<Self, Box<dyn Error>> {
        let mine = User::open(account.clone()).await?;
        let info = mine
            .device("conformance-phone")
            .call(GetServerInfoRequest {}, async |mut client, request| {
                client.get_server_info(request).await
            })
            .await
            .map_err(|status| format!("GetServerInfo was refused: {}", described(&status)))?;
        check_may_sync(&mine, "--token").await?;
        let other = match other_token {
            Some(token) => {
                let account = Account {
                    token: token.to_owned(),
                    ..account.clone()
                };
                let other = User::open(account).await?;
                check_may_sync(&other, "--other-token").await?;
                let (one, two) = (mine.id().await, other.id().await);
                if one.is_some() && one == two {
                    return Err("--token and --other-token are of the same user".into());
                }
                Some(other)
            }
            None => None,
        };
        Ok(Self {
            info,
            mine,
            other,
            begun: RefCell::default(),
            last_number: Cell::default(),
        })
    }

    /// A device of the user.
    pub fn phone(&self) -> Device<'_> {
        self.mine.device("conformance-phone")
    }

    /// Another device of the user.
    pub fn tablet(&self) -> Device<'_> {
        self.mine.device("conformance-tablet")
    }

    /// A third device of the user.
    pub fn watch(&self) -> Device<'_> {
        self.mine.device("conformance-watch")
    }

    /// A device of the user that counts its batches.
    pub fn counting(&self) -> Device<'_> {
        self.mine.device("conformance-counting")
    }

    /// A device of the user that is revoked in the course of the first run.
    pub fn lost(&self) -> Device<'_> {
        self.mine.device("conformance-lost")
    }

    /// A device of another user. Its id is that of a device of the first: ids of devices are nobody's own.
    pub fn stranger(&self) -> Checked<Device<'_>> {
        let other = self.other.as_ref();
        let other = other.ok_or_else(|| {
            Finding::NotAsked("give a token of another user with --other-token".to_owned())
        })?;
        Ok(other.device("conformance-phone"))
    }

    /// What the server says of its limits.
    pub fn limits(&self) -> Limits {
        self.info.limits.unwrap_or_default()
    }

    /// What the server says of a type; an own catalog may not have it.
    pub fn type_info(&self, kind: Kind) -> Checked<&EntityTypeInfo> {
        let mut types = self.info.entity_types.iter();
        types
            .find(|info| info.entity_type == kind.name && info.policy == kind.policy)
            .ok_or_else(|| {
                let Kind { name, policy } = kind;
                Finding::NotAsked(format!(
                    "this server's catalog has no type {name} with policy {policy}"
                ))
            })
    }

    /// An entity that does not exist yet, of a type that the server has.
    pub async fn fresh(&self, kind: Kind) -> Checked<Record> {
        self.type_info(kind)?;
        self.begun(&[kind.name]).await?;
        Ok(Record {
            kind,
            id: Uuid::new_v4(),
        })
    }

    /// The cursor behind everything there was of these types when a check first asked: a cursor is bound to the
    /// user and the types, not to the device.
    pub async fn begun(&self, entity_types: &[&str]) -> Checked<String> {
        let mut request = self.phone().page(entity_types, "");
        request.page_size = self.limits().page_size_max;
        let key = request.entity_types.clone();
        let known = self.begun.borrow().get(&key).cloned();
        if let Some(cursor) = known {
            return Ok(cursor);
        }
        let (_, cursor) = self.phone().pull_all(request).await?;
        self.begun.borrow_mut().insert(key, cursor.clone());
        Ok(cursor)
    }

    /// Settles and deletes what was written, and says so.
    pub async fn tidy_up(&self) -> String {
        let mut deleted = 0;
        for user in [Some(&self.mine), self.other.as_ref()]
            .into_iter()
            .flatten()
        {
            match self.tidy_up_for(user).await {
                Ok(count) => deleted += count,
                Err(status) => return format!("not all is tidied up: {}", described(&status)),
            }
        }
        format!("left behind: {deleted} deleted entities and the devices conformance-...")
    }

    async fn tidy_up_for(&self, user: &User) -> Result<usize, Status> {
        let device = user.device("conformance-phone");
        let mut made = user.made.borrow().clone();
        // Of the library nothing is a device's own.
        made.retain(|(entity_type, _)| {
            let mut types = self.info.entity_types.iter();
            types.any(|info| info.entity_type == *entity_type && !info.shared)
        });
        let mut page = ListConflictsRequest {
            state: ConflictState::Open.into(),
            ..ListConflictsRequest::default()
        };
        let mut waiting = Vec::new();
        loop {
            let answer = device.list_conflicts(page.clone()).await?;
            waiting.extend(answer.conflicts);
            page.page_token = answer.next_page_token;
            if page.page_token.is_empty() {
                break;
            }
        }
        for conflict in waiting {
            let key = (conflict.entity_type, conflict.entity_id);
            if made.contains(&key) {
                let seen = device.get_conflict(&conflict.conflict_id).await?;
                let version = |copy: Option<_>| copy.map_or(0, |copy: ServerCopy| copy.version);
                device
                    .resolve(ResolveConflictRequest {
                        conflict_id: conflict.conflict_id,
                        choice: Choice::KeepServer.into(),
                        expected_version: version(seen.server),
                        expected_duplicate_version: version(seen.duplicate),
                        ..ResolveConflictRequest::default()
                    })
                    .await?;
            }
        }
        let deletions: Vec<SyncItem> = made.iter().map(deletion).collect();
        let mut deleted = 0;
        let most = usize::try_from(self.limits().batch_items_max).unwrap_or(0);
        for items in deletions.chunks(most.clamp(1, 100)) {
            let request = SyncRequest {
                items: items.to_vec(),
                ..device.batch()
            };
            let answer = device.sync(request).await?;
            let gone = answer.results.iter();
            deleted += gone
                .filter(|answer| answer.status() == SyncStatus::Success)
                .count();
        }
        if deleted < deletions.len() {
            let alive = deletions.len() - deleted;
            return Err(Status::internal(format!(
                "{alive} entities were not deleted"
            )));
        }
        Ok(deleted)
    }
}

fn deletion((entity_type, entity_id): &(String, String)) -> SyncItem {
    forced(SyncItem {
        entity_type: entity_type.clone(),
        entity_id: entity_id.clone(),
        operation: "delete".to_owned(),
        ..SyncItem::default()
    })
}

/// Pushes nothing, which a server that can be asked answers.
async fn check_may_sync(user: &User, argument: &str) -> Result<(), String> {
    let device = user.device("conformance-phone");
    let pushed = device.sync(device.batch()).await;
    pushed.map(drop).map_err(|status| {
        let came = described(&status);
        format!("an empty batch with the token of {argument} was refused: {came}")
    })
}
