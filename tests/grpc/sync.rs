//! Rules of section 3, through the real service.

use ironflow_sync::grpc::proto::{Resolution, SyncStatus};
use serde_json::json;
use uuid::Uuid;

use crate::support::{TestService, put};

#[tokio::test]
async fn a_new_workout_is_applied_and_a_stale_edit_gets_the_server_copy() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();

    let created = phone
        .sync_one(put(id, 0, &json!({"title": "Push day"})))
        .await;
    assert_eq!(created.resolution(), Resolution::Applied);
    assert_eq!(created.server_version, 1);

    let stale = tablet
        .sync_one(put(id, 0, &json!({"title": "Pull day"})))
        .await;
    assert_eq!(stale.status(), SyncStatus::Conflict);
    assert_eq!(stale.resolution(), Resolution::NeedsUser);
    assert_eq!(stale.server_data, br#"{"title": "Push day"}"#);
    assert_eq!(stale.server_version, 1);
    let conflict = stale.conflict.expect("details");
    assert_eq!(conflict.server_device_id, "phone");
}
