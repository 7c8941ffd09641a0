//! Where the data is.

use std::path::{Path, PathBuf};

use clap::Args;

use super::NAME;

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
    pub(super) data_dir: Option<PathBuf>,
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
