//! Reads DER, the form certificates have: elements with a tag and a length, one behind the other.

/// The first element of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// What it is.
    pub tag: u8,
    /// What is in it.
    pub contents: &'a [u8],
    /// What is behind it.
    pub rest: &'a [u8],
}

/// Reads the first element; `None`: there is none, or it is cut short.
pub(crate) fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The length is in so many bytes; no certificate needs more than three.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some(Element {
        tag,
        contents,
        rest,
    })
}
