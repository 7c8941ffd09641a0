//! The service over TLS.

use ironflow_sync::grpc::proto::{Resolution, SyncRequest, SyncResponse};
use prost::Message;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::authority::{Authority, Files, Identity};
use super::client::Caller;
use super::patiently;
use crate::support::service::token;
use crate::support::web::grpc_web_over;
use crate::support::{TestService, put};

/// A service with a certificate, and more arguments.
pub async fn service(files: &Files, more: &[&str]) -> TestService {
    let arguments = files.arguments();
    let arguments = arguments.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.chain(more.iter().copied()).collect();
    TestService::with(&arguments).await
}

#[tokio::test]
async fn calls_work_with_tls_1_2_and_1_3_for_whom_the_certificate_satisfies() {
    let authority = Authority::new();
    let files = Files::with(&authority.sign("localhost"));
    let service = service(&files, &[]).await;
    for version in [&TLS12, &TLS13] {
        let caller = Caller::speaking(&authority, version);
        let stream = caller.connect(service.address).await.expect("connects");
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));

        let device = caller.device(service.address, "phone").await;
        let pushed = put(Uuid::new_v4(), 0, &json!({"title": "Legs"}));
        let answer = device.expect("connects").sync_one(pushed).await;
        assert_eq!(answer.resolution(), Resolution::Applied);

        let stranger = Caller::speaking(&Authority::new(), version);
        let refused = stranger.connect(service.address).await;
        let refused = refused.expect_err("nobody it trusts").to_string();
        assert!(refused.contains("UnknownIssuer"), "{refused}");
        let elsewhere = caller.expecting("example.com");
        let refused = elsewhere.connect(service.address).await;
        let refused = refused.expect_err("another name").to_string();
        assert!(refused.contains("not valid for name"), "{refused}");
    }
}

#[tokio::test]
async fn grpc_web_works_over_http_1_1() {
    let authority = Authority::new();
    let files = Files::with(&authority.sign("localhost"));
    let service = service(&files, &[]).await;
    let caller = Caller::trusting(&authority).offering("http/1.1");
    let stream = caller.connect(service.address).await.expect("connects");
    let protocol = stream.get_ref().1.alpn_protocol();
    assert_eq!(protocol, Some(&b"http/1.1"[..]));
    let request = SyncRequest {
        device_id: "browser".to_owned(),
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..SyncRequest::default()
    };
    let message = request.encode_to_vec();
    let answer = grpc_web_over(stream, service.address, &token("mia"), &[], &message).await;
    let answer: SyncResponse = answer.message();
    assert_eq!(answer.results[0].resolution(), Resolution::Applied);
}

#[tokio::test]
async fn who_speaks_without_tls_gets_no_answer_and_harms_nobody() {
    let authority = Authority::new();
    let files = Files::with(&authority.sign("localhost"));
    let service = service(&files, &[]).await;
    for greeting in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01], // a handshake that is none
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(service.address).await.expect("connects");
        stream.write_all(greeting).await.expect("sent");
        stream.shutdown().await.expect("sent");
        let mut answer = Vec::new();
        // Whether it is told why, or only hung up on.
        let _ = patiently("the end", stream.read_to_end(&mut answer)).await;
        const ALERT: u8 = 0x15;
        assert!(answer.is_empty() || answer[0] == ALERT, "{answer:?}");
        assert!(answer.len() < 32, "{answer:?}");
    }
    let caller = Caller::trusting(&authority);
    assert!(caller.gets_through(service.address).await);
}

#[tokio::test]
async fn silent_connections_hold_up_neither_others_nor_the_end() {
    // One after the other they would take longer than anybody waits here.
    const SILENT: usize = 20;
    let authority = Authority::new();
    let files = Files::with(&authority.sign("localhost"));
    let mut service = service(&files, &["--drain-timeout-s", "3600"]).await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(service.address).await.expect("connects"));
    }
    let caller = Caller::trusting(&authority);
    let called = patiently("a call", caller.gets_through(service.address)).await;
    assert!(called);
    silent.push(TcpStream::connect(service.address).await.expect("connects"));
    let ended = patiently("the end of the service", service.stop()).await;
    ended.expect("an orderly end");
    for mut stream in silent {
        let mut nothing = [0; 1];
        let read = patiently("to be hung up on", stream.read(&mut nothing)).await;
        assert!(!matches!(read, Ok(1)), "nothing was said");
    }
}

#[tokio::test]
async fn where_callers_need_certificates_only_those_of_the_right_authority_get_in() {
    let authority = Authority::new();
    let (friends, strangers) = (Authority::new(), Authority::new());
    let files = Files::with(&authority.sign("localhost"));
    let client_ca = files.write("friends.pem", &friends.pem());
    let service = service(&files, &["--tls-client-ca", &client_ca]).await;
    for version in [&TLS12, &TLS13] {
        let with = |identity: &Identity| Caller::identified(&authority, identity, version);
        let anonymous = Caller::speaking(&authority, version);
        assert!(!anonymous.gets_through(service.address).await);
        let stranger = with(&strangers.sign("friend"));
        assert!(!stranger.gets_through(service.address).await);
        let expired = with(&friends.sign_expired("friend"));
        assert!(!expired.gets_through(service.address).await);
        // Who signed the server's own certificate has no say in it.
        let colleague = with(&authority.sign("friend"));
        assert!(!colleague.gets_through(service.address).await);
        let friend = with(&friends.sign("friend"));
        assert!(friend.gets_through(service.address).await);
        let friend = with(&friends.sign("another"));
        assert!(friend.gets_through(service.address).await);
    }
}
