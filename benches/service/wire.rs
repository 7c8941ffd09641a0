//! A client that costs next to nothing: one connection, one method, one call at a time. Headers are packed
//! once and by their number from then on (as any client does), a message goes out with its headers in one
//! write, and answers are not unpacked further than they have to be.

use std::ops::Range;

use ironflow_sync::grpc::proto::SyncRequest;
use prost::Message;
use prost::bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, frame, headers, message,
    opening,
};

/// See RFC 9113, section 6.
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of settings and pings: an answer.
const ACK: u8 = 1;
/// The setting of a stream's first window.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The largest frame everybody takes, and its header.
const FRAME_BYTES_MAX: usize = 16_384;
const FRAME_HEADER_BYTES: usize = 9;
/// Room for a few of them.
const INCOMING_BYTES: usize = 4 * (FRAME_BYTES_MAX + FRAME_HEADER_BYTES);
/// What stands before a message: whether it is compressed, and its length.
const MESSAGE_HEADER_BYTES: usize = 5;

/// The windows of connections and streams unless somebody says otherwise, and the largest there are.
const WINDOW_BYTES: i64 = 65_535;
const WINDOW_BYTES_MAX: u32 = 0x7fff_ffff;

/// The methods of the service, by their paths.
const SYNC: &str = "/ironflow.sync.v1.SyncService/Sync";
pub const PULL: &str = "/ironflow.sync.v1.SyncService/Pull";

/// A connection that calls one method with one token.
pub struct Wire {
    socket: TcpStream,
    /// The headers of the first call, which both ends remember, and of every later one.
    first_headers: Vec<u8>,
    next_headers: Vec<u8>,
    stream: u32,
    /// What may be sent: on the connection, on the stream, on a stream that begins.
    connection_window: i64,
    stream_window: i64,
    initial_window: i64,
    /// What came since the other end was last told that it may send on.
    received: u32,
    outgoing: Vec<u8>,
    /// What was read and not yet looked at: a part of this.
    incoming: Box<[u8]>,
    unread: Range<usize>,
    answer: BytesMut,
    ended: bool,
}

impl Wire {
    /// Connects to an address and port; calls go to one method of a service, named like `SYNC`.
    pub async fn connect(address: &str, path: &str, token: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a socket");
        let mut first = opening(WINDOW_BYTES_MAX);
        first.extend(may_send(WINDOW_BYTES_MAX - WINDOW_BYTES as u32));
        socket.write_all(&first).await.expect("taken");
        let (first_headers, next_headers) = packed_headers(&[
            (":path", path),
            (":authority", address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("authorization", &format!("Bearer {token}")),
        ]);
        Self {
            socket,
            first_headers,
            next_headers,
            stream: 1,
            connection_window: WINDOW_BYTES,
            stream_window: WINDOW_BYTES,
            initial_window: WINDOW_BYTES,
            received: 0,
            outgoing: Vec::new(),
            incoming: vec![0; INCOMING_BYTES].into(),
            unread: 0..0,
            answer: BytesMut::new(),
            ended: false,
        }
    }

    /// A connection that pushes.
    pub async fn pushing(address: &str, token: &str) -> Self {
        Self::connect(address, SYNC, token).await
    }

    /// Calls with a message that is framed already, and returns the answer's message.
    pub async fn call(&mut self, framed: &[u8]) -> Bytes {
        let packed = if self.stream == 1 {
            &self.first_headers
        } else {
            &self.next_headers
        };
        self.outgoing = frame(HEADERS, END_HEADERS, self.stream, packed);
        self.stream_window = self.initial_window;
        self.ended = false;
        let mut rest = framed;
        loop {
            rest = self.put(rest);
            if !self.outgoing.is_empty() {
                let sent = self.socket.write_all(&self.outgoing).await;
                sent.expect("taken");
                self.outgoing.clear();
            }
            if self.ended {
                break;
            }
            self.take_frame().await;
        }
        self.stream += 2;
        let mut answer = self.answer.split().freeze();
        assert!(
            rest.is_empty() && answer.len() >= MESSAGE_HEADER_BYTES,
            "the call was refused"
        );
        answer.advance(MESSAGE_HEADER_BYTES);
        answer
    }

    /// Makes frames of a message, as far as the other end takes them; returns the rest.
    fn put<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        loop {
            let window = self.connection_window.min(self.stream_window).max(0);
            let size = rest.len().min(FRAME_BYTES_MAX).min(window as usize);
            if size == 0 {
                return rest;
            }
            let (now, later) = rest.split_at(size);
            let flags = if later.is_empty() { END_STREAM } else { 0 };
            self.outgoing.extend(frame(DATA, flags, self.stream, now));
            self.connection_window -= size as i64;
            self.stream_window -= size as i64;
            rest = later;
        }
    }

    /// Takes one frame in.
    async fn take_frame(&mut self) {
        let header = self.read(FRAME_HEADER_BYTES).await;
        let header = &self.incoming[header];
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let (kind, flags) = (header[3], header[4]);
        let stream = number(&header[5..]);
        let payload = self.read(length as usize).await;
        let payload = &self.incoming[payload];
        match kind {
            HEADERS => self.ended |= flags & END_STREAM != 0,
            DATA => {
                self.answer.extend_from_slice(payload);
                self.ended |= flags & END_STREAM != 0;
                self.received += length;
                if self.received > WINDOW_BYTES_MAX / 2 {
                    self.outgoing.extend(may_send(self.received));
                    self.received = 0;
                }
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let name = u16::from_be_bytes([setting[0], setting[1]]);
                    if name == INITIAL_WINDOW_SIZE {
                        let window = i64::from(number(&setting[2..]));
                        self.stream_window += window - self.initial_window;
                        self.initial_window = window;
                    }
                }
                self.outgoing.extend(frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK == 0 => self.outgoing.extend(frame(PING, ACK, 0, payload)),
            WINDOW_UPDATE if stream == 0 => self.connection_window += i64::from(number(payload)),
            WINDOW_UPDATE if stream == self.stream => {
                self.stream_window += i64::from(number(payload));
            }
            GOAWAY | RST_STREAM => panic!("the service ended the call: {payload:?}"),
            _ => (),
        }
    }

    /// So many bytes of what comes: where they are.
    async fn read(&mut self, size: usize) -> Range<usize> {
        if self.incoming.len() - self.unread.start < size {
            self.incoming.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        while self.unread.len() < size {
            let read = self.socket.read(&mut self.incoming[self.unread.end..]);
            let read = read.await.expect("an answer");
            assert!(read > 0, "the service hung up");
            self.unread.end += read;
        }
        let start = self.unread.start;
        self.unread.start += size;
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        start..start + size
    }
}

/// A push as it travels.
pub fn framed(request: &SyncRequest) -> Vec<u8> {
    message(false, &request.encode_to_vec())
}

/// Says that so much more may be sent on a connection.
fn may_send(bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// Headers of a call by POST, spelt out to be remembered, and by the numbers they are remembered under
/// (RFC 7541, sections 6.1 and 6.2.1).
fn packed_headers(pairs: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    const REMEMBERED: u8 = 0x40;
    /// The newest that is remembered; older ones have higher numbers.
    const NEWEST: u8 = 0x80 + 62;
    let mut first = vec![POST, HTTP];
    let mut next = first.clone();
    for (place, pair) in pairs.iter().enumerate() {
        let start = first.len();
        first.extend(headers(&[*pair]));
        first[start] = REMEMBERED;
        next.push(NEWEST + (pairs.len() - 1 - place) as u8);
    }
    (first, next)
}
