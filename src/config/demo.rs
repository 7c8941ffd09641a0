//! What the demo may be told.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What the demo may be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Demo {
    /// How the conflict is settled [default: you are asked on a terminal, else merge]
    #[arg(long, value_enum)]
    pub choose: Option<Side>,
    /// Keep the demo's data folder, and say how to look at it
    #[arg(long)]
    pub keep: bool,
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<OsString>,
    #[arg(long, env = "TMPDIR", hide = true)]
    temp_dir: Option<OsString>,
}

impl Demo {
    /// Whether colours are unwanted (<https://no-color.org>).
    pub fn is_plain(&self) -> bool {
        self.no_color
            .as_ref()
            .is_some_and(|value| !value.is_empty())
    }

    /// Where the demo's data folder is made.
    pub fn temp_dir(&self) -> PathBuf {
        let named = self.temp_dir.clone().filter(|folder| !folder.is_empty());
        named.unwrap_or_else(|| "/tmp".into()).into()
    }
}

/// Whose side of the demo's conflict stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// What the phone wrote.
    Phone,
    /// What the tablet wrote.
    Tablet,
    /// Both, merged.
    Merge,
}
