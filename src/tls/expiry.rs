//! Until when a certificate is valid: the few bytes of it that say so.

use crate::der::element;
use crate::domain::clock::Millis;
use crate::domain::moment::date_or_moment;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version of a certificate, which those of the first version do not have.
const VERSION: u8 = 0xa0;

/// When a certificate (X.509, DER) ends; `None` if it is not one.
pub(super) fn not_after(certificate: &[u8]) -> Option<Millis> {
    let (certificate, _) = inside(certificate, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if let Some((_, behind)) = inside(rest, VERSION) {
        rest = behind;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = inside(rest, tag)?;
    }
    let (validity, _) = inside(rest, SEQUENCE)?;
    let (_, end) = time(validity)?;
    time(end)?.0
}

/// What is in the first element, which has this tag, and what is behind it.
fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let first = element(bytes).filter(|first| first.tag == tag)?;
    Some((first.contents, first.rest))
}

/// A time, and what is behind it.
fn time(bytes: &[u8]) -> Option<(Option<Millis>, &[u8])> {
    let (text, century, rest) = match inside(bytes, UTC_TIME) {
        // Two digits of the year: up to 49 they are of this century.
        Some((text, rest)) => {
            let century = if *text.first()? < b'5' { "20" } else { "19" };
            (text, century, rest)
        }
        None => {
            let (text, rest) = inside(bytes, GENERALIZED_TIME)?;
            (text, "", rest)
        }
    };
    let text = format!("{century}{}", std::str::from_utf8(text).ok()?);
    let part = |from: usize, to: usize| text.get(from..to);
    let at = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    Some((date_or_moment(&at), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_ends_never_and_breaks_nothing() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x83, 0xff, 0xff, 0xff],
            &[0x30, 0x84, 0, 0, 0, 1],
            b"-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
