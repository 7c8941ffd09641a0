//! A doorknob: parses the arguments and calls the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ironflow_sync::commands;
use ironflow_sync::config::Config;
use ironflow_sync::error::with_causes;
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
