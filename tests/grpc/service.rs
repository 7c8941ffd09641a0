//! What stands around the calls: health, reflection, the web, the end.

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest, SyncResponse};
use prost::Message;
use prost_types::FileDescriptorProto;
use serde_json::json;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use crate::support::service::token;
use crate::support::{TestService, put, web};

const SERVICE: &str = "ironflow.sync.v1.SyncService";

fn item() -> SyncItem {
    put(Uuid::new_v4(), 0, &json!({}))
}

#[tokio::test]
async fn health_is_told_for_the_server_and_for_the_service() {
    let service = TestService::start().await;
    let mut client = HealthClient::new(service.channel().await);
    for name in ["", SERVICE] {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let mut statuses = client
            .watch(request.clone())
            .await
            .expect("watches")
            .into_inner();
        loop {
            let status = statuses
                .message()
                .await
                .expect("goes on")
                .expect("a status");
            if status.status() == ServingStatus::Serving {
                break;
            }
        }
        let checked = client.check(request).await.expect("checks").into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{name}");
    }
    let other = HealthCheckRequest {
        service: "ironflow.sync.v2.SyncService".to_owned(),
    };
    let unknown = client.check(other).await.expect_err("no such service");
    assert_eq!(unknown.code(), Code::NotFound);
}

/// Lists the services and fetches the file of ours, through one version of the protocol.
macro_rules! reflect {
    ($version:ident, $channel:expr) => {{
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as pb;
        let ask = |message| pb::ServerReflectionRequest {
            message_request: Some(message),
            ..Default::default()
        };
        let questions = [
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
        ];
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($channel);
        let answers = client
            .server_reflection_info(futures_util::stream::iter(questions))
            .await;
        let mut answers = answers.expect("answers").into_inner();
        let mut services = Vec::new();
        let mut files = Vec::new();
        while let Some(answer) = answers.message().await.expect("an answer") {
            match answer.message_response.expect("one") {
                MessageResponse::ListServicesResponse(list) => {
                    services.extend(list.service.into_iter().map(|service| service.name));
                }
                MessageResponse::FileDescriptorResponse(file) => {
                    files.extend(file.file_descriptor_proto);
                }
                other => panic!("{other:?}"),
            }
        }
        (services, files)
    }};
}

#[tokio::test]
async fn reflection_shows_the_service_with_its_comments() {
    let service = TestService::start().await;
    let v1 = reflect!(v1, service.channel().await);
    let v1alpha = reflect!(v1alpha, service.channel().await);
    for (version, (services, files)) in [("v1", v1), ("v1alpha", v1alpha)] {
        for name in [SERVICE, "grpc.health.v1.Health"] {
            assert!(
                services.iter().any(|known| known == name),
                "{version}: {services:?}"
            );
        }
        let files: Vec<_> = files
            .iter()
            .map(|file| FileDescriptorProto::decode(&file[..]).expect("a descriptor"))
            .collect();
        let ours = files
            .iter()
            .find(|file| file.package() == "ironflow.sync.v1");
        let ours = ours.unwrap_or_else(|| panic!("{version}: not our file"));
        let comments: Vec<&str> = ours
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .map(|location| location.leading_comments())
            .collect();
        for comment in ["Pushes one batch of edits", "The base version"] {
            assert!(
                comments.iter().any(|text| text.contains(comment)),
                "{version}: {comment}"
            );
        }
    }
}

#[tokio::test]
async fn a_web_page_may_call_over_http_1() {
    let service = TestService::start().await;
    let request = SyncRequest {
        device_id: "browser".to_owned(),
        items: vec![item()],
        ..SyncRequest::default()
    };
    let message = request.encode_to_vec();
    let answer = web::grpc_web(service.address, &token("mia"), &[], &message).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/grpc-web+proto")
    );
    assert_eq!(answer.code(), Code::Ok);
    let response: SyncResponse = answer.message();
    assert_eq!(response.results[0].resolution(), Applied);
    let refused = web::grpc_web(service.address, "no token", &[], &message).await;
    assert_eq!(
        (refused.status, refused.code()),
        (200, Code::Unauthenticated)
    );
}

#[tokio::test]
async fn only_configured_origins_may_call_from_a_browser() {
    let listed =
        TestService::with(&["--web-origins", "https://app.example.com,https://b.example"]).await;
    let none = TestService::start().await;
    let any = TestService::with(&["--web-origins", "*"]).await;
    for (name, service, origin, allowed) in [
        (
            "listed",
            &listed,
            "https://app.example.com",
            Some("https://app.example.com"),
        ),
        (
            "listed second",
            &listed,
            "https://b.example",
            Some("https://b.example"),
        ),
        ("another", &listed, "https://evil.example", None),
        ("another scheme", &listed, "http://app.example.com", None),
        (
            "longer",
            &listed,
            "https://app.example.com.evil.example",
            None,
        ),
        ("nothing configured", &none, "https://app.example.com", None),
        ("any", &any, "https://evil.example", Some("*")),
    ] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,x-grpc-web,grpc-timeout",
            ),
        ];
        let path = "OPTIONS /ironflow.sync.v1.SyncService/Sync";
        let answer = web::http(service.address, path, &preflight, b"").await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{name}"
        );
        if allowed.is_some() {
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(
                answer.header("access-control-allow-methods"),
                Some("POST"),
                "{name}"
            );
            let headers = answer
                .header("access-control-allow-headers")
                .expect("headers");
            assert!(allows(headers, "authorization"), "{name}: {headers}");
        }
        let from = [("origin", origin)];
        let call = web::grpc_web(service.address, &token("mia"), &from, b"\x12\x01p").await;
        assert_eq!(
            call.header("access-control-allow-origin"),
            allowed,
            "{name}"
        );
        let exposed = call.header("access-control-expose-headers");
        let shown = exposed.is_some_and(|list| {
            list == "*" || (list.contains("grpc-status") && list.contains("grpc-message"))
        });
        assert!(
            shown,
            "{name}: a page reads grpc-status from the headers: {exposed:?}"
        );
    }
}

/// Whether a browser takes the header as allowed: a `*` does not stand for `authorization` (Fetch
/// standard, "CORS non-wildcard request-header name").
fn allows(list: &str, header: &str) -> bool {
    list.split(',')
        .any(|allowed| allowed.trim().eq_ignore_ascii_case(header))
}

#[tokio::test]
async fn what_does_not_exist_is_unimplemented() {
    let service = TestService::start().await;
    let bearer = format!("Bearer {}", token("mia"));
    for path in [
        "/ironflow.sync.v1.SyncService/Purge",
        "/ironflow.sync.v2.SyncService/Sync",
        "/ironflow.sync.v1.SyncService/sync",
        "/",
        "/x",
    ] {
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("authorization", bearer.as_str()),
        ];
        let body = web::frame(b"");
        let answer = web::http(service.address, &format!("POST {path}"), &headers, &body).await;
        assert_eq!(answer.code(), Code::Unimplemented, "{path}: {answer:?}");
    }
}
