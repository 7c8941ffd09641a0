//! Text made of parts: what ids are derived from, and what is signed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::cursor::CursorKey;

/// Bytes of a signature that travel: enough that nobody guesses one.
pub(super) const TAG_BYTES: usize = 16;

/// Appends a part. With its length before it, no part can run into the next.
pub(super) fn put(text: &mut Vec<u8>, part: &[u8]) {
    text.extend_from_slice(&(part.len() as u64).to_be_bytes());
    text.extend_from_slice(part);
}

/// The parts as one text.
pub(super) fn joined<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for part in parts {
        put(&mut text, part);
    }
    text
}

/// The signature over parts, as it travels.
pub(super) fn tag<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    key: &CursorKey,
) -> [u8; TAG_BYTES] {
    let signature = signer(parts, key).finalize().into_bytes();
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&signature[..TAG_BYTES]);
    tag
}

/// Whether this is the signature over the parts, all that travels of it.
pub(super) fn is_tag<'a>(
    tag: &[u8],
    parts: impl IntoIterator<Item = &'a [u8]>,
    key: &CursorKey,
) -> bool {
    tag.len() == TAG_BYTES && signer(parts, key).verify_truncated_left(tag).is_ok()
}

fn signer<'a>(parts: impl IntoIterator<Item = &'a [u8]>, key: &CursorKey) -> Hmac<Sha256> {
    Hmac::<Sha256>::new(&key.0.into()).chain_update(joined(parts))
}
