//! What the thread that runs the server and the one who stops it both hold.
//!
//! The server's pid is in it, so that it can be signalled. The pid is taken back
//! before the process is reaped, under the same lock; a signal can therefore
//! never hit a stranger who was given the number again.

use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::error::StartError;
use super::launch::LaunchError;
use super::server::{Run, Server};

/// How long a fast shutdown (SIGINT: roll back, write all to disk) may take. The
/// same as what `docker stop` grants a whole service.
pub(super) const FAST_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an immediate one (SIGQUIT) may take: after five seconds Postgres
/// kills what is left of itself.
pub(super) const IMMEDIATE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(6);

/// How long the kernel may take to end a killed process.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The way down, ever ruder. All of them keep what was committed.
pub(super) const SHUTDOWN: [(Signal, Duration); 3] = [
    (Signal::SIGINT, FAST_SHUTDOWN_TIMEOUT),
    (Signal::SIGQUIT, IMMEDIATE_SHUTDOWN_TIMEOUT),
    (Signal::SIGKILL, KILL_TIMEOUT),
];

/// The hold on the server: its pid while it runs, and whether it is to stop.
#[derive(Debug, Default)]
pub(super) struct Leash {
    state: Mutex<State>,
    stop_asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// The server, while its pid is certainly its own.
    pid: Option<Pid>,
}

/// The server is to be stopped, so what was being done has no point any more.
#[derive(Debug)]
pub(super) struct Stopping;

impl Leash {
    /// Sleeps, unless the server is to be stopped.
    pub(super) fn pause(&self, duration: Duration) -> Result<(), Stopping> {
        let (state, _) = self
            .stop_asked
            .wait_timeout_while(self.state(), duration, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopping {
            Err(Stopping)
        } else {
            Ok(())
        }
    }

    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.stop_asked.notify_all();
    }

    /// Signals the server, if it runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.state().pid {
            // It cannot fail: the process is our child and not yet reaped.
            let _ = kill(pid, signal);
        }
    }

    /// Starts the server, unless it is to be stopped: no server is ever born
    /// behind the back of a stop.
    pub(super) fn spawn(&self, server: &Server) -> Result<Run, LaunchError> {
        let mut state = self.state();
        if state.stopping {
            return Err(LaunchError::Stopping);
        }
        let run = server.spawn()?;
        state.pid = i32::try_from(run.child.id()).ok().map(Pid::from_raw);
        Ok(run)
    }

    /// Reaps the server if it has ended.
    pub(super) fn try_reap(&self, child: &mut Child) -> Result<Option<ExitStatus>, StartError> {
        let mut state = self.state();
        let status = child.try_wait().map_err(lost_sight)?;
        if status.is_some() {
            state.pid = None;
        }
        Ok(status)
    }

    /// Waits for the server to end, and reaps it.
    pub(super) fn reap(&self, child: &mut Child) -> Result<ExitStatus, StartError> {
        let pid = self.state().pid;
        if let Some(pid) = pid {
            let ended_but_not_reaped = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while let Err(Errno::EINTR) = waitid(Id::Pid(pid), ended_but_not_reaped) {}
        }
        let mut state = self.state();
        state.pid = None;
        child.wait().map_err(lost_sight)
    }

    /// Nothing that can panic is done with the lock held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait for a process or a thread of ours failed, which no system does.
pub(super) fn lost_sight(source: io::Error) -> StartError {
    StartError::io("watched over", Path::new("postgres"))(source)
}
