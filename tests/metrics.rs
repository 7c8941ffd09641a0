//! What the service tells of itself: counted right, named once, documented, without a word of anybody.

mod dashboard;
mod load;
mod port;
pub mod told;

use std::collections::BTreeSet;

use ironflow_sync::grpc::metered::METHODS;
use ironflow_sync::grpc::proto::DESCRIPTORS;
use ironflow_sync::grpc::proto::Resolution::Applied;
use prost_types::FileDescriptorSet;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::support::{TestService, put};

use load::{ITEM_TYPES, load};
use told::{LISTEN, Told, until};

#[tokio::test]
async fn what_devices_do_is_counted() {
    let service = TestService::with(&LISTEN).await;
    let watching = load(&service, "mia").await;
    let told = Told::by(&service).await;
    let items = |entity_type: &str, status: &str, resolution: &str| {
        told.value(&format!(
            "ironflow_items_total{{entity_type=\"{entity_type}\",status=\"{status}\",resolution=\"{resolution}\"}}"
        ))
    };
    assert_eq!(items("workout", "success", "applied"), 3.0);
    assert_eq!(items("workout", "conflict", "needs_user"), 1.0);
    assert_eq!(items("volume", "success", "applied"), 2.0);
    assert_eq!(items("volume", "conflict", "merged"), 1.0);
    assert_eq!(items("unknown", "error", "unknown_entity_type"), 1.0);
    assert_eq!(items("unknown", "error", "invalid_item"), 1.0);
    assert_eq!(told.value("ironflow_replays_total"), 1.0);
    assert_eq!(told.value("ironflow_batch_items_sum"), 9.0);
    assert_eq!(told.value("ironflow_device_pending_items_sum"), 7.0);
    assert_eq!(told.value("ironflow_device_retries_sum"), 4.0);
    assert_eq!(told.value("ironflow_watchers"), 1.0);
    let delivered = told.value("ironflow_watch_delivery_seconds_count");
    assert!((1.0..=told.value("ironflow_watch_wakeups_total")).contains(&delivered));
    assert_eq!(told.value("ironflow_serving"), 1.0);
    let sync =
        "grpc_type=\"unary\",grpc_service=\"ironflow.sync.v1.SyncService\",grpc_method=\"Sync\"";
    let handled = |code: &str| format!("grpc_server_handled_total{{{sync},grpc_code=\"{code}\"}}");
    assert_eq!(told.value(&handled("Unauthenticated")), 1.0);
    assert_eq!(told.value(&handled("PermissionDenied")), 1.0);
    let ok = told.value(&handled("OK"));
    assert_eq!(
        told.value(&format!("grpc_server_started_total{{{sync}}}")),
        ok + 2.0
    );
    for reason in ["TOKEN_INVALID", "USER_MISMATCH"] {
        let refused = format!("ironflow_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(told.value(&refused), 1.0);
    }
    let unknown = "grpc_type=\"unknown\",grpc_service=\"unknown\",grpc_method=\"unknown\"";
    let handled = format!("grpc_server_handled_total{{{unknown},grpc_code=\"Unimplemented\"}}");
    assert_eq!(told.value(&handled), 1.0);

    drop(watching);
    let watch = "grpc_type=\"server_stream\",grpc_service=\"ironflow.sync.v1.SyncService\",grpc_method=\"Watch\"";
    let given_up = format!("grpc_server_handled_total{{{watch},grpc_code=\"Canceled\"}} 1");
    let told = until(&service, |told| told.text.contains(&given_up)).await;
    assert_eq!(told.value("ironflow_watchers"), 0.0);
}

#[tokio::test]
async fn every_metric_is_described_documented_and_of_nobody() {
    let service = TestService::with(&LISTEN).await;
    let watching = load(&service, "mia-4711").await;
    let told = Told::by(&service).await;
    let names = told.families();
    assert!(names.len() > 30, "{names:?}");
    let operations = include_str!("../docs/operations.md");
    for (name, kind) in &names {
        let row = format!("| `{name}` | {kind} |");
        assert!(operations.contains(&row), "docs/operations.md has no {row}");
    }
    let documented = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("grpc_server_") || name.starts_with("ironflow_"));
    for name in documented {
        assert!(
            names.contains_key(name),
            "{name} is documented, and not told"
        );
    }
    for whose in ["mia", "4711", "phone", "tablet", "Mia", "intruder"] {
        assert!(!told.text.contains(whose), "{whose} in {}", told.text);
    }
    // Types are those of the catalog, and what no type is called.
    let types: BTreeSet<String> = told.labels("ironflow_items_total", "entity_type");
    assert_eq!(types, ITEM_TYPES.map(str::to_owned).into());
    drop(watching);
}

#[tokio::test]
async fn the_methods_that_are_counted_are_those_of_the_contract() {
    let files: FileDescriptorSet = prost::Message::decode(DESCRIPTORS).expect("descriptors");
    let mut described = BTreeSet::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                let kind = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => "unary",
                    (false, true) => "server_stream",
                    (true, _) => "bidi_stream",
                };
                let name = format!("{}.{}", file.package(), service.name());
                described.insert((name, method.name().to_owned(), kind));
            }
        }
    }
    let counted: BTreeSet<(String, String, &str)> = METHODS
        .into_iter()
        .filter(|method| method.grpc_service.starts_with("ironflow"))
        .map(|method| {
            let [service, name] = [method.grpc_service, method.grpc_method].map(str::to_owned);
            (service, name, method.grpc_type)
        })
        .collect();
    assert_eq!(counted, described);
}

#[tokio::test]
async fn conflicts_that_wait_are_counted_for_all_users_and_on_every_instance() {
    let service = TestService::with(&LISTEN).await;
    for user in ["mia", "leo"] {
        drop(load(&service, user).await);
    }
    let other = service.beside(&LISTEN).await;
    let told = until(&other, |told| told.value("ironflow_open_conflicts") > 0.0).await;
    assert_eq!(told.value("ironflow_open_conflicts"), 2.0);
    assert!(told.value("ironflow_oldest_open_conflict_seconds") >= 0.0);
    let sql = service.database.client().await;
    let age = "update conflicts set opened_at = now() - interval '1 day' where open";
    sql.batch_execute(age).await.expect("aged");
    let third = service.beside(&LISTEN).await;
    let oldest = "ironflow_oldest_open_conflict_seconds";
    let told = until(&third, |told| told.value("ironflow_open_conflicts") > 0.0).await;
    assert!(told.value(oldest) >= 86_400.0, "{}", told.value(oldest));
}

#[tokio::test]
async fn a_change_that_only_the_poll_found_is_counted() {
    let mut arguments = LISTEN.to_vec();
    arguments.extend(["--notify", "false", "--poll-interval-ms", "20"]);
    let service = TestService::with(&arguments).await;
    let deaf = service.beside(&arguments).await;
    let mut phone = service.device("mia", "phone").await;
    let first = put(Uuid::new_v4(), 0, &json!({"title": "a"}));
    assert_eq!(phone.sync_one(first).await.resolution(), Applied);
    let mut tablet = deaf.device("mia", "tablet").await;
    let mut watch = tablet.watch(tablet.page_after("")).await.expect("watches");
    for _ in ["changes", "caught up"] {
        watch.message().await.expect("goes on").expect("an event");
    }
    let name = "ironflow_lost_signals_recovered_total";
    assert_eq!(Told::by(&deaf).await.value(name), 0.0);
    let second = put(Uuid::new_v4(), 0, &json!({"title": "b"}));
    assert_eq!(phone.sync_one(second).await.resolution(), Applied);
    watch.message().await.expect("goes on").expect("a change");
    assert_eq!(Told::by(&deaf).await.value(name), 1.0);
    assert_eq!(Told::by(&service).await.value(name), 0.0);
}

#[tokio::test]
async fn what_goes_wrong_with_postgres_is_counted_by_kind() {
    let service = TestService::with(&LISTEN).await;
    let sql = service.database.client().await;
    let refuse = "alter table entities add constraint none check (version < 1) not valid";
    sql.batch_execute(refuse).await.expect("prepared");
    let mut phone = service.device("mia", "phone").await;
    let request = ironflow_sync::grpc::proto::SyncRequest {
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..phone.request()
    };
    let refused = phone.send(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Internal);
    let told = Told::by(&service).await;
    let errors = |kind: &str| {
        told.value(&format!(
            "ironflow_database_errors_total{{kind=\"{kind}\"}}"
        ))
    };
    assert_eq!(errors("constraint"), 1.0);
    assert_eq!(errors("connection"), 0.0);
    assert_eq!(
        told.value("ironflow_refusals_total{reason=\"INTERNAL\"}"),
        1.0
    );
}
