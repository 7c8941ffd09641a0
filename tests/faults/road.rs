//! The road between a device and a service: one connection long, and what goes wrong on it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::frames::HEADERS;

/// What happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// Nothing.
    Plain,
    /// Everything goes in small pieces, with a pause between them.
    Slow,
    /// So many bytes arrive, then the connection is closed.
    Truncated(usize),
    /// The service answers, and the connection is closed before the answer is through.
    AnswerCut,
    /// The service answers, and nothing comes back; nobody says that the connection is gone.
    HalfOpen,
    /// What the device sends arrives a second time, on another connection.
    Doubled,
}

/// Bytes of a piece on a slow road, and the pause after it.
const PIECE_BYTES: usize = 64;
const PAUSE: Duration = Duration::from_millis(2);

/// A road to a service for one connection: where it begins, and its task.
pub async fn open(road: Road, to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let from = listener.local_addr().expect("an address");
    let carried = tokio::spawn(async move {
        let Ok((device, _)) = listener.accept().await else {
            return;
        };
        if let Ok(service) = TcpStream::connect(to).await {
            carry(road, device, service, to).await;
        }
    });
    (from, carried)
}

async fn carry(road: Road, device: TcpStream, service: TcpStream, to: SocketAddr) {
    for side in [&device, &service] {
        side.set_nodelay(true).expect("a socket");
    }
    let (from_device, to_device) = device.into_split();
    let (from_service, to_service) = service.into_split();
    let there = match road {
        Road::Truncated(bytes) => return truncate(from_device, to_service, bytes).await,
        Road::Doubled => tokio::spawn(double(from_device, to_service, to)),
        Road::Plain | Road::AnswerCut | Road::HalfOpen => {
            tokio::spawn(forward(from_device, to_service, usize::MAX, Duration::ZERO))
        }
        Road::Slow => tokio::spawn(forward(from_device, to_service, PIECE_BYTES, PAUSE)),
    };
    match road {
        Road::AnswerCut => until_the_answer(from_service, to_device).await,
        Road::HalfOpen => swallow(from_service, to_device).await,
        Road::Slow => forward(from_service, to_device, PIECE_BYTES, PAUSE).await,
        Road::Plain | Road::Doubled | Road::Truncated(_) => {
            forward(from_service, to_device, usize::MAX, Duration::ZERO).await;
        }
    }
    there.abort();
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    piece_bytes: usize,
    pause: Duration,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        for piece in buffer[..read].chunks(piece_bytes.min(read)) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }
}

async fn truncate(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes: usize) {
    let mut left = bytes;
    let mut buffer = [0; 1024];
    while left > 0 {
        let Ok(read @ 1..) = from.read(&mut buffer[..left.min(1024)]).await else {
            return;
        };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read;
    }
}

/// Lets pass what the service says before its answer, then ends.
async fn until_the_answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut come: Vec<u8> = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        // A frame: three bytes of length, its kind, and five more before what it holds.
        while let [a, b, c, kind, ..] = come[..] {
            let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
            if kind == HEADERS {
                return;
            }
            if come.len() < end {
                break;
            }
            let frame: Vec<u8> = come.drain(..end).collect();
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        come.extend(&buffer[..read]);
    }
}

/// Takes what the service says, and keeps the connection to the device open until the service is done.
async fn swallow(mut from: OwnedReadHalf, _to: OwnedWriteHalf) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

/// Sends on what the device says, and all of it once more elsewhere: a piece later, so that sometimes the
/// one and sometimes the other is first.
async fn double(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, again: SocketAddr) {
    let Ok(mut second) = TcpStream::connect(again).await else {
        return;
    };
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let said = &buffer[..read];
        let sent = tokio::join!(to.write_all(said), second.write_all(said));
        if sent.0.is_err() {
            break;
        }
    }
    // Its answer is for nobody, but it may take its time.
    tokio::spawn(async move {
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            while let Ok(1..) = second.read(&mut buffer).await {}
        })
        .await;
    });
}
