//! Why a private Postgres did not start, in words for the person who started it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why [`Cluster::start`](super::Cluster::start) failed: what happened, why, and
/// what to type. What the system said is in the text, so none has a source that
/// would say it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no Postgres on this machine.
    #[error(
        "No PostgreSQL server was found. Run: apt-get install -y postgresql  \
         (or set DATABASE_URL to use a server of your own)"
    )]
    NoServer,

    /// The folder was made by a major version that is not installed.
    #[error(
        "{cluster_dir} was made by PostgreSQL {major}, which was not found, and no other major \
         can open it. Run: apt-get install -y postgresql-{major}"
    )]
    MissingMajor {
        /// The cluster.
        cluster_dir: PathBuf,
        /// The major version that made it.
        major: u32,
    },

    /// The binaries that were asked for are of another major than the folder.
    #[error(
        "{cluster_dir} was made by PostgreSQL {wanted}, but the binaries in {bin_dir} are \
         PostgreSQL {found}, which cannot open it. Name the folder of PostgreSQL {wanted}, \
         or another data folder"
    )]
    WrongMajor {
        /// The cluster.
        cluster_dir: PathBuf,
        /// The major version that made it.
        wanted: u32,
        /// The folder that was asked for.
        bin_dir: PathBuf,
        /// The major version in it.
        found: u32,
    },

    /// The folder of binaries that was asked for holds none.
    #[error(
        "{bin_dir} does not hold both `postgres` and `initdb` of a PostgreSQL server. On Debian they are \
         in /usr/lib/postgresql/<major>/bin, and found there by themselves: leave IRONFLOW_POSTGRES_BIN unset"
    )]
    NoBinariesIn {
        /// The folder that was asked for.
        bin_dir: PathBuf,
    },

    /// Postgres refuses to run as root, and there is no account to run it as.
    #[error(
        "Postgres refuses to run as root, and this machine has neither an account `postgres` nor \
         `nobody` to run it as. Run: adduser --system postgres  (or start this service as an \
         ordinary user)"
    )]
    NoAccount,

    /// A user id that is in no passwd file, which `initdb` refuses.
    #[error(
        "Postgres needs a named account, and user id {uid} has none on this machine. Add it to \
         /etc/passwd, or start this service as a user that has a name"
    )]
    UnknownUser {
        /// The user id.
        uid: u32,
    },

    /// The cluster belongs to somebody we cannot run Postgres as.
    #[error(
        "{cluster_dir} belongs to user id {owner}, and Postgres has to run as its owner, which \
         {account} cannot make it do. Run: chown -R {cure} {cluster_dir}"
    )]
    WrongOwner {
        /// The cluster.
        cluster_dir: PathBuf,
        /// The user id it belongs to.
        owner: u32,
        /// Who we are.
        account: String,
        /// Who it should belong to.
        cure: String,
    },

    /// A folder on the way does not let the account of Postgres pass.
    #[error(
        "Account `{account}`, which Postgres runs as because it refuses root, cannot reach \
         {target}: {folder} does not let it pass. Run: chmod o+x {folder}  (or use another place)"
    )]
    Unreachable {
        /// The account.
        account: String,
        /// What it has to reach.
        target: PathBuf,
        /// The folder in the way.
        folder: PathBuf,
    },

    /// We may not write in the data folder, or may not make it.
    #[error(
        "The data folder {data_dir} cannot be used: {account} may not write in {folder} \
         ({error}). Run as root: chown {account} {folder}  (or name another data folder: --data-dir FOLDER)"
    )]
    NotWritable {
        /// The data folder.
        data_dir: PathBuf,
        /// The folder that refused; the data folder or one above it.
        folder: PathBuf,
        /// Who we are.
        account: String,
        /// What the system said.
        error: io::Error,
    },

    /// There is something at the place of the data folder that is none.
    #[error(
        "The data folder {data_dir} cannot be made: {file} is there, and is no folder. Name another data \
         folder: --data-dir FOLDER"
    )]
    NotAFolder {
        /// The data folder.
        data_dir: PathBuf,
        /// What is in the way: the same, or a part of the path to it.
        file: PathBuf,
    },

    /// Another service uses the folder.
    #[error(
        "{data_dir} is in use by {holder}. Stop that service, or give this one a data folder of its own: \
         --data-dir FOLDER"
    )]
    InUse {
        /// The data folder.
        data_dir: PathBuf,
        /// What the other service calls itself, and its process id.
        holder: String,
    },

    /// There is a `pg` that is not a cluster.
    #[error(
        "{cluster_dir} is there, but is not a Postgres cluster: it has no readable PG_VERSION. \
         Move it away: mv {cluster_dir} {cluster_dir}.broken"
    )]
    NotACluster {
        /// The folder.
        cluster_dir: PathBuf,
    },

    /// Processes of an earlier service are in the folder and do not go away.
    #[error(
        "Postgres processes of an earlier service still use {cluster_dir} and did not end when \
         killed: {pids:?}. Look at them: ps -fp {}",
        comma_separated(pids)
    )]
    Occupied {
        /// The cluster.
        cluster_dir: PathBuf,
        /// Their process ids.
        pids: Vec<i32>,
    },

    /// `initdb` did not make a cluster.
    #[error("initdb could not make a cluster in {cluster_dir} ({outcome}). It said:\n{output}")]
    Initdb {
        /// Where the cluster was to be.
        cluster_dir: PathBuf,
        /// How it ended.
        outcome: String,
        /// The last lines it printed.
        output: String,
    },

    /// The server ended before it answered.
    #[error("Postgres did not start ({status}). The end of {log}:\n{tail}")]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The server runs, but does not answer.
    #[error(
        "Postgres runs, but did not answer within {waited_s} s, and was stopped again. The end of \
         {log}:\n{tail}"
    )]
    NoAnswer {
        /// How long we waited, in seconds.
        waited_s: u64,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The server repairs itself after a crash and needs longer than we wait.
    #[error(
        "Postgres is still recovering from a crash after {waited_s} s, and was stopped again; \
         every start begins that work anew. Let it finish once by hand, as the owner of \
         {cluster_dir}: {program} -D {cluster_dir} -k {cluster_dir} -c listen_addresses=  (Ctrl-C when it is ready \
         to accept connections). The end of {log}:\n{tail}"
    )]
    StillRecovering {
        /// How long we waited, in seconds.
        waited_s: u64,
        /// The cluster.
        cluster_dir: PathBuf,
        /// The server's program.
        program: PathBuf,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The server answers, but refuses us or the making of our database.
    #[error("Postgres started, but its database `ironflow` cannot be used: {}", .error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string))]
    Database {
        /// What it said.
        error: tokio_postgres::Error,
    },

    /// Nothing can be run as the account.
    #[error(
        "Programs cannot be run as account `{account}`: {reason}. It takes `setpriv` of \
         util-linux, and of root the right to change its user. Run: apt-get install -y util-linux \
         coreutils findutils"
    )]
    Setpriv {
        /// The account.
        account: String,
        /// What the system or `setpriv` said.
        reason: String,
    },

    /// A step on a file or folder failed.
    #[error("{path} could not be {step}: {error}")]
    Io {
        /// What was done, as a participle: `read`, `made`.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl From<tokio_postgres::Error> for StartError {
    fn from(error: tokio_postgres::Error) -> StartError {
        StartError::Database { error }
    }
}

impl StartError {
    /// Names the step and the file of a failure: `.map_err(StartError::io("read", path))`.
    pub(super) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
        let path = path.to_owned();
        move |error| StartError::Io { step, path, error }
    }
}

fn comma_separated(pids: &[i32]) -> String {
    let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
    pids.join(",")
}
