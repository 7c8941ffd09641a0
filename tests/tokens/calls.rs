//! The service as a caller sees it.

use ironflow_sync::auth::Algorithm;
use ironflow_sync::grpc::proto::SyncRequest;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::key_server::{Answer, KeyServer};
use super::signer::{Signer, claims, key_set, now_s, signed, unsigned};
use crate::support::service::{SECRET, token};
use crate::support::{TestService, web};

const ISSUER: &str = "https://id.example";

/// A service that takes the tokens of one issuer, with keys that are read when somebody asks.
async fn service(server: &KeyServer) -> TestService {
    let url = server.url();
    TestService::with(&[
        "--jwt-keys",
        &url,
        "--jwt-issuer",
        ISSUER,
        "--jwt-audience",
        "gym",
        "--jwt-user-claim",
        "user_id",
        "--jwt-refetch-interval-ms",
        "10",
    ])
    .await
}

fn gym_claims() -> Value {
    json!({"user_id": "mia", "iss": ISSUER, "aud": ["gym"], "exp": now_s() + 3600})
}

/// Calls `Sync` with headers, and says how it ended.
async fn call(service: &TestService, headers: &[(&'static str, &str)]) -> Result<(), Status> {
    let mut call = Request::new(SyncRequest {
        device_id: "phone".to_owned(),
        ..SyncRequest::default()
    });
    for (name, value) in headers {
        let value = value.parse().expect("ASCII");
        call.metadata_mut().append(*name, value);
    }
    service.client().await.sync(call).await.map(drop)
}

fn check_refused(what: &str, called: Result<(), Status>, reason: &str) {
    let refused = called.expect_err(what);
    assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, reason, "{what}");
    for secret in ["eyJ", "kid", "hostile", "mia", "127.0.0.1", ISSUER, "gym"] {
        assert!(!refused.message().contains(secret), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn tokens_of_a_key_set_are_taken_and_hostile_ones_refused() {
    let signer = Signer::new(Algorithm::RS256, "2024");
    let server = KeyServer::start(Answer::Body(key_set(&[&signer]))).await;
    let service = service(&server).await;
    let good = gym_claims();
    let but = |name: &str, value: Value| {
        let mut claims = gym_claims();
        claims[name] = value;
        signer.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = gym_claims();
        claims.as_object_mut().expect("claims").remove(name);
        signer.sign(&claims)
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let valid = bearer(&signer.sign(&good));
    call(&service, &[("authorization", &valid)])
        .await
        .expect("valid");

    let none = format!(
        "{}.",
        unsigned("{\"alg\":\"nOnE\",\"kid\":\"2024\"}", &good)
    );
    let modulus = signer.jwk()["n"].as_str().expect("a modulus").to_owned();
    let public = EncodingKey::from_secret(modulus.as_bytes());
    let header = "{\"alg\":\"HS256\",\"kid\":\"2024\"}";
    let confused = signed(header, &good, &public, Algorithm::HS256);
    let stranger = Signer::new(Algorithm::RS256, "other");
    let hostile = json!({"alg": "RS256", "kid": "../../hostile' or 1=1 --"});
    for (what, token) in [
        ("alg none", none),
        ("HS256 with the public key", confused),
        ("HS256 with another secret", token("mia")),
        (
            "PS256 by its name only",
            signer.sign_under(&json!({"alg": "PS256", "kid": "2024"}), &good),
        ),
        ("a hostile key id", stranger.sign_under(&hostile, &good)),
        ("another key", stranger.sign_under(&signer.header(), &good)),
        ("expired", but("exp", json!(now_s() - 60))),
        ("not valid yet", but("nbf", json!(now_s() + 60))),
        ("no exp", without("exp")),
        (
            "another issuer",
            but("iss", json!("https://id.example.evil")),
        ),
        ("no issuer", without("iss")),
        ("another audience", but("aud", json!("gym2"))),
        ("no audience", without("aud")),
        ("no user", without("user_id")),
        ("an odd-typed user", but("user_id", json!({"id": "mia"}))),
        ("only sub", signer.sign(&claims("mia"))),
    ] {
        let called = call(&service, &[("authorization", &bearer(&token))]).await;
        check_refused(what, called, "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn a_rotated_key_is_taken_at_once_and_a_revoked_one_refused() {
    let old = Signer::new(Algorithm::ES256, "old");
    let new = Signer::new(Algorithm::ES256, "new");
    let server = KeyServer::start(Answer::Body(key_set(&[&old]))).await;
    let service = service(&server).await;
    let header = |signer: &Signer| format!("Bearer {}", signer.sign(&gym_claims()));
    call(&service, &[("authorization", &header(&old))])
        .await
        .expect("the key of the set");
    server.tell(Answer::Body(key_set(&[&new])));
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    call(&service, &[("authorization", &header(&new))])
        .await
        .expect("the first token of the new key");
    let called = call(&service, &[("authorization", &header(&old))]).await;
    check_refused("the old key", called, "TOKEN_INVALID");
}

#[tokio::test]
async fn while_keys_can_not_be_fetched_callers_are_told_to_come_back() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let server = KeyServer::start(Answer::HangUp).await;
    let service = service(&server).await;
    let header = format!("Bearer {}", signer.sign(&gym_claims()));
    let refused = call(&service, &[("authorization", &header)]).await;
    let refused = refused.expect_err("no keys");
    assert_eq!(refused.code(), Code::Unavailable);
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, "KEYS_UNAVAILABLE");
    let retry = refused.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some());
}

#[tokio::test]
async fn a_token_may_stand_in_x_jwt_token_and_only_one_may_stand_anywhere() {
    let service = TestService::start().await;
    let token = token("mia");
    let bearer = format!("Bearer {token}");
    let bare = ("x-jwt-token", token.as_str());
    let usual = ("authorization", bearer.as_str());
    call(&service, &[usual]).await.expect("the usual header");
    call(&service, &[bare]).await.expect("the other header");
    for (what, headers) in [
        ("both", vec![usual, bare]),
        ("the usual twice", vec![usual, usual]),
        ("the other twice", vec![bare, bare]),
        ("an empty one", vec![("x-jwt-token", "")]),
        (
            "another scheme beside it",
            vec![("authorization", "Basic eA=="), bare],
        ),
        ("nothing beside it", vec![("authorization", ""), bare]),
        ("an empty one beside it", vec![usual, ("x-jwt-token", "")]),
    ] {
        check_refused(what, call(&service, &headers).await, "TOKEN_MISSING");
    }
    let called = call(&service, &[("x-jwt-token", &bearer)]).await;
    check_refused("a scheme where none belongs", called, "TOKEN_INVALID");

    let message = b"\x12\x05phone";
    let path = "POST /ironflow.sync.v1.SyncService/Sync";
    let web = ("content-type", "application/grpc-web+proto");
    let answer = web::http(service.address, path, &[web, bare], &web::frame(message)).await;
    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
    let both = web::grpc_web(service.address, &token, &[bare], message).await;
    let reason = both
        .grpc_status()
        .get_details_error_info()
        .map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("TOKEN_MISSING"), "{both:?}");
}

#[tokio::test]
async fn a_secret_and_a_key_set_can_be_accepted_at_once() {
    let signer = Signer::new(Algorithm::EdDSA, "a");
    let server = KeyServer::start(Answer::Body(key_set(&[&signer]))).await;
    let url = server.url();
    let arguments = ["--jwt-keys", &url, "--jwt-secret", SECRET];
    let service = TestService::with(&arguments).await;
    for token in [token("mia"), signer.token("mia")] {
        let header = format!("Bearer {token}");
        call(&service, &[("authorization", &header)])
            .await
            .expect("either");
    }
    // As Supabase does it: signed with the secret, and with a key id all the same.
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let header = "{\"alg\":\"HS256\",\"kid\":\"legacy\"}";
    let token = signed(header, &claims("mia"), &secret, Algorithm::HS256);
    call(&service, &[("x-jwt-token", &token)])
        .await
        .expect("the secret has no name");
}

#[tokio::test]
async fn a_token_of_100_kb_ends_the_call_and_not_the_service() {
    let service = TestService::start().await;
    for (length, code) in [
        (9_000, Code::Unauthenticated),
        // Beyond 16 KiB HTTP/2 itself ends the call (431, which is no gRPC), far beyond the connection.
        (20_000, Code::Unknown),
        (100_000, Code::ResourceExhausted),
    ] {
        let header = format!("Bearer {}", "x".repeat(length));
        let called = call(&service, &[("authorization", &header)]).await;
        let refused = called.expect_err("far too long");
        assert_eq!(refused.code(), code, "{length}: {refused:?}");
    }
    let answer = web::grpc_web(service.address, &"x".repeat(100_000), &[], b"").await;
    check_refused("over HTTP/1.1", Err(answer.grpc_status()), "TOKEN_INVALID");
    let mut mia = service.device("mia", "phone").await;
    mia.sync(vec![]).await;
}
