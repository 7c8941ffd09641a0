//! Arguments and environment: the only reader of both.

mod account;
mod auth;
mod commands;
mod database;
mod demo;
mod limits;
mod questions;
mod subscription;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

pub use account::{AccountCommand, Plan};
pub use auth::{Auth, Preset, SignatureAlgorithm};
pub use commands::{CatalogCommand, Command, DeviceCommand, LibraryCommand};
pub use database::Database;
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
