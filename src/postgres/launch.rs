//! One launch: clear the way, start the server, wait until it answers.

use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{self, Runtime};

use super::error::StartError;
use super::leash::{Leash, SHUTDOWN, Stopping};
use super::occupants;
use super::server::{Answer, Run, Server};

/// How long a server may be silent before a start is given up. It answers in
/// 0.1 s here; a cold, slow disk may take some hundred times as long.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a server may say that it is recovering. Giving up is costly, because
/// the next start begins anew; Postgres' defaults keep recovery to minutes.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A recovery shorter than this passes without a word.
const RECOVERY_ANNOUNCED_AFTER: Duration = Duration::from_secs(2);

/// How often a starting server is asked; a connection attempt costs 0.1 ms.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

/// Why a launch came to nothing.
#[derive(Debug)]
pub(super) enum LaunchError {
    Stopping,
    Failed(StartError),
}

impl From<Stopping> for LaunchError {
    fn from(_: Stopping) -> LaunchError {
        LaunchError::Stopping
    }
}

impl<E: Into<StartError>> From<E> for LaunchError {
    fn from(error: E) -> LaunchError {
        LaunchError::Failed(error.into())
    }
}

/// Starts the server and waits until it is ready. On failure none is left.
pub(super) fn launch(server: &Server, leash: &Leash) -> Result<(Run, String), LaunchError> {
    occupants::clear(&server.cluster_dir, &server.account, leash)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::io("waited for", &server.socket_dir))?;
    let mut run = leash.spawn(server)?;
    match until_ready(server, leash, &runtime, &mut run) {
        Ok(version) => Ok((run, version)),
        // Whoever asked for the stop signals the server, ever more rudely.
        Err(LaunchError::Stopping) => {
            leash.reap(&mut run.child)?;
            Err(LaunchError::Stopping)
        }
        Err(LaunchError::Failed(error)) => {
            abandon(leash, &mut run.child)?;
            Err(LaunchError::Failed(error))
        }
    }
}

/// Returns the version of the server when it is ready.
fn until_ready(
    server: &Server,
    leash: &Leash,
    runtime: &Runtime,
    run: &mut Run,
) -> Result<String, LaunchError> {
    let begin = Instant::now();
    let mut last_word = begin;
    let mut announced = false;
    loop {
        if let Some(status) = leash.try_reap(&mut run.child)? {
            return Err(server.exited(status, run).into());
        }
        match runtime.block_on(server.probe(run.child.id()))? {
            Answer::Ready(version) => return Ok(version),
            Answer::Recovering if begin.elapsed() > RECOVERY_TIMEOUT => {
                return Err(server.still_recovering(RECOVERY_TIMEOUT, run).into());
            }
            Answer::Recovering => {
                last_word = Instant::now();
                if !announced && begin.elapsed() > RECOVERY_ANNOUNCED_AFTER {
                    announced = true;
                    tracing::info!("Postgres recovers from a crash, which can take minutes");
                }
            }
            Answer::Silent if last_word.elapsed() > START_TIMEOUT => {
                return Err(server.no_answer(START_TIMEOUT, run).into());
            }
            Answer::Silent => {}
        }
        leash.pause(PROBE_INTERVAL)?;
    }
}

/// Stops a server that came up wrong.
fn abandon(leash: &Leash, child: &mut Child) -> Result<(), StartError> {
    for (signal, patience) in SHUTDOWN {
        leash.signal(signal);
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if leash.try_reap(child)?.is_some() {
                return Ok(());
            }
            thread::sleep(PROBE_INTERVAL);
        }
    }
    Ok(())
}
