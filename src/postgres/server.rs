//! One run of the server: its command line, and asking it whether it is ready.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::account::Account;
use super::error::StartError;
use super::folder::socket_lock;
use super::log::Log;
use super::pid_file::PidFile;

/// The superuser of the cluster, and the only user it has.
pub(super) const SUPERUSER: &str = "ironflow";

/// The database of the service.
pub(super) const DATABASE: &str = "ironflow";

/// Makes [`DATABASE`].
const CREATE_DATABASE: &str = "create database ironflow";

/// The database every cluster has, from which others are made.
const MAINTENANCE_DATABASE: &str = "postgres";

/// A server that is up answers a connection in a few ms; one that takes it and
/// then says nothing for this long counts as silent.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Making a database copies 7 MB, here in 50 ms.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the module promises, whatever `postgresql.conf` and the caller say.
const SETTINGS: [&str; 9] = [
    // Module promise 1.
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "port=5432", // only a part of the socket's name
    // The log is ours, and user data stays out of it: no statements, no
    // parameters, and no DETAIL lines, which quote the row or key a constraint
    // refused. Only text that cannot be parsed is still quoted; the parameters
    // tokio-postgres sends are binary and not parsed.
    "logging_collector=off",
    "log_statement=none",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
];

/// For clusters that are thrown away: no waiting for the disk. With that gone,
/// `synchronous_commit=off` would win nothing more, and a server that is killed
/// would lose commits, which then no test could tell from a fault of ours.
const NOT_DURABLE: [&str; 2] = ["fsync=off", "full_page_writes=off"];

/// For all others; an edited `postgresql.conf` cannot undo it.
const DURABLE: [&str; 2] = ["fsync=on", "full_page_writes=on"];

/// All that is needed to run the server, again and again.
pub(super) struct Server {
    pub(super) program: PathBuf,
    pub(super) cluster_dir: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: Log,
    pub(super) account: Account,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
}

/// A server that was started, and where its part of the log begins.
pub(super) struct Run {
    pub(super) child: Child,
    pub(super) log_begin: u64,
}

/// What a server said when asked whether it is ready.
pub(super) enum Answer {
    /// It is, and this is its version.
    Ready(String),
    /// It starts, which takes long only when it repairs itself after a crash.
    Recovering,
    /// Nothing yet.
    Silent,
}

impl Server {
    /// Starts the server. It gets a SIGINT when the calling thread ends.
    ///
    /// The caller has made sure that no other server is at work in the cluster.
    pub(super) fn spawn(&self) -> Result<Run, StartError> {
        // Without a server it is stale, and stops Postgres if a stranger has its pid.
        let socket_lock = socket_lock(&self.socket_dir);
        match fs::remove_file(&socket_lock) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StartError::io("removed", &socket_lock)(error));
            }
            _ => {}
        }
        let entry = self.log.open()?;
        let mut socket_setting = OsString::from("unix_socket_directories=");
        socket_setting.push(&self.socket_dir);

        let mut command = self.account.command(&self.program);
        command.arg("-D").arg(&self.cluster_dir);
        // Of two settings of the same name the later one counts: ours are last.
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let durability: &[&str] = if self.durable { &DURABLE } else { &NOT_DURABLE };
        for setting in SETTINGS.iter().chain(durability) {
            command.arg("-c").arg(setting);
        }
        command.arg("-c").arg(socket_setting);
        command
            .stdout(Stdio::null()) // Postgres prints to stderr
            .stderr(entry.file);
        Ok(Run {
            child: self.account.spawn(&mut command)?,
            log_begin: entry.begin,
        })
    }

    /// Asks the server, which is this process, whether it is ready; makes our
    /// database if it is and has none.
    pub(super) async fn probe(&self, postmaster: u32) -> Result<Answer, tokio_postgres::Error> {
        // Its pid file first: each connection refused during a long recovery
        // would be a line in the log. A file of the run before names another.
        match PidFile::read(&self.cluster_dir) {
            Ok(file) if !file.names(postmaster) => return Ok(Answer::Silent),
            Ok(file) if !file.ready => return Ok(Answer::Recovering),
            Ok(_) => {}
            Err(_) => return Ok(Answer::Silent),
        }
        let config = connection(&self.socket_dir, DATABASE);
        let connecting = tokio::time::timeout(PROBE_TIMEOUT, config.connect(NoTls));
        let Ok(outcome) = connecting.await else {
            return Ok(Answer::Silent);
        };
        let error = match outcome {
            Ok((_client, connection)) => {
                let version = connection.parameter("server_version").unwrap_or_default();
                return Ok(Answer::Ready(number_of(version).to_owned()));
            }
            Err(error) => error,
        };
        match error.code() {
            // No answer at all: it has just died, or is too busy to take the call.
            None => Ok(Answer::Silent),
            Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => Ok(Answer::Recovering),
            // It is up, but callers that came back after a restart were quicker.
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => Ok(Answer::Silent),
            Some(code) if *code == SqlState::UNDEFINED_DATABASE => {
                // Cut short or not, the next probe tells whether it is there.
                if let Ok(made) = tokio::time::timeout(CREATE_TIMEOUT, self.create_database()).await
                {
                    made?;
                }
                Ok(Answer::Silent)
            }
            Some(_) => Err(error),
        }
    }

    async fn create_database(&self) -> Result<(), tokio_postgres::Error> {
        let maintenance = connection(&self.socket_dir, MAINTENANCE_DATABASE);
        let (client, connection) = maintenance.connect(NoTls).await?;
        let (created, _) = tokio::join!(
            async {
                // Moved in here: the connection ends when its client is dropped.
                let client = client;
                client.batch_execute(CREATE_DATABASE).await
            },
            connection
        );
        created
    }

    pub(super) fn exited(&self, status: ExitStatus, run: &Run) -> StartError {
        StartError::Exited {
            status,
            log: self.log.path().to_owned(),
            tail: self.log.tail(run.log_begin),
        }
    }

    pub(super) fn no_answer(&self, waited: Duration, run: &Run) -> StartError {
        StartError::NoAnswer {
            waited_s: waited.as_secs(),
            log: self.log.path().to_owned(),
            tail: self.log.tail(run.log_begin),
        }
    }

    pub(super) fn still_recovering(&self, waited: Duration, run: &Run) -> StartError {
        StartError::StillRecovering {
            waited_s: waited.as_secs(),
            cluster_dir: self.cluster_dir.clone(),
            program: self.program.clone(),
            log: self.log.path().to_owned(),
            tail: self.log.tail(run.log_begin),
        }
    }
}

/// How to connect to a database of the cluster.
pub(super) fn connection(socket_dir: &Path, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host_path(socket_dir)
        .user(SUPERUSER)
        .dbname(database);
    config
}

/// The number in `15.18 (Debian 15.18-0+deb12u1)`.
fn number_of(version: &str) -> &str {
    version.split_whitespace().next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_cut_off_a_version() {
        assert_eq!(number_of("15.18 (Debian 15.18-0+deb12u1)"), "15.18");
        assert_eq!(number_of("17beta2"), "17beta2");
        assert_eq!(number_of(""), "");
    }
}
