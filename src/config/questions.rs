//! What an operator asks.

use clap::{Args, Subcommand};

/// What to ask about a user.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UserCommand {
    /// Show their devices, how far each has got, what they have queued, open conflicts and what is paid for
    Show {
        /// The user id
        id: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Which entity to explain.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Explain {
    /// Whose
    #[arg(long)]
    pub user: String,
    /// Its id, a UUID
    #[arg(long)]
    pub entity: String,
    /// Its type [default: looked for among those of the catalog]
    #[arg(long = "type")]
    pub entity_type: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
