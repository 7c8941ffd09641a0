//! Exact decimal numbers, as JSON writes them: compared by value, never rounded.

use std::fmt;

/// The longest number a device may send, in characters (docs/protocol.md, section 8).
pub const NUMBER_CHARS_MAX: usize = 64;

/// The largest power of ten a device may write, either way: what a double can hold.
/// Without it `1e130000` would make jsonb keep and send back 130,001 digits.
pub const EXPONENT_MAX: i64 = 308;

/// A decimal number of any size: `0.DIGITS x 10^exponent`, in one normal form,
/// so that `1.10`, `1.1` and `11e-1` are equal and `9007199254740993` stays itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    negative: bool,
    /// Significant digits without leading or trailing zeros; empty for zero.
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a token that already follows the JSON grammar of numbers. `-0` is zero.
    pub fn from_token(token: &str) -> Self {
        let (mantissa, power) = split_exponent(token);
        let negative = mantissa.starts_with('-');
        let unsigned = mantissa.trim_start_matches('-');
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = [whole, fraction].concat();
        let significant = all.trim_start_matches('0');
        let leading_zeros = all.len() - significant.len();
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Self::default();
        }
        let point = whole.len() as i64 - leading_zeros as i64;
        Self {
            negative,
            digits: digits.to_owned(),
            exponent: point.saturating_add(power),
        }
    }
}

/// Digits and an exponent within the limits on what a device may send. For a number that takes
/// more than [`NUMBER_CHARS_MAX`] characters when written out in full this is never longer than
/// what the device sent, so what was pushed once can be pushed again.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let digits = &self.digits;
        // The power of ten behind the digits read as a whole number.
        let power = self.exponent.saturating_sub(digits.len() as i64);
        match power {
            0 => f.write_str(digits),
            _ if power.abs() <= EXPONENT_MAX => write!(f, "{digits}e{power}"),
            _ if power > 0 => {
                let zeros = "0".repeat((power - EXPONENT_MAX) as usize);
                write!(f, "{digits}{zeros}e{EXPONENT_MAX}")
            }
            _ => {
                let decimals = (-power - EXPONENT_MAX) as usize;
                let padded = format!("{digits:0>width$}", width = decimals + 1);
                let (whole, fraction) = padded.split_at(padded.len() - decimals);
                write!(f, "{whole}.{fraction}e-{EXPONENT_MAX}")
            }
        }
    }
}

/// What is wrong with the size of a number, if anything. `token` follows the JSON grammar.
pub(super) fn size_problem(token: &str) -> Option<&'static str> {
    if token.len() > NUMBER_CHARS_MAX {
        Some("expected a number of at most 64 characters")
    } else if split_exponent(token).1.abs() > EXPONENT_MAX {
        Some("expected an exponent between -308 and 308")
    } else {
        None
    }
}

/// Mantissa and power of ten; a power beyond i64 counts as the largest.
fn split_exponent(token: &str) -> (&str, i64) {
    match token.split_once(['e', 'E']) {
        None => (token, 0),
        Some((mantissa, power)) => {
            let limit = if power.starts_with('-') {
                -i64::MAX
            } else {
                i64::MAX
            };
            (mantissa, power.parse().unwrap_or(limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Decimal::from_token(a) == Decimal::from_token(b)
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        for (a, b) in [
            ("1.10", "1.1"),
            ("11e-1", "1.1"),
            ("-0", "0"),
            ("0e99", "0.000"),
            ("100", "1E+2"),
            ("0.001", "1e-3"),
            ("12345678901234567890123", "1.2345678901234567890123e22"),
        ] {
            assert!(same(a, b), "{a} = {b}");
        }
    }

    #[test]
    fn values_a_double_would_confuse_stay_apart() {
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1", "-1"),
            ("1e308", "1e307"),
        ] {
            assert!(!same(a, b), "{a} != {b}");
        }
    }

    /// Length of the number without an exponent, as jsonb writes it.
    fn written_out_chars(number: &Decimal) -> i64 {
        let digits = number.digits.len() as i64;
        let unsigned = match number.exponent {
            e if e <= 0 => 2 - e + digits,
            e if e < digits => digits + 1,
            e => e,
        };
        unsigned + i64::from(number.negative)
    }

    proptest! {
        /// Numbers up to the limits on what a device may send.
        #[test]
        fn a_number_written_anew_is_the_same_and_may_be_sent_again(
            mantissa in "-?(0|[1-9][0-9]{0,28})(\\.[0-9]{1,28})?",
            exponent in -EXPONENT_MAX..=EXPONENT_MAX,
        ) {
            let token = format!("{mantissa}e{exponent}");
            prop_assert_eq!(size_problem(&token), None);
            let number = Decimal::from_token(&token);
            let text = number.to_string();
            prop_assert_eq!(&Decimal::from_token(&text), &number);
            if written_out_chars(&number) > NUMBER_CHARS_MAX as i64 {
                prop_assert_eq!(size_problem(&text), None, "{} became {}", token, text);
            }
        }
    }
}
