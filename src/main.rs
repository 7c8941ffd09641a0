//! A doorknob: parses the arguments and calls the library.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use ironflow_sync::commands;
use ironflow_sync::config::Config;
use tikv_jemallocator::Jemalloc;

/// Gives back to the system what a storm of connections took, once they have left (docs/performance.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match commands::run(Config::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ironflow-sync: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it, on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
