//! What is valid is kept and returned as it is, however odd.

use ironflow_sync::grpc::proto::Resolution::{Applied, NeedsUser, Unchanged};
use ironflow_sync::grpc::proto::{DeviceInfo, PullRequest, SyncItem, SyncRequest};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestService, put, put_bytes};

/// What was pushed comes back with the same value, and may be pushed again.
#[tokio::test]
async fn numbers_survive_the_way_in_and_out_and_in_again() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    for (number, another) in [
        ("12345678901234567890123", "12345678901234567890124"),
        ("1.10", "1.11"),
        ("9007199254740993", "9007199254740992"),
        ("1e308", "1.00000000000000000001e308"),
        ("-1e308", "1e308"),
        ("1e-308", "1.1e-308"),
        ("-0", "0.1"),
        ("0.1", "0.10000000000000001"),
        (
            "123456789012345678901234567890123456789012345678901234567e-300",
            "0",
        ),
        ("1E+2", "101"),
    ] {
        let id = Uuid::new_v4();
        let sent = format!("{{\"n\": [{number}, \"{number}\"]}}");
        phone.sync_one(put_bytes(id, 0, sent.as_bytes())).await;
        let other = format!("{{\"n\": [{another}, \"{number}\"]}}");
        let conflict = tablet.sync_one(put_bytes(id, 0, other)).await;
        assert_eq!(
            conflict.resolution(),
            NeedsUser,
            "{number} is not {another}"
        );
        let same = tablet
            .sync_one(put_bytes(id, 0, conflict.server_data.clone()))
            .await;
        assert_eq!(same.resolution(), Unchanged, "{number}: {same:?}");
        let same = tablet.sync_one(put_bytes(id, 0, sent)).await;
        assert_eq!(
            same.resolution(),
            Unchanged,
            "{number}: it changed its value"
        );
        let pull = PullRequest {
            device_id: "tablet".to_owned(),
            ..PullRequest::default()
        };
        let (pulled, _) = tablet.pull_all(pull).await;
        let pulled = pulled
            .into_iter()
            .find(|one| one.entity_id == id.to_string());
        let pulled = pulled.expect("it is there").data;
        let same = tablet.sync_one(put_bytes(id, 0, pulled)).await;
        assert_eq!(same.resolution(), Unchanged, "{number}, pulled: {same:?}");
    }
}

/// Text that would mean something to SQL, a shell, a log or a format string.
const HOSTILE: [&str; 12] = [
    "'; drop table entities; --",
    "$1",
    "%s%n{}{0}",
    "\\",
    "\\x00",
    "\"}]",
    "a\nb\r\n\tc",
    "\u{1f3cb}\u{200d}\u{2640} 力 \u{202e}",
    "e\u{301} is not é",
    "${jndi:ldap://x}",
    "null",
    " spaces ",
];

#[tokio::test]
async fn hostile_text_is_stored_and_returned_as_it_is() {
    let service = TestService::start().await;
    let mut reader = service.device("mia", "reader").await;
    for text in HOSTILE {
        let data = json!({ text: [text, { "k": text }] });
        let item = SyncItem {
            group_id: text.to_owned(),
            ..put(Uuid::new_v4(), 0, &data)
        };
        let mut device = service.device("mia", text).await.called(text);
        let request = SyncRequest {
            items: vec![item.clone()],
            device: Some(DeviceInfo {
                label: text.to_owned(),
                platform: text.to_owned(),
                app_version: text.to_owned(),
            }),
            ..device.request()
        };
        let answer = device
            .send(request)
            .await
            .expect("answers")
            .results
            .remove(0);
        assert_eq!(answer.resolution(), Applied, "{text}");
        let id = item.entity_id.parse().expect("a UUID");
        let conflict = reader.sync_one(put(id, 0, &json!({}))).await;
        let returned: Value = serde_json::from_slice(&conflict.server_data).expect("JSON");
        assert_eq!(returned, data, "{text}");
        let detail = conflict.conflict.expect("details");
        assert_eq!(detail.server_device_id, text);
        assert_eq!(detail.server_device_label, text);
    }
    let sql = service.database.client().await;
    let read = "select device_id, label, platform, app_version from devices \
                where device_id <> 'reader' order by device_id";
    let devices = sql.query(read, &[]).await.expect("devices");
    let mut known = HOSTILE.to_vec();
    known.sort_unstable();
    assert_eq!(devices.len(), known.len());
    for (row, text) in devices.iter().zip(known) {
        for column in 0..4 {
            assert_eq!(row.get::<_, &str>(column), text);
        }
    }
}
