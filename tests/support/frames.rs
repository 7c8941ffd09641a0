//! HTTP/2 frames written by hand, for what no client would send.

/// What a connection begins with: the preface and settings.
pub fn opening(initial_window_bytes: u32) -> Vec<u8> {
    let mut setting = vec![0, 4]; // SETTINGS_INITIAL_WINDOW_SIZE
    setting.extend(initial_window_bytes.to_be_bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &setting));
    bytes
}

/// Kinds of frames.
pub const DATA: u8 = 0;
/// See RFC 9113, section 6.
pub const HEADERS: u8 = 1;
/// See RFC 9113, section 6.
pub const RST_STREAM: u8 = 3;
/// See RFC 9113, section 6.
pub const SETTINGS: u8 = 4;
/// See RFC 9113, section 6.
pub const PING: u8 = 6;
/// See RFC 9113, section 6.
pub const GOAWAY: u8 = 7;
/// See RFC 9113, section 6.
pub const WINDOW_UPDATE: u8 = 8;
/// See RFC 9113, section 6.
pub const CONTINUATION: u8 = 9;

/// Of a frame of headers or data: nothing more comes on this stream.
pub const END_STREAM: u8 = 1;
/// Of settings and of a ping: the other side's have been seen.
pub const ACK: u8 = 1;
/// Of a frame of headers: they are complete.
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers as HPACK has them, each spelt out (RFC 7541, section 6.2.2).
pub fn headers(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.push(0);
        for text in [name, value] {
            string(&mut bytes, text);
        }
    }
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).expect("small"));
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push(u8::try_from(length % 128 + 128).expect("a byte"));
            length /= 128;
        }
        bytes.push(u8::try_from(length).expect("a byte"));
    }
    bytes.extend(text.as_bytes());
}

/// The headers of a call.
pub fn call(method: &str, token: &str) -> Vec<u8> {
    headers(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &format!("/ironflow.sync.v1.SyncService/{method}")),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", &format!("Bearer {token}")),
    ])
}

/// A message as gRPC frames it.
pub fn message(packed: bool, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    let mut framed = vec![u8::from(packed)];
    framed.extend(length.to_be_bytes());
    framed.extend(bytes);
    framed
}
