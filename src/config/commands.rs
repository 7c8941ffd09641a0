//! What the program can be asked to do.

use std::path::PathBuf;

use clap::Subcommand;

use super::{AccountCommand, Demo, Explain, Status, UserCommand};

/// The subcommands: running and trying the service, asking about it, its users, what they share, its database.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the service (the default)
    Serve,
    /// See sync at work: two devices of one lifter go offline, disagree and agree again, on a database of their own
    Demo(Demo),
    /// Print a token for a user, signed with the service's secret
    Token {
        /// The user id the token is for
        #[arg(long)]
        user: String,
        /// How long the token is valid, in hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=87_600))]
        hours: u32,
    },
    /// Check that everything the service needs is there, and say what to type where it is not
    Doctor {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask the service on --listen for its health: exit code 0 if it serves, for health checks
    Health,
    /// How the installation as a whole is doing: instances, database, write rate, conflicts, stuck devices
    Status(Status),
    /// What the database knows of one user
    User {
        /// What to ask
        #[command(subcommand)]
        command: UserCommand,
    },
    /// How an entity came to be as it is: every version, losing side and decision, and which device has seen what
    Explain(Explain),
    /// The account of a user: what is paid for; export it, delete it
    Account {
        /// What to do with it
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// The devices of a user
    Device {
        /// What to do with them
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Shared reference data, which everybody reads and only this command writes
    Library {
        /// What to do with it
        #[command(subcommand)]
        command: LibraryCommand,
    },
    /// Which entity types there are, and how their conflicts are settled
    Catalog {
        /// What to do with it
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Bring the database's tables up to date, and stop
    Migrate,
    /// Remove what is older than the catalog's retention keeps, once, and stop
    Compact {
        /// Only count what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Begin a new life of the database after restoring a backup: devices start again, and lose nothing
    NewEpoch,
}

/// What to do with the catalog of entity types.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CatalogCommand {
    /// Check a catalog: every problem is told with its line, its key and what was expected there
    Check {
        /// The catalog, a TOML file
        file: PathBuf,
    },
    /// Print the catalog in effect
    Show,
}

/// What to do with the devices of a user.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DeviceCommand {
    /// List the devices of a user, the one seen last first
    List {
        /// The user id
        #[arg(long)]
        user: String,
    },
    /// Refuse the calls of a device, and end its streams; what it has synced stays
    Revoke {
        /// The user id
        #[arg(long)]
        user: String,
        /// The device id
        #[arg(long)]
        device: String,
    },
    /// Take the revocation of a device back
    Allow {
        /// The user id
        #[arg(long)]
        user: String,
        /// The device id
        #[arg(long)]
        device: String,
    },
}

/// What to do with shared reference data.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum LibraryCommand {
    /// Load a JSON array of objects; unchanged ones are not written again
    Load {
        /// The objects, a JSON file
        file: PathBuf,
        /// The entity type of the objects
        #[arg(long = "type")]
        entity_type: String,
        /// The key that identifies an object: a UUID, or any text or number to make one from
        #[arg(long, default_value = "id")]
        key: String,
        /// Also delete what the library has and the file has not
        #[arg(long)]
        prune: bool,
    },
}
