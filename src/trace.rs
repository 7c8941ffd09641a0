//! Which trace a call belongs to, as its caller says: `traceparent` of the W3C Trace Context.
//!
//! The edge reads it and has the call worked on within it; the span of the call takes it over. So the lines
//! of a call can be found by the trace of whoever called. What is malformed counts as absent, as the
//! recommendation has it.

#[cfg(feature = "otlp")]
pub mod otlp;

use std::fmt;

use tokio::task::futures::TaskLocalFuture;
use tracing::{Span, field};

tokio::task_local! {
    static CALLER: Option<Trace>;
}

/// The place in a trace that a call was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    parent: u64,
    sampled: bool,
}

impl Trace {
    /// Reads a `traceparent`; `None`: it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let id = hex(parts.next()?, 32)?;
        let parent = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Later versions may say more behind what this one says.
        let fits = match version {
            0 => parts.next().is_none(),
            0xff => false,
            _ => true,
        };
        (fits && id != 0 && parent != 0).then_some(Self {
            id,
            parent: parent as u64,
            sampled: flags & 1 == 1,
        })
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(is_digit);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for Trace {
    /// The id of the trace, as it is written everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

/// Has a call worked on within the trace of its caller.
pub fn within<F: Future>(trace: Option<Trace>, call: F) -> TaskLocalFuture<Option<Trace>, F> {
    CALLER.scope(trace, call)
}

/// The span of a call, in the trace of its caller. The span has a field `trace_id` for it.
pub fn traced(span: Span) -> Span {
    if let Ok(Some(trace)) = CALLER.try_with(|trace| *trace) {
        span.record("trace_id", field::display(trace));
        #[cfg(feature = "otlp")]
        otlp::follow(&span, trace);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let fine = format!("00-{id}-b7ad6b7169203331-01");
        let trace = Trace::parse(&fine).expect("well-formed");
        assert_eq!(trace.to_string(), id);
        assert_eq!(trace.parent, 0xb7ad_6b71_6920_3331);
        assert!(trace.sampled);
        let unsampled = fine.replace("-01", "-00");
        assert!(!Trace::parse(&unsampled).expect("well-formed").sampled);
        let later = format!("cc{}-what-comes", &fine[2..]);
        assert_eq!(Trace::parse(&later), Some(trace));
        for bad in [
            String::new(),
            "00".to_owned(),
            fine.replace("0af", "0AF"),
            fine.replace("0af", "0ag"),
            fine.replace("0af", "0a"),
            fine.replace("0af", "+af"),
            fine.replace("0af", "äf"),
            fine.replace(id, &"0".repeat(32)),
            fine.replace("b7ad6b7169203331", &"0".repeat(16)),
            fine.replace("00-", "ff-"),
            fine.replace("-01", ""),
            format!("{fine}-and-more"),
            format!("{fine} "),
            format!(" {fine}"),
            fine.replace('-', "_"),
        ] {
            assert_eq!(Trace::parse(&bad), None, "{bad}");
        }
    }
}
