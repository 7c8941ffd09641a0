//! Postgres processes that an earlier run left in the cluster, and its pid file.
//!
//! Called with the lock of the folder held: whatever still runs there has no
//! service any more.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::error::StartError;
use super::launch::LaunchError;
use super::leash::{self, Leash};
use super::pid_file::PidFile;

/// How long a postmaster whose service died may take for a fast shutdown.
const ORPHAN_FAST: Duration = leash::FAST_SHUTDOWN_TIMEOUT;

/// How long backends may take to notice that their postmaster died. Idle ones
/// notice at once; one busy with a long query never does.
const BACKENDS_NOTICE: Duration = Duration::from_secs(1);

/// From SIGQUIT to SIGKILL; see [`leash::IMMEDIATE_SHUTDOWN_TIMEOUT`].
const QUIT: Duration = leash::IMMEDIATE_SHUTDOWN_TIMEOUT;

/// From SIGKILL to giving up. Only a process stuck in the kernel needs longer.
const KILL: Duration = leash::KILL_TIMEOUT;

/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(20);

/// Ends what an earlier run left in the cluster, so that the next can start.
///
/// Two postmasters on one cluster destroy it. Postgres guards against that with
/// its pid file, so that file is removed in one case only: it names a process
/// that is alive and is certainly not a Postgres of this cluster. A pid file
/// that names nobody is left for Postgres, whose own check sees more.
pub(super) fn clear(
    cluster_dir: &Path,
    account: &Account,
    leash: &Leash,
) -> Result<(), LaunchError> {
    let pid_file = PidFile::path(cluster_dir);
    let named = match PidFile::read(cluster_dir) {
        Ok(file) => file.postmaster,
        // The last run ended as it should, and its processes with it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StartError::io("read", &pid_file)(error).into()),
    };
    let begin = Instant::now();
    loop {
        let occupants = find(cluster_dir, account)?;
        if occupants.is_empty() {
            break;
        }
        let postmaster = named.filter(|pid| occupants.contains(pid));
        match next_step(begin.elapsed(), postmaster.is_some()) {
            Step::Wait => {}
            Step::Interrupt => postmaster.iter().for_each(|pid| send(*pid, Signal::SIGINT)),
            Step::Quit => occupants.iter().for_each(|pid| send(*pid, Signal::SIGQUIT)),
            Step::Kill => occupants.iter().for_each(|pid| send(*pid, Signal::SIGKILL)),
            Step::GiveUp => {
                let error = StartError::Occupied {
                    cluster_dir: cluster_dir.to_owned(),
                    pids: occupants.iter().map(|pid| pid.as_raw()).collect(),
                };
                return Err(error.into());
            }
        }
        leash.pause(POLL)?;
    }
    // No Postgres is in the cluster, so a pid file that stops Postgres is stale:
    // it names a stranger who has the number by now, or was torn by a power cut.
    let stops_postgres = named.is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists());
    if stops_postgres && pid_file.exists() {
        tracing::warn!(pid = ?named, file = %pid_file.display(), "removing a stale pid file");
        fs::remove_file(&pid_file).map_err(StartError::io("removed", &pid_file))?;
    }
    Ok(())
}

/// What to do to occupants that are still there.
#[derive(Debug, PartialEq)]
enum Step {
    Wait,
    Interrupt,
    Quit,
    Kill,
    GiveUp,
}

fn next_step(elapsed: Duration, has_postmaster: bool) -> Step {
    let (gentle, patience) = if has_postmaster {
        (Step::Interrupt, ORPHAN_FAST)
    } else {
        (Step::Wait, BACKENDS_NOTICE)
    };
    match elapsed.saturating_sub(patience) {
        Duration::ZERO => gentle,
        over if over < QUIT => Step::Quit,
        over if over < QUIT + KILL => Step::Kill,
        _ => Step::GiveUp,
    }
}

/// The Postgres processes at work in the cluster: all of them have it as their
/// working folder.
///
/// Which folder that is only the account itself and a fully capable root may
/// see; root in a container is not one. So the account looks.
fn find(cluster_dir: &Path, account: &Account) -> Result<Vec<Pid>, StartError> {
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(StartError::io("read", proc))?;
    let working_folders: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "postgres\n")
        })
        .map(|pid| format!("/proc/{pid}/cwd"))
        .collect();
    if working_folders.is_empty() {
        return Ok(Vec::new());
    }
    // It fails for processes that ended meanwhile and for those of other users.
    // Neither is ours, so its exit status says nothing.
    let mut command = account.command("find");
    command
        .arg("-L")
        .args(&working_folders)
        .args(["-maxdepth", "0", "-samefile"])
        .arg(cluster_dir)
        .arg("-print");
    let output = account.output(&mut command)?;
    Ok(parse_working_folders(&String::from_utf8_lossy(
        &output.stdout,
    )))
}

/// Reads lines like `/proc/123/cwd`.
fn parse_working_folders(lines: &str) -> Vec<Pid> {
    let pid = |line: &str| {
        let pid = line.strip_prefix("/proc/")?.strip_suffix("/cwd")?;
        pid.parse().ok().map(Pid::from_raw)
    };
    lines.lines().filter_map(pid).collect()
}

fn send(pid: Pid, signal: Signal) {
    tracing::warn!(%pid, %signal, "stopping a Postgres process whose service is gone");
    // It may have ended since it was found; if not, the next round finds it.
    let _ = kill(pid, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_processes_are_read_from_the_lines_of_find() {
        let lines = "/proc/12/cwd\n/proc/self/cwd\n/proc/345/cwd\n";
        let pids = [Pid::from_raw(12), Pid::from_raw(345)];
        assert_eq!(parse_working_folders(lines), pids);
    }

    #[test]
    fn a_postmaster_is_asked_first_and_lone_backends_are_left_to_notice() {
        let second = Duration::from_secs(1);
        assert_eq!(next_step(Duration::ZERO, true), Step::Interrupt);
        assert_eq!(next_step(ORPHAN_FAST, true), Step::Interrupt);
        assert_eq!(next_step(ORPHAN_FAST + second, true), Step::Quit);
        assert_eq!(next_step(ORPHAN_FAST + QUIT, true), Step::Kill);
        assert_eq!(next_step(ORPHAN_FAST + QUIT + KILL, true), Step::GiveUp);
        assert_eq!(next_step(Duration::ZERO, false), Step::Wait);
        assert_eq!(next_step(BACKENDS_NOTICE + second, false), Step::Quit);
    }
}
