//! Connections that end at an age.

use std::time::Duration;

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::watch_response::Event;
use serde_json::json;
use uuid::Uuid;

use crate::support::{TestService, put};

/// More than anything that is waited for takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(50);

#[tokio::test]
async fn a_connection_of_age_ends_and_its_watch_goes_on_elsewhere_from_its_cursor() {
    let age = ["--connection-age-max-s", "1", "--call-timeout-ms", "1000"];
    let service = TestService::with(&age).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let answer = phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Applied);
    let mut cursor = String::new();
    let mut seen = 0;
    // Cut twice, and nothing is missed.
    for round in 1..=2 {
        let mut watch = tablet
            .watch(tablet.page_after(&cursor))
            .await
            .expect("a stream");
        let cut = async {
            loop {
                match watch.message().await {
                    Ok(Some(message)) => {
                        if let Some(Event::Changes(changes)) = message.event {
                            seen += changes.entities.len();
                            cursor = changes.cursor;
                        }
                    }
                    Ok(None) => panic!("an end that nobody would take for a cut"),
                    Err(status) => return status,
                }
            }
        };
        let cut = tokio::time::timeout(PATIENCE, cut).await;
        cut.expect("connections end at their age");
        assert_eq!(seen, round);
        // While the tablet is away, over a connection that was new meanwhile.
        let answer = phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
        assert_eq!(answer.resolution(), Applied);
    }
}
