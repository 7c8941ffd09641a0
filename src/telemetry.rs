//! Logs: text for people on a terminal, one JSON object a line otherwise. They go to standard
//! error; standard output is for what a command prints.
//!
//! A call is one span, with one event when it is done (see [`crate::push`], [`crate::pull`],
//! [`crate::watch`]). Spans and events never hold data or tokens.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging. `directives`: a level, or `target=level` pairs separated by commas.
pub fn start(directives: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(directives)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if io::stderr().is_terminal() {
        logs.init();
    } else {
        // The call is one span; a list of spans would only say it twice.
        logs.json().with_span_list(false).init();
    }
    Ok(())
}
