//! Numbers as jsonb writes them out, made short again.

use crate::domain::number::{Decimal, NUMBER_CHARS_MAX};

/// Rewrites the numbers that jsonb wrote out beyond what a device may send (`1e308` has
/// 309 digits there) in their short form. Everything else stays as it is.
pub fn shorten_numbers(text: String) -> String {
    let bytes = text.as_bytes();
    if !may_hold_overlong_number(bytes) {
        return text;
    }
    let mut short = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                if end - at > NUMBER_CHARS_MAX {
                    short.push_str(&text[copied..at]);
                    short.push_str(&Decimal::from_token(&text[at..end]).to_string());
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return text;
    }
    short.push_str(&text[copied..]);
    short
}

/// Whether there may be something for [`shorten_numbers`] to do: so many characters of numbers stand in a row
/// anywhere, in strings too. Whatever is that long covers a place that is looked at.
pub fn may_hold_overlong_number(bytes: &[u8]) -> bool {
    let is_overlong = |at: usize| {
        let before = bytes[..at].iter().rev();
        let before = before.take_while(|byte| is_of_number(byte)).count();
        number_end(bytes, at) - (at - before) > NUMBER_CHARS_MAX
    };
    let places = (0..bytes.len()).step_by(NUMBER_CHARS_MAX);
    let mut places = places.filter(|at| is_of_number(&bytes[*at]));
    places.any(is_overlong)
}

fn is_of_number(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The index behind the string that opens at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The index behind the number that begins at `at`.
fn number_end(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at..]
        .iter()
        .take_while(|byte| is_of_number(byte))
        .count();
    at + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_written_out_by_the_store_are_shortened_outside_strings_only() {
        let digits = format!("1{}", "0".repeat(308));
        let text =
            format!("{{\"a\": {digits}, \"b\": \"\\\"{digits}\", \"c\": [-{digits}, 1.10]}}");
        assert_eq!(
            shorten_numbers(text),
            format!("{{\"a\": 1e308, \"b\": \"\\\"{digits}\", \"c\": [-1e308, 1.10]}}")
        );
    }

    #[test]
    fn a_number_that_is_one_too_long_is_found_wherever_it_stands() {
        let (long, longer) = (
            "1".repeat(NUMBER_CHARS_MAX),
            "1".repeat(NUMBER_CHARS_MAX + 1),
        );
        let short = Decimal::from_token(&longer).to_string();
        for space in 0..2 * NUMBER_CHARS_MAX {
            let document = |number: &str| format!("[{}{number}]", " ".repeat(space));
            assert_eq!(shorten_numbers(document(&long)), document(&long));
            assert!(may_hold_overlong_number(document(&longer).as_bytes()));
            assert_eq!(shorten_numbers(document(&longer)), document(&short));
        }
    }
}
