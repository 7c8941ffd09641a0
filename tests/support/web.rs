//! HTTP/1.1 by hand: what a browser sends, and what no well-behaved client would.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// An HTTP answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status, 200 even where gRPC failed.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without its transfer encoding.
    pub body: Vec<u8>,
}

/// Sends one request on a connection of its own.
pub async fn http(
    address: SocketAddr,
    method_and_path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpAnswer {
    let stream = TcpStream::connect(address).await.expect("connects");
    http_over(stream, address, method_and_path, headers, body).await
}

/// Sends one request over a connection that was made for it.
pub async fn http_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    method_and_path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpAnswer {
    let mut head =
        format!("{method_and_path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    HttpAnswer::parse(&answer)
}

/// Calls `Sync` the way gRPC-Web does, with these bytes as the message.
pub async fn grpc_web(
    address: SocketAddr,
    token: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> HttpAnswer {
    let stream = TcpStream::connect(address).await.expect("connects");
    grpc_web_over(stream, address, token, headers, message).await
}

/// The same over a connection that was made for it.
pub async fn grpc_web_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    token: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> HttpAnswer {
    let bearer = format!("Bearer {token}");
    let own = [
        ("content-type", "application/grpc-web+proto"),
        ("authorization", bearer.as_str()),
    ];
    let path = "POST /ironflow.sync.v1.SyncService/Sync";
    let headers = [&own, headers].concat();
    http_over(stream, address, path, &headers, &frame(message)).await
}

/// A message as it stands in the stream: not compressed, its length, its bytes.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("fits").to_be_bytes();
    [&[0], &length[..], message].concat()
}

impl HttpAnswer {
    /// An answer as it stood on the wire, whole.
    pub fn parse(answer: &[u8]) -> Self {
        let end = find(answer, b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let chunked = headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned()));
        let body = &answer[end + 4..];
        Self {
            status: status.and_then(|code| code.parse().ok()).expect("a status"),
            headers,
            body: if chunked {
                unchunked(body)
            } else {
                body.to_owned()
            },
        }
    }

    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The gRPC status.
    pub fn grpc_status(&self) -> Status {
        self.try_grpc_status().expect("a gRPC status")
    }

    /// The gRPC status, if there is one: in the headers of an answer without a message, else in the frame of the
    /// trailers.
    pub fn try_grpc_status(&self) -> Option<Status> {
        const TRAILERS: u8 = 0x80;
        let mut fields = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let name: HeaderName = name.parse().expect("a name");
            fields.insert(name, value.trim().parse().expect("a value"));
        };
        for (name, value) in &self.headers {
            add(name, value);
        }
        for (_, trailers) in self.frames().iter().filter(|(flags, _)| *flags == TRAILERS) {
            let text = std::str::from_utf8(trailers).expect("text");
            for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
                add(name, value);
            }
        }
        Status::from_header_map(&fields)
    }

    /// The same, where gRPC-Web came in base64: a piece of it for each frame.
    pub fn in_binary(mut self) -> Self {
        let kind = self.header("content-type").unwrap_or_default();
        if kind.starts_with("application/grpc-web-text") {
            let pieces = self.body.chunks(4).map(|piece| STANDARD.decode(piece));
            let pieces: Result<Vec<Vec<u8>>, _> = pieces.collect();
            self.body = pieces.expect("base64").concat();
        }
        self
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.grpc_status().code()
    }

    /// The first message.
    pub fn message<M: Message + Default>(&self) -> M {
        let message = self.frames().into_iter().find(|(flags, _)| *flags == 0);
        M::decode(&message.expect("a message").1[..]).expect("decodes")
    }

    /// The bytes of the first message; nothing if there is none.
    pub fn first_message(&self) -> Vec<u8> {
        let message = self.frames().into_iter().find(|(flags, _)| *flags == 0);
        message.map(|(_, bytes)| bytes).unwrap_or_default()
    }

    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &self.body[..];
        let mut frames = Vec::new();
        while let &[flags, a, b, c, d, ref behind @ ..] = rest {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length > behind.len() {
                break; // no gRPC after all
            }
            frames.push((flags, behind[..length].to_owned()));
            rest = &behind[length..];
        }
        frames
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = find(body, b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
    whole
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
