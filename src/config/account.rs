//! What an operator does with one account.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What to do with an account.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AccountCommand {
    /// Say what the user has paid for; running watches learn of it within seconds
    Set {
        /// The user id
        #[arg(long)]
        user: String,
        /// What they have paid for
        #[arg(long, value_enum)]
        plan: Plan,
        /// When it ends: a date (its beginning, UTC) or a time as in RFC 3339 [default: never]
        #[arg(long)]
        until: Option<String>,
    },
    /// Print what the user has paid for
    Show {
        /// The user id
        #[arg(long)]
        user: String,
    },
    /// Write everything there is of a user, one JSON object a line
    Export {
        /// The user id
        #[arg(long)]
        user: String,
        /// Where to write it, readable for its owner only [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Delete everything there is of a user, for good; late edits of their devices are refused
    Delete {
        /// The user id
        #[arg(long)]
        user: String,
        /// Really delete; without it, only tell what would go
        #[arg(long)]
        yes: bool,
    },
    /// Let a user come back whose account was deleted
    Reopen {
        /// The user id
        #[arg(long)]
        user: String,
    },
    /// Print the marks of deleted accounts, to keep outside of the database's backups
    Erasures,
    /// After restoring a backup: delete the accounts again whose marks are in a file
    EraseAgain {
        /// A file with what `account erasures` printed
        file: PathBuf,
    },
}

/// What can be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plan {
    /// Nothing.
    Free,
    /// A subscription.
    Premium,
}
