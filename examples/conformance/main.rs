//! Checks any server that speaks the protocol against the contract, `docs/protocol.md`: one line for each
//! thing that a caller can see of it.
//!
//! ```sh
//! cargo run                                             # the service, in a terminal of its own
//! export IRONFLOW_TOKEN=$(cargo run -q -- token --user lifter)
//! export IRONFLOW_OTHER_TOKEN=$(cargo run -q -- token --user stranger)
//! cargo run --example conformance
//! cargo run --example conformance -- --only "rule 5"
//! ```
//!
//! It needs an address and a token, nothing else. What it writes are entities under fresh ids, which it deletes
//! in the end, and devices called `conformance-...`, the same in every run; it asks for nothing that would change
//! what else the user has, so their other devices may be at work meanwhile. Two runs for one user at once would
//! disturb each other. The entity types are those of the built-in catalog; what a server has no type for is
//! skipped.
//!
//! Reading order: [`contract`] is the table of all checks, [`check`] what a check is, [`subject`] the server at
//! hand, [`device`] what calls it, then a file for each part of the contract.

#[path = "../client/mod.rs"]
mod client;

mod answers;
mod bad_calls;
mod bad_items;
mod chains;
mod check;
mod clocks;
mod contract;
mod copies;
mod cursors;
mod device;
mod duplicates;
mod groups;
mod history;
mod inbox;
mod isolation;
mod pages;
mod policies;
mod promises;
mod record;
mod replays;
mod rules;
mod status;
mod subject;
mod watches;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use check::{Check, Finding};
use client::Account;
use contract::CONTRACT;
use subject::Subject;

/// Checks a server against the contract of Ironflow Sync: one line for each promise and rule.
///
/// `pass`: it is kept. `FAIL`: what was expected, and what came. `skip`: why this server cannot be asked.
/// Ends with 0 if nothing failed, 1 if something did, 2 if the server could not be asked at all.
#[derive(Parser)]
#[command(name = "conformance")]
struct Arguments {
    #[command(flatten)]
    account: Account,
    /// A token of another user, for promise 10: nobody sees or touches another user's data
    #[arg(long, env = "IRONFLOW_OTHER_TOKEN", hide_env_values = true)]
    other_token: Option<String>,
    /// Only the lines that hold this text, for example "rule 5"
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// How many lines of each kind there were.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// The server could not be asked at all.
const NOT_ASKED: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen: Vec<&Check> = CONTRACT
        .iter()
        .filter(|check| check.line().contains(&arguments.only))
        .collect();
    if chosen.is_empty() {
        eprintln!("conformance: no line holds {:?}", arguments.only);
        return ExitCode::from(NOT_ASKED);
    }
    match Subject::open(&arguments.account, arguments.other_token.as_deref()).await {
        Ok(subject) => run(&arguments.account.endpoint, &subject, &chosen).await,
        Err(why) => {
            eprintln!("conformance: {why}");
            ExitCode::from(NOT_ASKED)
        }
    }
}

/// Runs the checks one after the other and prints a line for each.
async fn run(endpoint: &str, subject: &Subject, checks: &[&Check]) -> ExitCode {
    println!(
        "{endpoint}, version {:?}, against docs/protocol.md",
        subject.info.server_version
    );
    println!(
        "as the devices conformance-phone, -tablet, -watch, -counting and -lost, on entities of their own\n"
    );
    let mut tally = Tally::default();
    for check in checks {
        let line = check.line();
        match check.run(subject).await {
            Ok(()) => {
                tally.passed += 1;
                println!("pass  {line}");
            }
            Err(Finding::Broken(what)) => {
                tally.failed += 1;
                println!("FAIL  {line}: {}", on_one_line(&what));
            }
            Err(Finding::NotAsked(why)) => {
                tally.skipped += 1;
                println!("skip  {line}: {why}");
            }
        }
        // A line is there when its check has ended, in a pipe too.
        let _ = std::io::stdout().flush();
    }
    println!("\n{}", subject.tidy_up().await);
    let Tally {
        passed,
        failed,
        skipped,
    } = tally;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What a server sent may be long, and hold what does things to a terminal.
fn on_one_line(text: &str) -> String {
    const CHARS_MAX: usize = 500;
    let printed = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut line: String = text.chars().take(CHARS_MAX).map(printed).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        line.push_str("...");
    }
    line
}
