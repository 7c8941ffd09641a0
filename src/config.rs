//! Arguments and environment: the only reader of both.

mod account;
mod auth;
mod demo;
mod limits;
mod questions;
mod subscription;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use account::AccountCommand;
pub use auth::{Auth, Preset, SignatureAlgorithm};
pub use demo::{Demo, Side};
pub use limits::Limits;
pub use questions::{Explain, Status, UserCommand};
pub use subscription::{Subscription, SubscriptionMode};
pub use tls::Tls;

/// The name of the program, and of its data folder in the usual places.
const NAME: &str = "ironflow-sync";

/// The sync backend of offline-first workout apps.
#[derive(Debug, Clone, Parser)]
#[command(name = NAME, version)]
pub struct Config {
    /// What to do; nothing means `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the data is.
    #[command(flatten)]
    pub database: Database,
    /// Who may call.
    #[command(flatten)]
    pub auth: Auth,
    /// Where and how to listen.
    #[command(flatten)]
    pub listen: Listen,
    /// How callers' connections are encrypted.
    #[command(flatten)]
    pub tls: Tls,
    /// What callers may ask for.
    #[command(flatten)]
    pub limits: Limits,
    /// How watchers hear of changes.
    #[command(flatten)]
    pub watching: Watching,
    /// The catalog of entity types, a TOML file [default: the built-in one, for workout apps]
    #[arg(
        long,
        env = "IRONFLOW_CATALOG",
        value_name = "FILE",
        global = true,
        help_heading = "Catalog"
    )]
    pub catalog: Option<PathBuf>,
    /// How long what is no longer current is kept.
    #[command(flatten)]
    pub compaction: Compaction,
    /// What to log: a level, or directives such as ironflow_sync=debug,warn [default: info; the demo: warn]
    #[arg(long, env = "IRONFLOW_LOG", global = true, help_heading = "Logs")]
    log: Option<String>,
    /// A collector that spans of calls are exported to by OTLP over gRPC, such as http://127.0.0.1:4317
    /// [default: none]
    #[cfg(feature = "otlp")]
    #[arg(
        long,
        env = "IRONFLOW_OTLP_ENDPOINT",
        value_name = "URL",
        global = true,
        help_heading = "Logs"
    )]
    pub otlp_endpoint: Option<String>,
}

impl Config {
    /// What to log. The demo tells its story itself, and logs only what is wrong.
    pub fn log(&self) -> &str {
        let is_demo = matches!(self.command, Some(Command::Demo(_)));
        let default = if is_demo { "warn" } else { "info" };
        self.log.as_deref().unwrap_or(default)
    }

    /// The defaults, whatever the arguments and the environment say, with a private database in
    /// `data_dir`. Only where the programs of Postgres are stays as it is.
    pub fn defaults_in(&self, data_dir: &Path) -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(|argument| argument.env(None::<&'static str>));
        let matches = command.try_get_matches_from([NAME])?;
        let mut config = Self::from_arg_matches(&matches)?;
        config.database.data_dir = Some(data_dir.to_owned());
        config.database.postgres_bin = self.database.postgres_bin.clone();
        config.database.search_path = self.database.search_path.clone();
        Ok(config)
    }
}

/// How this program was called, for lines that are to be typed.
pub fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_else(|| NAME.into());
    called.to_string_lossy().into_owned()
}

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the service (the default)
    Serve,
    /// See sync at work: two devices of one lifter go offline, disagree and agree again, on a database of their own
    Demo(Demo),
    /// Bring the database's tables up to date, and stop
    Migrate,
    /// Begin a new life of the database after restoring a backup: devices start again, and lose nothing
    NewEpoch,
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
    /// The devices of a user
    Device {
        /// What to do with them
        #[command(subcommand)]
        command: DeviceCommand,
    },
    /// Remove what is older than the catalog's retention keeps, once, and stop
    Compact {
        /// Only count what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// The account of a user: what is paid for; export it, delete it
    Account {
        /// What to do with it
        #[command(subcommand)]
        command: AccountCommand,
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
    /// Print a token for a user, signed with the service's secret
    Token {
        /// The user id the token is for
        #[arg(long)]
        user: String,
        /// How long the token is valid, in hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=87_600))]
        hours: u32,
    },
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

/// What can be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plan {
    /// Nothing.
    Free,
    /// A subscription.
    Premium,
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

/// Where the data is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct Database {
    /// A Postgres of your own: postgres://user:password@host/database. Without it, the service runs a
    /// private one in the data folder
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,
    /// The data folder of the private Postgres [default: /var/lib/ironflow-sync as root, else
    /// ~/.local/share/ironflow-sync]
    #[arg(long, env = "IRONFLOW_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The folder of the Postgres programs for the private Postgres [default: found by itself]
    #[arg(long, env = "IRONFLOW_POSTGRES_BIN", global = true)]
    pub postgres_bin: Option<PathBuf>,
    /// How many connections to Postgres at most
    #[arg(long, env = "IRONFLOW_DATABASE_CONNECTIONS_MAX", default_value_t = 16, global = true,
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub database_connections_max: u16,
    #[arg(long, env = "XDG_DATA_HOME", hide = true, global = true)]
    xdg_data_home: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true, global = true)]
    home: Option<PathBuf>,
    /// Where Postgres programs are looked for last.
    #[arg(long, env = "PATH", hide = true, global = true)]
    pub search_path: Option<String>,
}

impl Database {
    /// The data folder: the one asked for, or the usual place for this account.
    pub fn data_dir(&self) -> PathBuf {
        if let Some(dir) = &self.data_dir {
            return dir.clone();
        }
        if nix::unistd::geteuid().is_root() {
            return Path::new("/var/lib").join(NAME);
        }
        let data_home = self.xdg_data_home.clone();
        let home = || self.home.clone().unwrap_or_default().join(".local/share");
        data_home.unwrap_or_else(home).join(NAME)
    }
}

/// Where and how to listen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct Listen {
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "IRONFLOW_LISTEN",
        default_value = "127.0.0.1:50051",
        global = true
    )]
    pub listen: SocketAddr,
    /// The address to serve metrics on, in the text format of Prometheus at /metrics [default: none]
    #[arg(long, env = "IRONFLOW_METRICS_LISTEN", global = true)]
    pub metrics_listen: Option<SocketAddr>,
    /// Origins of web pages that may call (gRPC-Web), separated by commas; * for any
    #[arg(
        long,
        env = "IRONFLOW_WEB_ORIGINS",
        value_delimiter = ',',
        global = true
    )]
    pub web_origins: Vec<String>,
    /// How old a connection gets before its device is asked to make a new one, in seconds, so that instances that
    /// join later get their share; 0 for any age
    #[arg(long, env = "IRONFLOW_CONNECTION_AGE_MAX_S", default_value_t = 0, global = true,
          value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    connection_age_max_s: u64,
    /// How long calls under way may take to finish on shutdown, in seconds
    #[arg(
        long,
        env = "IRONFLOW_DRAIN_TIMEOUT_S",
        default_value_t = 10,
        global = true
    )]
    drain_timeout_s: u64,
}

impl Listen {
    /// How old a connection gets; `None`: any age.
    pub fn connection_age_max(&self) -> Option<Duration> {
        (self.connection_age_max_s > 0).then(|| Duration::from_secs(self.connection_age_max_s))
    }

    /// How long calls under way may take to finish on shutdown.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout_s)
    }
}

/// How watchers hear of changes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Watching")]
pub struct Watching {
    /// Whether instances signal each other through Postgres; turn it off behind a pooler that shares
    /// sessions between transactions
    #[arg(long, env = "IRONFLOW_NOTIFY", default_value_t = true, action = clap::ArgAction::Set, global = true)]
    pub notify: bool,
    /// How often the database is asked for changes that no signal told of, in milliseconds
    #[arg(long, env = "IRONFLOW_POLL_INTERVAL_MS", default_value_t = 4_000, global = true,
          value_parser = clap::value_parser!(u64).range(10..))]
    poll_interval_ms: u64,
    /// How often a quiet watch says that it is alive, in milliseconds
    #[arg(long, env = "IRONFLOW_HEARTBEAT_INTERVAL_MS", default_value_t = 30_000, global = true,
          value_parser = clap::value_parser!(u64).range(10..))]
    heartbeat_interval_ms: u64,
}

impl Watching {
    /// How often the database is asked for changes that no signal told of.
    pub fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    /// How often a quiet watch says that it is alive.
    pub fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }
}

/// When what is no longer current goes; how old it gets is in the catalog.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retention")]
pub struct Compaction {
    /// How often the service removes what is older than the catalog's retention keeps, in seconds; 0 for
    /// never, then `ironflow-sync compact` does
    #[arg(long, env = "IRONFLOW_COMPACT_INTERVAL_S", default_value_t = 86_400, global = true,
          value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    compact_interval_s: u64,
}

impl Compaction {
    /// How often the service compacts; `None`: never.
    pub fn interval(&self) -> Option<Duration> {
        (self.compact_interval_s > 0).then(|| Duration::from_secs(self.compact_interval_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_and_behind_the_subcommand() {
        for line in [
            vec![
                "ironflow-sync",
                "--data-dir",
                "/d",
                "token",
                "--user",
                "mia",
            ],
            vec![
                "ironflow-sync",
                "token",
                "--user",
                "mia",
                "--data-dir",
                "/d",
            ],
        ] {
            let config = Config::try_parse_from(line).expect("parses");
            assert_eq!(config.database.data_dir(), Path::new("/d"));
        }
    }

    #[test]
    fn a_bad_address_is_refused() {
        let line = ["ironflow-sync", "--listen", "localhost"];
        let error = Config::try_parse_from(line).expect_err("no port");
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
