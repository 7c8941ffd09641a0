//! Runs of the server in a row: the first, and one more after each that dies.
//!
//! One thread owns the server from the first run to the last. It has to be one
//! thread of its own: the kernel signals the server when the *thread* that
//! spawned it ends, which is how promise 4 of the module is kept.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::StartError;
use super::launch::{LaunchError, launch};
use super::leash::{Leash, SHUTDOWN, lost_sight};
use super::server::Server;

/// The pause before a dead server is started again; doubled each time.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest such pause: rare enough to spare a machine in trouble, and soon
/// enough after a full disk was cleared.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// A server that lived this long had no trouble starting; the pause begins small.
const RESTART_DELAY_FORGOTTEN: Duration = Duration::from_secs(60);

/// Keeps the server running until it is dropped, which stops it.
#[derive(Debug)]
pub(super) struct Supervisor {
    leash: Arc<Leash>,
    /// Ends when the thread does. In a mutex only to be shareable.
    news: Mutex<Receiver<News>>,
    server_version: String,
}

/// What the thread reports: how the first run began. Then only its end.
type News = Result<String, StartError>;

impl Supervisor {
    /// Starts the server and returns when it answers.
    pub(super) fn start(server: Server) -> Result<Supervisor, StartError> {
        let leash = Arc::new(Leash::default());
        let (sender, news) = mpsc::channel();
        thread::Builder::new()
            .name("postgres".to_owned())
            .spawn({
                let leash = Arc::clone(&leash);
                // The thread is waited for through the channel, which knows timeouts.
                move || supervise(&server, &leash, &sender)
            })
            .map_err(lost_sight)?;
        let server_version = news
            .recv()
            .unwrap_or_else(|_| Err(lost_sight(io::Error::other("its thread ended"))))?;
        Ok(Supervisor {
            leash,
            news: Mutex::new(news),
            server_version,
        })
    }

    pub(super) fn server_version(&self) -> &str {
        &self.server_version
    }

    /// Stops the server, and waits until it is gone.
    fn stop(&mut self) {
        self.leash.stop();
        let news = self.news.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (signal, patience) in SHUTDOWN {
            self.leash.signal(signal);
            if let Err(RecvTimeoutError::Disconnected) = news.recv_timeout(patience) {
                return;
            }
            tracing::warn!(%signal, patience_s = patience.as_secs(), "Postgres did not stop");
        }
        tracing::error!("Postgres could not be stopped; the next start will try again");
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of the thread.
fn supervise(server: &Server, leash: &Leash, news: &Sender<News>) {
    let (mut run, version) = match launch(server, leash) {
        Ok(launched) => launched,
        Err(LaunchError::Stopping) => return,
        Err(LaunchError::Failed(error)) => return report(news, Err(error)),
    };
    tracing::info!(version, socket = %server.socket_dir.display(), "private Postgres is ready");
    report(news, Ok(version));

    let mut delay = RESTART_DELAY_MIN;
    loop {
        let begin = Instant::now();
        let outcome = leash.reap(&mut run.child);
        if begin.elapsed() >= RESTART_DELAY_FORGOTTEN {
            delay = RESTART_DELAY_MIN;
        }
        if leash.pause(Duration::ZERO).is_err() {
            return;
        }
        let tail = server.log.tail(run.log_begin);
        tracing::error!(
            ?outcome,
            "Postgres died and will be started again. Its log:\n{tail}"
        );
        run = loop {
            if leash.pause(delay).is_err() {
                return;
            }
            delay = (delay * 2).min(RESTART_DELAY_MAX);
            match launch(server, leash) {
                Ok((run, _)) => break run,
                Err(LaunchError::Stopping) => return,
                Err(LaunchError::Failed(error)) => tracing::error!("{error}"),
            }
        };
        tracing::info!("private Postgres is ready again");
    }
}

fn report(news: &Sender<News>, first_run: News) {
    // Whoever waits for it waits until it comes; see `Supervisor::start`.
    let _ = news.send(first_run);
}
