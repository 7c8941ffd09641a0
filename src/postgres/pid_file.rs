//! `postmaster.pid`, in which Postgres says who serves a cluster and how far it is.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

/// The fifth line names the folder of the socket.
const SOCKET_LINE: usize = 4;

/// The eighth line says `starting`, `ready` or `stopping`, padded with spaces.
const STATUS_LINE: usize = 7;

/// What a pid file says.
#[derive(Debug, PartialEq)]
pub(super) struct PidFile {
    /// The postmaster; `None` in a file that was torn by a power cut.
    pub(super) postmaster: Option<Pid>,
    /// The folder of its socket; `None` if it has none, or not yet.
    pub(super) socket_dir: Option<PathBuf>,
    /// Whether it takes connections.
    pub(super) ready: bool,
}

impl PidFile {
    /// Where the pid file of a cluster is.
    pub(super) fn path(cluster_dir: &Path) -> PathBuf {
        cluster_dir.join("postmaster.pid")
    }

    pub(super) fn read(cluster_dir: &Path) -> io::Result<PidFile> {
        Ok(PidFile::parse(&std::fs::read_to_string(PidFile::path(
            cluster_dir,
        ))?))
    }

    /// Whether this process is the postmaster.
    pub(super) fn names(&self, process: u32) -> bool {
        self.postmaster
            .is_some_and(|pid| pid.as_raw().unsigned_abs() == process)
    }

    fn parse(text: &str) -> PidFile {
        let pid = |line: &str| {
            // A single-user Postgres, which has no postmaster, writes its own id, negated.
            let pid = line.trim().parse::<i32>().ok()?.checked_abs()?;
            // 0 would mean our own process group to kill().
            (pid > 0).then(|| Pid::from_raw(pid))
        };
        PidFile {
            postmaster: text.lines().next().and_then(pid),
            socket_dir: text
                .lines()
                .nth(SOCKET_LINE)
                .filter(|line| !line.is_empty())
                .map(PathBuf::from),
            ready: text.lines().nth(STATUS_LINE).map(str::trim) == Some("ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_tells_the_postmaster_and_whether_it_is_ready() {
        let file = |status: &str| {
            let text = format!("4711\n/data/pg\n1700000000\n5432\n/data/run\n\n  1 2\n{status}\n");
            PidFile::parse(&text)
        };
        let postmaster = Some(Pid::from_raw(4711));
        for (status, ready) in [("ready   ", true), ("starting", false), ("", false)] {
            let expected = PidFile {
                postmaster,
                socket_dir: Some(PathBuf::from("/data/run")),
                ready,
            };
            assert_eq!(file(status), expected, "{status:?}");
        }
    }

    #[test]
    fn a_single_user_postgres_counts_and_a_torn_file_names_nobody() {
        let single = PidFile::parse("-4711\n/data/pg\n");
        assert_eq!(single.postmaster, Some(Pid::from_raw(4711)));
        for torn in ["", "\n4711", "x", "0\n", "-2147483648\n", "99999999999\n"] {
            assert_eq!(PidFile::parse(torn).postmaster, None, "{torn:?}");
        }
    }
}
