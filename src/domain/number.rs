//! Exact decimal numbers, as JSON writes them: compared by value, never rounded.

use std::cmp::Ordering;
use std::fmt;

use smol_str::SmolStr;

/// The longest number a device may send, in characters (docs/protocol.md, section 8).
pub const NUMBER_CHARS_MAX: usize = 64;

/// The largest power of ten a device may write, either way: what a double can hold.
/// Without it `1e130000` would make jsonb keep and send back 130,001 digits.
const EXPONENT_MAX: i64 = 308;

/// Whole numbers of so many digits are doubles exactly,
const EXACT_DIGITS_MAX: usize = 15;

/// and so are these powers of ten.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A decimal number of any size: `0.DIGITS x 10^exponent`, in one normal form,
/// so that `1.10`, `1.1` and `11e-1` are equal and `9007199254740993` stays itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    negative: bool,
    /// Significant digits without leading or trailing zeros; empty for zero.
    digits: SmolStr,
    exponent: i64,
}

impl Decimal {
    /// Reads a token that already follows the JSON grammar of numbers. `-0` is zero.
    pub fn from_token(token: &str) -> Self {
        let (mantissa, power) = split_exponent(token);
        let negative = mantissa.starts_with('-');
        let unsigned = mantissa.trim_start_matches('-');
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = || whole.chars().chain(fraction.chars());
        let zero = |digit: &char| *digit == '0';
        let leading_zeros = digits().take_while(zero).count();
        let length = whole.len() + fraction.len();
        if leading_zeros == length {
            return Self::default();
        }
        let significant = length - leading_zeros - digits().rev().take_while(zero).count();
        let digits = digits().skip(leading_zeros).take(significant).collect();
        let point = whole.len() as i64 - leading_zeros as i64;
        Self {
            negative,
            digits,
            exponent: point.saturating_add(power),
        }
    }

    /// The number, if it is a whole one that fits an `i64`.
    pub fn to_i64(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        // An i64 has at most 19 digits.
        let whole_digits = usize::try_from(self.exponent).ok().filter(|n| *n <= 19)?;
        let zeros = whole_digits.checked_sub(self.digits.len())?;
        let magnitude = self.digits.parse::<i128>().ok()? * 10_i128.pow(zeros as u32);
        let sign = if self.negative { -1 } else { 1 };
        i64::try_from(sign * magnitude).ok()
    }

    /// The nearest double, or the one furthest from zero.
    pub fn to_f64(&self) -> f64 {
        let decimals = self.digits.len() as i64 - self.exponent;
        let exact = usize::try_from(decimals).ok();
        let exact = exact.and_then(|decimals| EXACT_POWERS.get(decimals));
        let nearest = match exact {
            // Both are doubles exactly, so their quotient is rounded once.
            Some(power) if self.digits.len() <= EXACT_DIGITS_MAX => {
                let digits = self.digits.parse::<u64>().unwrap_or_default() as f64;
                let sign = if self.negative { -1.0 } else { 1.0 };
                sign * digits / power
            }
            _ => self.to_string().parse().unwrap_or_default(),
        };
        nearest.clamp(f64::MIN, f64::MAX)
    }

    /// What stands before the decimal point; `None` if that does not fit an `i64`.
    pub fn integer_part(&self) -> Option<i64> {
        let Some(whole_digits) = usize::try_from(self.exponent).ok().filter(|n| *n > 0) else {
            return Some(0);
        };
        // An i64 has at most 19 digits.
        if whole_digits > 19 {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let kept = self.digits.len().min(whole_digits);
        let zeros = "0".repeat(whole_digits - kept);
        format!("{sign}{}{zeros}", &self.digits[..kept])
            .parse()
            .ok()
    }

    /// Characters it takes without an exponent.
    fn plain_chars(&self) -> i64 {
        let digits = self.digits.len() as i64;
        let unsigned = match self.exponent {
            0 if digits == 0 => 1,
            e if e <= 0 => (2 + digits).saturating_sub(e),
            e if e < digits => digits + 1,
            e => e,
        };
        unsigned.saturating_add(i64::from(self.negative))
    }

    /// Writes a number other than zero without sign and exponent.
    fn write_plain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = &self.digits;
        match usize::try_from(self.exponent) {
            Ok(point @ 1..) if point < digits.len() => {
                let (whole, fraction) = digits.split_at(point);
                write!(f, "{whole}.{fraction}")
            }
            Ok(width @ 1..) => write!(f, "{digits:0<width$}"),
            Ok(0) | Err(_) => {
                let width = digits.len() + self.exponent.unsigned_abs() as usize;
                write!(f, "0.{digits:0>width$}")
            }
        }
    }
}

/// By value, exactly.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading and trailing zeros, the longer of two digit strings that begin alike is
        // the larger fraction, which is how strings compare. Zero is below every other magnitude.
        let magnitude = |d: &Self| (!d.digits.is_empty()).then_some(d.exponent);
        let by_magnitude = magnitude(self)
            .cmp(&magnitude(other))
            .then_with(|| self.digits.cmp(&other.digits));
        match (self.negative, other.negative) {
            (false, false) => by_magnitude,
            (true, true) => by_magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The most zeros that are written beside an exponent to keep that within [`EXPONENT_MAX`].
/// Whatever a device may send needs fewer; without a bound an absurd exponent would exhaust memory.
const ZEROS_MAX: i64 = NUMBER_CHARS_MAX as i64;

/// Written out plainly where that takes at most [`NUMBER_CHARS_MAX`] characters (`102.5`,
/// `-0.001`, `1000`), otherwise as digits and an exponent. A number that a device may send is
/// written as one that a device may send, so what was pushed once can be pushed again.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        if self.plain_chars() <= NUMBER_CHARS_MAX as i64 {
            return self.write_plain(f);
        }
        let digits = &self.digits;
        // The power of ten behind the digits read as a whole number.
        let power = self.exponent.saturating_sub(digits.len() as i64);
        match power {
            0 => f.write_str(digits),
            _ if power.saturating_abs() <= EXPONENT_MAX => write!(f, "{digits}e{power}"),
            _ if power.saturating_abs() > EXPONENT_MAX + ZEROS_MAX => {
                write!(f, "{digits}e{power}")
            }
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

/// Mantissa and power of ten; a power beyond i64 counts as the largest. Never `i64::MIN`, which has no
/// absolute value.
fn split_exponent(token: &str) -> (&str, i64) {
    match token.split_once(['e', 'E']) {
        None => (token, 0),
        Some((mantissa, power)) => {
            let limit = if power.starts_with('-') {
                -i64::MAX
            } else {
                i64::MAX
            };
            (mantissa, power.parse().unwrap_or(limit).max(-i64::MAX))
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

    #[test]
    fn numbers_are_written_plainly_where_that_is_short() {
        let most = "9".repeat(NUMBER_CHARS_MAX);
        let small = format!("0.{}7", "0".repeat(NUMBER_CHARS_MAX - 3));
        for (token, text) in [
            ("0", "0"),
            ("-0.0e7", "0"),
            ("1025e-1", "102.5"),
            ("-1E-3", "-0.001"),
            ("1e3", "1000"),
            ("1000.50", "1000.5"),
            ("1e63", &format!("1{}", "0".repeat(63))),
            ("1e64", "1e64"),
            ("-1e63", "-1e63"),
            (&most, &most),
            (&small, &small),
            ("7e-63", "7e-63"),
            ("1e308", "1e308"),
            ("100e308", "100e308"),
            ("0.01e-308", "0.01e-308"),
            ("1e9999999999999999999", "1e9223372036854775806"),
        ] {
            assert_eq!(Decimal::from_token(token).to_string(), text, "{token}");
        }
    }

    #[test]
    fn numbers_are_ordered_by_value_without_rounding() {
        let ascending = [
            "-1e308",
            "-1000",
            "-999.9",
            "-0.1000000000000000055511151231257827",
            "-0.1",
            "-1e-308",
            "0",
            "1e-308",
            "0.1",
            "0.1000000000000000055511151231257827",
            "1",
            "9",
            "10",
            "9007199254740992",
            "9007199254740993",
            "1234567890123456789012345678901234567890",
            "1234567890123456789012345678901234567891",
            "1e308",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                let order = Decimal::from_token(a).cmp(&Decimal::from_token(b));
                assert_eq!(order, i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_integer_part_is_what_stands_before_the_point() {
        for (token, expected) in [
            ("0", Some(0)),
            ("0.9", Some(0)),
            ("-0.9", Some(0)),
            ("1e-300", Some(0)),
            ("1700000000000.75", Some(1_700_000_000_000)),
            ("-12.5", Some(-12)),
            ("12e2", Some(1_200)),
            ("9223372036854775807.9", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1e308", None),
        ] {
            assert_eq!(
                Decimal::from_token(token).integer_part(),
                expected,
                "{token}"
            );
        }
    }

    /// Numbers up to the limits on what a device may send.
    fn sent() -> impl Strategy<Value = String> {
        let mantissa = "-?(0|[1-9][0-9]{0,59})(\\.[0-9]{1,59})?";
        let exponent = proptest::option::of(-EXPONENT_MAX..=EXPONENT_MAX);
        (mantissa, exponent)
            .prop_map(|(mantissa, exponent)| match exponent {
                Some(exponent) => format!("{mantissa}e{exponent}"),
                None => mantissa,
            })
            .prop_filter("longer than a device may send", |token| {
                size_problem(token).is_none()
            })
    }

    proptest! {
        #[test]
        fn a_number_written_anew_is_the_same_and_may_be_sent_again(token in sent()) {
            let number = Decimal::from_token(&token);
            let text = number.to_string();
            prop_assert_eq!(&Decimal::from_token(&text), &number);
            prop_assert_eq!(size_problem(&text), None, "{} became {}", token, text);
            let plain = !text.contains('e');
            prop_assert_eq!(plain, number.plain_chars() <= NUMBER_CHARS_MAX as i64);
            if plain {
                prop_assert_eq!(text.len() as i64, number.plain_chars());
            }
        }

        #[test]
        fn a_number_is_the_integer_or_the_nearest_double_that_its_text_is_to_others(token in sent()) {
            let number = Decimal::from_token(&token);
            let text = number.to_string();
            prop_assert_eq!(number.to_i64(), text.parse().ok());
            let nearest: f64 = token.parse().expect("a number");
            prop_assert_eq!(number.to_f64(), nearest.clamp(f64::MIN, f64::MAX));
        }

        #[test]
        fn every_integer_of_64_bits_is_itself(whole in any::<i64>(), scale in 0_usize..19) {
            for whole in [whole, whole >> scale, i64::MIN, i64::MAX] {
                prop_assert_eq!(Decimal::from_token(&whole.to_string()).to_i64(), Some(whole));
            }
            let beyond = i128::from(i64::MIN) - 1 - i128::from(whole.unsigned_abs());
            prop_assert_eq!(Decimal::from_token(&beyond.to_string()).to_i64(), None);
        }

        #[test]
        fn decimals_are_ordered_like_the_integers_they_are_made_of(
            a in -2000_i64..2000,
            b in -2000_i64..2000,
            scale in -5_i64..5,
        ) {
            let scaled = |n: i64| Decimal::from_token(&format!("{n}e{scale}"));
            prop_assert_eq!(scaled(a).cmp(&scaled(b)), a.cmp(&b));
            prop_assert_eq!(scaled(a) == scaled(b), a == b);
        }

        #[test]
        fn decimals_of_different_scale_are_ordered_by_value(
            a in any::<i32>(), a_scale in 0_u32..9, b in any::<i32>(), b_scale in 0_u32..9,
        ) {
            let exact = |n: i32, scale: u32| i128::from(n) * 10_i128.pow(9 - scale);
            let decimal = |n: i32, scale: u32| Decimal::from_token(&format!("{n}e-{scale}"));
            prop_assert_eq!(
                decimal(a, a_scale).cmp(&decimal(b, b_scale)),
                exact(a, a_scale).cmp(&exact(b, b_scale))
            );
        }

        #[test]
        fn integers_have_themselves_as_integer_part(n in any::<i64>(), fraction in "[0-9]{0,3}") {
            prop_assert_eq!(Decimal::from_token(&n.to_string()).integer_part(), Some(n));
            let token = format!("{n}.{fraction}0");
            prop_assert_eq!(Decimal::from_token(&token).integer_part(), Some(n));
        }
    }
}
