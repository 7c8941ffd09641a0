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
    /// The user id
    #[arg(long)]
    pub user: String,
    /// The id of the entity, a UUID
    #[arg(long)]
    pub entity: String,
    /// The type of the entity [default: looked for among those of the catalog]
    #[arg(long = "type")]
    pub entity_type: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to tell of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Status {
    /// Hours after which a device that has something queued, or is far behind, counts as stuck
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub stuck_after_h: u32,
    /// Seconds between the two looks that the rate of revisions comes from; 0 for one look and no rate
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=60))]
    pub over_s: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
