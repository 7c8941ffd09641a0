//! What the server keeps of a device, and how it reads its clock (section 4).

use ironflow_sync::grpc::proto::{DeviceInfo, SyncItem, SyncRequest, SyncResult};
use serde_json::json;
use uuid::Uuid;

use super::now_ms;
use crate::support::{TestService, put};

#[tokio::test]
async fn what_a_device_says_of_itself_stays_until_it_says_otherwise() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    for (name, label, pending, expected) in [
        ("says nothing", None, 3, (None, 3)),
        (
            "says its name",
            Some("Mia's phone"),
            2,
            (Some("Mia's phone"), 2),
        ),
        ("says nothing again", None, 1, (Some("Mia's phone"), 1)),
        (
            "says nothing in a message",
            Some(""),
            0,
            (Some("Mia's phone"), 0),
        ),
        ("is renamed", Some("Old phone"), -7, (Some("Old phone"), 0)),
    ] {
        let device = label.map(|label| DeviceInfo {
            label: label.to_owned(),
            ..DeviceInfo::default()
        });
        let request = SyncRequest {
            items: vec![put(Uuid::new_v4(), 0, &json!({}))],
            device,
            pending_count: pending,
            ..phone.request()
        };
        phone.send(request).await.expect("answers");
        let read = "select label, pending_count from devices where device_id = 'phone'";
        let row = sql.query_one(read, &[]).await.expect("one device");
        let kept: (Option<String>, i32) = (row.get(0), row.get(1));
        assert_eq!((kept.0.as_deref(), kept.1), expected, "{name}");
    }
}

const HOUR_MS: i64 = 3_600_000;

/// How far an edit time may be off by the time the messages travel.
const TRAVEL_MS: i64 = 1_500;

#[tokio::test]
async fn edit_times_are_corrected_by_the_clock_of_the_device() {
    let service = TestService::start().await;
    let mut reader = service.device("mia", "reader").await;
    // Name, how far the device's clock is ahead, whether it says so, when the edit was made by its
    // clock (from its now), and by the server's.
    for (name, ahead, says, made, expected) in [
        ("a right clock", 0, true, -HOUR_MS, -HOUR_MS),
        ("an hour slow", -HOUR_MS, true, -HOUR_MS, -HOUR_MS),
        ("an hour fast", HOUR_MS, true, -HOUR_MS, -HOUR_MS),
        (
            "slow, and silent about it",
            -HOUR_MS,
            false,
            -HOUR_MS,
            -2 * HOUR_MS,
        ),
        ("fast, and silent about it", HOUR_MS, false, -HOUR_MS / 2, 0),
        ("an edit from the future", 0, true, HOUR_MS, 0),
    ] {
        let mut phone = service.device("mia", "phone").await;
        let id = Uuid::new_v4();
        let clock = now_ms() + ahead;
        let item = SyncItem {
            timestamp: clock + made,
            ..put(id, 0, &json!({"n": 1}))
        };
        let request = SyncRequest {
            items: vec![item],
            client_time: if says { clock } else { 0 },
            ..phone.request()
        };
        let sent = phone
            .send(request)
            .await
            .expect("answers")
            .results
            .remove(0);
        let conflict: SyncResult = reader.sync_one(put(id, 0, &json!({}))).await;
        let edited = conflict.conflict.expect("details").server_edit_time;
        let off = edited - (sent.server_timestamp + expected);
        assert!(off.abs() < TRAVEL_MS, "{name}: {off} ms off");
        assert!(
            edited <= sent.server_timestamp,
            "{name}: it lies in the future"
        );
    }
}
