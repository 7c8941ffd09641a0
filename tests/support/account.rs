//! Everything the server holds of a user, as a device of theirs takes it along or deletes it.

use ironflow_sync::grpc::proto::Resolution::{Applied, Merged, NeedsUser};
use ironflow_sync::grpc::proto::export_account_response::Record;
use ironflow_sync::grpc::proto::{
    DeleteAccountRequest, DeleteAccountResponse, ExportAccountRequest, ExportAccountResponse,
    SyncItem, SyncResult,
};
use serde_json::json;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Device, TestService, delete, put};

impl Device {
    /// Asks for everything there is of the user.
    pub async fn export(&mut self) -> Result<Streaming<ExportAccountResponse>, Status> {
        let request = self.authorized(ExportAccountRequest {});
        Ok(self.client.export_account(request).await?.into_inner())
    }

    /// All records of an export.
    pub async fn export_all(&mut self) -> Vec<Record> {
        let mut stream = self.export().await.expect("a stream");
        let mut records = Vec::new();
        while let Some(message) = stream.message().await.expect("no error") {
            records.push(message.record.expect("a record"));
        }
        records
    }
}

impl Device {
    /// Asks to delete the account, or confirms it.
    pub async fn delete_account(&mut self, token: &str) -> Result<DeleteAccountResponse, Status> {
        let confirmation_token = token.to_owned();
        let request = self.authorized(DeleteAccountRequest { confirmation_token });
        Ok(self.client.delete_account(request).await?.into_inner())
    }

    /// Deletes the account, as a person who has confirmed it.
    pub async fn leave_for_good(&mut self) -> DeleteAccountResponse {
        let offer = self.delete_account("").await.expect("an offer");
        let deleted = self.delete_account(&offer.confirmation_token).await;
        let deleted = deleted.expect("an answer");
        assert!(deleted.deleted);
        deleted
    }
}

/// A user with rows of every kind: histories, a merge, conflicts open and settled, two workouts that are
/// possibly one, a tombstone, an edit of the library that lost.
pub async fn live(service: &TestService, user: &str) -> [Device; 2] {
    let mut phone = service.device(user, "phone").await.called("Phone");
    let mut tablet = service.device(user, "tablet").await;
    let day = |day: u32, title: &str| json!({"title": title, "owner": user, "date": format!("2026-11-{day}T18:00:00Z")});
    let [open, settled, gone, twice, again, volume] = [0; 6].map(|_| Uuid::new_v4());
    for (date, id) in [(10, open), (11, settled), (12, gone)] {
        expect(&mut phone, put(id, 0, &day(date, "a"))).await;
        expect(&mut phone, put(id, 1, &day(date, "b"))).await;
    }
    for (date, id) in [(10, open), (11, settled)] {
        let answer = tablet.sync_one(put(id, 1, &day(date, "c"))).await;
        assert_eq!(answer.resolution(), NeedsUser);
    }
    expect(&mut tablet, put(settled, 2, &day(11, "d"))).await;
    expect(&mut phone, delete(gone, 2)).await;
    expect(&mut phone, put(twice, 0, &day(13, "e"))).await;
    let answer = expect(&mut tablet, put(again, 0, &day(13, "f"))).await;
    assert!(!answer.possible_duplicate_of.is_empty(), "a duplicate");
    let volume = |base, data| SyncItem {
        entity_type: "volume".to_owned(),
        ..put(volume, base, &data)
    };
    expect(&mut phone, volume(0, json!({"chest": 8}))).await;
    expect(&mut phone, volume(1, json!({"chest": 12, "owner": user}))).await;
    let merged = tablet.sync_one(volume(1, json!({"chest": 9, "back": 6})));
    assert_eq!(merged.await.resolution(), Merged);
    [phone, tablet]
}

async fn expect(device: &mut Device, item: SyncItem) -> SyncResult {
    let answer = device.sync_one(item).await;
    assert_eq!(answer.resolution(), Applied);
    answer
}
