//! Times, and the edit time of an item (docs/protocol.md, section 4).
//!
//! Clocks never decide whether there is a conflict (promise 9); an edit time only breaks ties,
//! after correction, and never lies in the future.

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

/// A device whose clock is at most this far off is taken to be right: the difference may as
/// well be the time the batch travelled.
const CLOCK_TOLERANCE_MS: i128 = 2_000;

/// What to add to the times of a device's clock to get the server's; 0 if it is right or unknown.
pub fn clock_offset_ms(client_time: i64, received: Millis) -> i64 {
    let offset = i128::from(received.0) - i128::from(client_time);
    if client_time == 0 || offset.abs() <= CLOCK_TOLERANCE_MS {
        return 0;
    }
    offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// When an edit was made, by the server's clock.
///
/// `timestamp` and `client_time` are the device's words, 0 meaning absent. The result is never
/// later than `received`, and never before 1970: a clock that says so is not set at all.
pub fn edit_time(timestamp: i64, client_time: i64, received: Millis) -> Millis {
    if timestamp == 0 {
        return received;
    }
    let corrected = i128::from(timestamp) + i128::from(clock_offset_ms(client_time, received));
    Millis(corrected.clamp(0, i128::from(received.0)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn edit_times_follow_section_4() {
        for (case, timestamp, client_time, expected) in [
            ("absent means on arrival", 0, 0, NOW),
            ("absent means on arrival, whatever the clock", 0, 5, NOW),
            ("a right clock is believed", NOW - HOUR, NOW, NOW - HOUR),
            ("no client time, no correction", NOW - HOUR, 0, NOW - HOUR),
            ("2 s off is not off", NOW - HOUR, NOW - 2_000, NOW - HOUR),
            (
                "more than 2 s off is",
                NOW - HOUR,
                NOW - 2_001,
                NOW - HOUR + 2_001,
            ),
            ("an hour slow", NOW - 2 * HOUR, NOW - HOUR, NOW - HOUR),
            ("an hour fast", NOW, NOW + HOUR, NOW - HOUR),
            ("the future is now", NOW + HOUR, 0, NOW),
            ("the future after correction is now", NOW, NOW - HOUR, NOW),
            ("before 1970 is 1970", -5, 0, 0),
            ("no overflow below", i64::MIN, i64::MAX, 0),
            ("no overflow above", i64::MAX, i64::MIN, NOW),
        ] {
            let edited = edit_time(timestamp, client_time, Millis(NOW));
            assert_eq!(edited, Millis(expected), "{case}");
        }
    }
}
