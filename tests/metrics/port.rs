//! The port of metrics in bad hands: bounded like the other one.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::told::{LISTEN, PATIENCE, get, say};
use crate::support::TestService;

/// More than may be open at once.
const TOO_MANY: usize = 40;

async fn listening() -> (TestService, SocketAddr) {
    let service = TestService::with(&LISTEN).await;
    let address = service.metrics.expect("it listens");
    (service, address)
}

#[tokio::test]
async fn nothing_but_metrics_and_health_is_told() {
    let (service, address) = listening().await;
    for path in [
        "/",
        "/metrics/",
        "/metric",
        "/debug/pprof",
        "/../metrics",
        "/%6detrics",
    ] {
        assert_eq!(get(address, path).await.0, 404, "{path}");
    }
    for method in ["POST", "PUT", "HEAD", "DELETE", "OPTIONS", "BREW"] {
        let question =
            format!("{method} /metrics HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        let answer = say(address, question.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("allow: GET"), "{answer}");
    }
    let answer = say(address, b"GET /metrics?user=mia HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    // Not on the port of calls.
    assert_ne!(service.address, address);
}

#[tokio::test]
async fn health_is_told_as_it_is() {
    let (mut service, address) = listening().await;
    while get(address, "/healthz").await != (200, "serving\n".to_owned()) {}
    service.stop().await.expect("an orderly end");
    TcpStream::connect(address).await.expect_err("closed");
}

#[tokio::test]
async fn a_question_that_is_too_long_or_none_is_not_waited_for() {
    let (_service, address) = listening().await;
    let endless = format!("GET /metrics HTTP/1.1\r\nx: {}", "a".repeat(1 << 20));
    for question in [endless.as_bytes(), b"\x16\x03\x01 no HTTP at all\r\n\r\n"] {
        let answer = say(address, question).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    assert_eq!(get(address, "/metrics").await.0, 200);
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_hung_up_on_and_keeps_nobody_out_for_long() {
    let (_service, address) = listening().await;
    let mut silent = Vec::new();
    for _ in 0..TOO_MANY {
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        // Some begin to speak.
        let _ = connection.write_all(b"GET /metr").await;
        silent.push(connection);
    }
    for mut connection in silent {
        let mut nothing = Vec::new();
        let ended = timeout(PATIENCE, connection.read_to_end(&mut nothing)).await;
        let _ = ended.expect("hung up on");
        assert!(!nothing.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(get(address, "/metrics").await.0, 200);
}
