//! Points in time as apps write them into their data.

use jiff::fmt::temporal::Pieces;
use jiff::{Timestamp, tz::Offset};

use super::clock::Millis;
use super::json::Json;

/// The point in time a value names, if it names one.
///
/// - A number: milliseconds since the Unix epoch, of which the integer part counts.
/// - A text: a date and time of day as in RFC 3339, the seconds optional, with `T` or a space
///   between. Without an offset it counts as UTC; the colon of an offset may be missing.
///
/// Everything else is `None`: a bare date is a day and no point in time, a time zone by name needs
/// tables that change, and what lies outside the years -9999 to 9999 is no time anybody meant.
pub fn moment(value: &Json) -> Option<Millis> {
    let timestamp = match value {
        Json::Number(number) => Timestamp::from_millisecond(number.integer_part()?).ok()?,
        Json::String(text) => timestamp(text)?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    Some(Millis(timestamp.as_millisecond()))
}

/// The point in time a text names: a date and time like those of [`moment`], or a date, which is its
/// beginning in UTC.
pub fn date_or_moment(text: &str) -> Option<Millis> {
    const DATE_BYTES: usize = "2027-01-31".len();
    let time = match text.len() {
        DATE_BYTES => timestamp(&format!("{text}T00:00Z"))?,
        _ => timestamp(text)?,
    };
    Some(Millis(time.as_millisecond()))
}

/// The point in time as RFC 3339 writes it, in UTC; the number itself outside the years -9999 to 9999.
pub fn rfc3339(time: Millis) -> String {
    match Timestamp::from_millisecond(time.0) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => time.0.to_string(),
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    // The parser knows more forms than people mean by a time: `20240131T10`, `-009999-01-31T10`.
    let separated = matches!(
        text.as_bytes(),
        [
            _,
            _,
            _,
            _,
            b'-',
            _,
            _,
            b'-',
            _,
            _,
            b'T' | b't' | b' ',
            _,
            _,
            b':',
            ..
        ]
    );
    if !separated {
        return None;
    }
    let pieces = Pieces::parse(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    let local = pieces.date().to_datetime(pieces.time()?);
    offset.to_timestamp(local).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::json::testing::{json, tree};

    /// 2024-01-31 10:20:30 UTC.
    const TIME: i64 = 1_706_696_430_000;
    const MINUTE: i64 = 60_000;

    #[test]
    fn moments_are_what_apps_write() {
        for (value, expected) in [
            ("1706696430000", Some(TIME)),
            ("1706696430000.9", Some(TIME)),
            ("1.70669643e12", Some(TIME)),
            ("0", Some(0)),
            ("-1.5", Some(-1)),
            ("\"2024-01-31T10:20:30Z\"", Some(TIME)),
            ("\"2024-01-31t10:20:30z\"", Some(TIME)),
            ("\"2024-01-31T10:20:30.250Z\"", Some(TIME + 250)),
            ("\"2024-01-31T10:20:30.250999999Z\"", Some(TIME + 250)),
            ("\"2024-01-31T12:20:30+02:00\"", Some(TIME)),
            ("\"2024-01-31T02:20:30-0800\"", Some(TIME)),
            ("\"2024-01-31 10:20:30\"", Some(TIME)),
            ("\"2024-01-31T10:20:30.5\"", Some(TIME + 500)),
            ("\"2024-01-31T10:20\"", Some(TIME - MINUTE / 2)),
            ("\"2024-01-31 10:20Z\"", Some(TIME - MINUTE / 2)),
            ("\"1969-12-31T23:59:59Z\"", Some(-1_000)),
            ("\"2024-02-29T00:00Z\"", Some(1_709_164_800_000)),
            ("\"2024-01-31T10:20:30-00:00\"", Some(TIME)),
        ] {
            assert_eq!(moment(&json(value)), expected.map(Millis), "{value}");
        }
    }

    #[test]
    fn everything_else_is_no_moment() {
        for value in [
            "null",
            "true",
            "{}",
            "[1706696430000]",
            "1e308",
            "-1e308",
            "9223372036854775807",
            "1706696430000000000",
            "\"\"",
            "\"1706696430000\"",
            "\"2024-01-31\"",
            "\"2024-01-31T\"",
            "\"2024-01-31T10\"",
            "\"2024-01-31T10:2\"",
            "\"20240131T102030Z\"",
            "\"10:20:30\"",
            "\"2023-02-29T10:20:30Z\"",
            "\"2024-13-01T10:20:30Z\"",
            "\"2024-01-31T25:20:30Z\"",
            "\"2024-01-31T10:61Z\"",
            "\"2024-01-31T10:20:30+99:00\"",
            "\"2024-01-31T10:20:30 UTC\"",
            "\" 2024-01-31T10:20:30Z\"",
            "\"2024-01-31T10:20:30Z \"",
            "\"2024-01-31T10:20:30[Europe/Berlin]\"",
            "\"2024-01-31T10:20:30+01:00[Europe/Berlin]\"",
            "\"9999-12-31T23:59:59-23:59\"",
            "\"31.01.2024 10:20\"",
            "\"yesterday\"",
            "\"üüüü-01-31T10:20Z\"",
        ] {
            assert_eq!(moment(&json(value)), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in tree()) {
            let _ = moment(&value);
        }

        #[test]
        fn no_text_panics(text in "[-0-9TtZz :.+\\[\\]é]{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+-]{0,20}") {
            let _ = moment(&Json::String(text.into()));
        }

        #[test]
        fn milliseconds_are_themselves(ms in -62_000_000_000_000_i64..253_000_000_000_000) {
            prop_assert_eq!(moment(&json(&ms.to_string())), Some(Millis(ms)));
            let text = Timestamp::from_millisecond(ms).expect("a time").to_string();
            prop_assert_eq!(moment(&Json::String(text.into())), Some(Millis(ms)));
        }
    }
}
