//! Calls that fail as a whole (section 7): the code, the details, and no word too much.

use std::time::{Duration, SystemTime};

use ironflow_sync::grpc::proto::{DeviceInfo, SyncRequest};
use serde_json::json;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{check_status, count};
use crate::support::service::{SECRET, token, token_expiring};
use crate::support::{TestService, put, web};

fn request() -> SyncRequest {
    SyncRequest {
        device_id: "phone".to_owned(),
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..SyncRequest::default()
    }
}

#[tokio::test]
async fn who_has_not_exactly_one_valid_token_is_refused() {
    let service = TestService::start().await;
    let mut client = service.client().await;
    let valid = format!("Bearer {}", token("mia"));
    let past = SystemTime::now() - Duration::from_secs(3600);
    let expired = format!("Bearer {}", token_expiring("mia", past));
    let tampered = valid.replace('.', ".A");
    let basic = valid.replace("Bearer", "Basic");
    let no_algorithm = format!(
        "Bearer eyJhbGciOiJub25lIn0.{}.",
        valid.split('.').nth(1).expect("claims")
    );
    let long = format!("Bearer {}", "x".repeat(9000));
    for (name, headers, reason) in [
        ("none", vec![], "TOKEN_MISSING"),
        ("empty", vec![""], "TOKEN_MISSING"),
        ("another scheme", vec![&basic], "TOKEN_MISSING"),
        ("no scheme", vec![&valid[7..]], "TOKEN_MISSING"),
        ("the same twice", vec![&valid, &valid], "TOKEN_MISSING"),
        (
            "a valid and a bad one",
            vec![&valid, "Bearer x"],
            "TOKEN_MISSING",
        ),
        ("garbage", vec!["Bearer x.y.z"], "TOKEN_INVALID"),
        (
            "the secret itself",
            vec![&format!("Bearer {SECRET}")],
            "TOKEN_INVALID",
        ),
        ("tampered", vec![&tampered], "TOKEN_INVALID"),
        ("alg none", vec![&no_algorithm], "TOKEN_INVALID"),
        ("expired", vec![&expired], "TOKEN_INVALID"),
        ("9000 bytes", vec![&long], "TOKEN_INVALID"),
    ] {
        let mut call = Request::new(request());
        for value in headers {
            let value = value.parse().expect("ASCII");
            call.metadata_mut().append("authorization", value);
        }
        let refused = client.sync(call).await.expect_err(name);
        check_status(name, &refused, Code::Unauthenticated, reason);
    }
    let mut call = Request::new(request());
    let odd = valid.replace("Bearer", "bEaReR").parse().expect("ASCII");
    call.metadata_mut().append("authorization", odd);
    client
        .sync(call)
        .await
        .expect("letter case does not matter");
    let sql = service.database.client().await;
    assert_eq!(count(&sql, "select count(*) from entities").await, 1);
}

#[tokio::test]
async fn a_user_id_is_empty_or_the_callers() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut mia = service.device("mia", "phone").await;
    for other in ["ben", "Mia", "mia ", "user/mia", "library", "mia\0"] {
        let request = SyncRequest {
            user_id: other.to_owned(),
            ..request()
        };
        let refused = mia.send(request).await.expect_err(other);
        check_status(other, &refused, Code::PermissionDenied, "USER_MISMATCH");
    }
    assert_eq!(count(&sql, "select count(*) from scopes").await, 0);
    let own = SyncRequest {
        user_id: "mia".to_owned(),
        ..request()
    };
    mia.send(own).await.expect("that is me");
}

#[tokio::test]
async fn bad_fields_of_a_request_are_listed() {
    let service = TestService::start().await;
    let mut mia = service.device("mia", "phone").await;
    let info = |label: &str, platform: &str, app_version: &str| {
        Some(DeviceInfo {
            label: label.to_owned(),
            platform: platform.to_owned(),
            app_version: app_version.to_owned(),
        })
    };
    let long = "x".repeat(129);
    for (name, device_id, device, fields) in [
        ("no device", "", None, vec!["device_id"]),
        ("long device", &long, None, vec!["device_id"]),
        ("NUL in it", "a\0", None, vec!["device_id"]),
        ("long label", "a", info(&long, "", ""), vec!["device.label"]),
        (
            "all of it",
            "",
            info(&"é".repeat(65), "a\0", &long),
            vec![
                "device_id",
                "device.label",
                "device.platform",
                "device.app_version",
            ],
        ),
    ] {
        let request = SyncRequest {
            device_id: device_id.to_owned(),
            device,
            ..request()
        };
        let refused = mia.send(request).await.expect_err(name);
        check_status(name, &refused, Code::InvalidArgument, "INVALID_REQUEST");
        let listed = refused.get_details_bad_request().expect("BadRequest");
        let listed: Vec<_> = listed
            .field_violations
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(listed, fields, "{name}");
    }
    let most = "x".repeat(128);
    let request = SyncRequest {
        device_id: most.clone(),
        device: info(&most, &most, &most),
        pending_count: -1,
        client_time: i64::MIN,
        ..request()
    };
    mia.send(request).await.expect("that is within the limits");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_senders_fault() {
    let service = TestService::start().await;
    let token = token("mia");
    for (name, bytes) in [
        ("a cut-off field", &b"\x12\x05ab"[..]),
        ("a field number 0", b"\x00\x01"),
        ("an endless varint", &[0xff; 20]),
        ("a wrong wire type", b"\x10\x01"),
        ("text that is not UTF-8", b"\x12\x02\xff\xfe"),
        ("groups without an end", &[0x53; 2000]),
        ("text", b"{\"device_id\":\"phone\"}"),
    ] {
        let answer = web::grpc_web(service.address, &token, &[], bytes).await;
        assert_eq!(answer.code(), Code::InvalidArgument, "{name}: {answer:?}");
        check_status(
            name,
            &answer.grpc_status(),
            Code::InvalidArgument,
            "INVALID_MESSAGE",
        );
    }
    let sent = [&b"\x12\x05phone"[..], b"\xfa\x3f\x03new"].concat();
    let answer = web::grpc_web(service.address, &token, &[], &sent).await;
    assert_eq!(
        answer.code(),
        Code::Ok,
        "an unknown field is not a fault: {answer:?}"
    );
}

#[tokio::test]
async fn packed_bytes_that_do_not_unpack_are_the_senders_fault() {
    let service = TestService::start().await;
    let token = token("mia");
    for packing in ["gzip", "zstd", "identity", "br"] {
        let mut body = web::frame(b"not packed at all");
        body[0] = 1;
        let bearer = format!("Bearer {token}");
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("authorization", bearer.as_str()),
            ("grpc-encoding", packing),
        ];
        let path = "POST /ironflow.sync.v1.SyncService/Sync";
        let answer = web::http(service.address, path, &headers, &body).await;
        assert_ne!(answer.code(), Code::Ok, "{packing}");
        assert_ne!(answer.code(), Code::Unknown, "{packing}");
    }
    let mut mia = service.device("mia", "phone").await;
    mia.sync(vec![]).await;
}
