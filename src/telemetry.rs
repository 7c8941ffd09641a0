//! Logs: text for people on a terminal, one JSON object a line otherwise. They go to standard
//! error; standard output is for what a command prints.
//!
//! A call is one span, with one event when it is done (see [`crate::push`], [`crate::pull`],
//! [`crate::watch`]). Spans and events never hold data, tokens or ids; users, devices and entities are there
//! by their [`LogName`](crate::domain::scope::LogName).

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Starts logging. `directives`: a level, or `target=level` pairs separated by commas.
pub fn start(directives: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(directives)?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if io::stderr().is_terminal() {
        lines.boxed()
    } else {
        // The call is one span; a list of spans would only say it twice.
        lines.json().with_span_list(false).boxed()
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(secretive())
        .with(lines)
        .init();
    Ok(())
}

/// What is logged at most, whatever the directives say. Libraries log what passes through them where they
/// are asked for details: HTTP/2 its headers with the tokens in them, the client of Postgres statements
/// and notices.
fn secretive() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE)
}
