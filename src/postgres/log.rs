//! The file that takes what `initdb` and the server print.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::StartError;
use super::folder::open_options;

/// A log longer than this is set aside at the next start, and the one set aside
/// before it is dropped. Months of a healthy server, which prints a few lines an
/// hour, and still quick to open in an editor.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How much of a log goes into an error: enough for a Postgres complaint with
/// its reasons, and still a screenful.
const TAIL_LINES_MAX: usize = 20;

/// How far back the tail is looked for; a bound on what is read.
const TAIL_BYTES_MAX: u64 = 16 * 1024;

/// The log file of a data folder.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
}

/// The log, opened for one run of a program.
pub(super) struct Entry {
    /// Where the program prints to.
    pub(super) file: File,
    /// Where its part of the log begins, in bytes.
    pub(super) begin: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Log {
        Log { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the log at its end, setting a long one aside.
    pub(super) fn open(&self) -> Result<Entry, StartError> {
        let opened = || -> io::Result<Entry> {
            if fs::symlink_metadata(&self.path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
                fs::rename(&self.path, self.path.with_extension("log.old"))?;
            }
            let file = open_options().append(true).open(&self.path)?;
            let begin = file.metadata()?.len();
            Ok(Entry { file, begin })
        };
        opened().map_err(StartError::io("opened", &self.path))
    }

    /// The last lines that were printed after `begin`.
    pub(super) fn tail(&self, begin: u64) -> String {
        // This text only explains another failure, so a second one says so in its place.
        self.read_tail(begin)
            .unwrap_or_else(|error| format!("(unreadable: {error})"))
    }

    fn read_tail(&self, begin: u64) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(
            begin.max(end.saturating_sub(TAIL_BYTES_MAX)),
        ))?;
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(last_lines(&String::from_utf8_lossy(&bytes)))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES_MAX);
    lines[skipped..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_twenty_lines() {
        let text: String = (1..=25).map(|line| format!("line {line}\n")).collect();
        let tail = last_lines(&text);
        assert!(tail.starts_with("line 6\n"), "{tail}");
        assert!(tail.ends_with("line 25"), "{tail}");
        assert_eq!(last_lines("only"), "only");
        assert_eq!(last_lines(""), "");
    }

    #[test]
    fn a_long_log_is_set_aside_and_a_tail_has_only_lines_of_this_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::new(folder.path().join("postgres.log"));
        let long = File::create(log.path()).expect("a log");
        long.set_len(LOG_BYTES_MAX + 1).expect("a long log");

        let first = log.open().expect("opened");
        assert_eq!(first.begin, 0);
        assert!(folder.path().join("postgres.log.old").exists());

        fs::write(log.path(), "of the first run\n").expect("written");
        let second = log.open().expect("opened");
        assert_eq!(log.tail(second.begin), "");
        assert_eq!(log.tail(first.begin), "of the first run");
    }
}
