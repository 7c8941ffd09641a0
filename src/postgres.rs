//! A private Postgres for a service that was given no database of its own.
//!
//! [`Cluster::start`] finds the Postgres binaries of this machine, makes a
//! cluster in the data folder if there is none, starts the server, watches over
//! it, and stops it again. Nothing has to be set up, as root or as anyone else.
//!
//! What lies in the data folder:
//!
//! | name | what | owner |
//! |---|---|---|
//! | `pg/` | the cluster, as `initdb` made it | the account Postgres runs as |
//! | `pg.new/` | the same while `initdb` works; a leftover is removed | the same |
//! | `run/` | the folder of the unix socket, mode 0700, made afresh at every start | the same |
//! | `postgres.log`, `postgres.log.old` | what `initdb` and the server printed | us |
//! | `service.lock` | held while a service uses the folder; says who | us |
//!
//! # Promises
//!
//! 1. Nobody but the account Postgres runs as, and root, can connect: there is
//!    no TCP port, and the socket lies in a folder of mode 0700. That is why
//!    no password is asked for.
//! 2. One service per folder. A second one is refused and told who is first.
//! 3. A server that dies is started again, for as long as the service lives.
//! 4. A server never outlives its service, even one killed with SIGKILL. Should
//!    one be left over all the same, the next start stops it first.
//! 5. `initdb` happens wholly or not at all.
//! 6. The major version that made a cluster is the only one that opens it.
//!
//! # Absent on purpose
//!
//! Creating OS users, downloading binaries, upgrading between majors, systems
//! other than Linux (it needs `/proc`, and `setpriv` from util-linux).
//!
//! Reading order: `folder`, `account`, `binaries`, `initdb`; then `server` (the
//! command line), `occupants` (what an earlier run left), `launch` (one run),
//! `supervisor` (runs in a row) and `leash` (how they are ended).

mod account;
mod binaries;
mod error;
mod folder;
mod initdb;
mod launch;
mod leash;
mod log;
mod occupants;
mod pid_file;
mod server;
mod supervisor;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use account::Account;
use folder::{Folder, FolderLock, SocketFolder};
use pid_file::PidFile;
use server::Server;
use supervisor::Supervisor;

pub use error::StartError;

/// What [`Cluster::start`] needs to know.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The data folder. Made if it is missing, together with its parents.
    pub data_dir: PathBuf,
    /// The folder of the `postgres` and `initdb` to use. Absent: the major that
    /// made the cluster, or the newest one, is looked for on this machine.
    pub bin_dir: Option<PathBuf>,
    /// The value of `PATH`, the last place where binaries are looked for. Empty
    /// means not to look there.
    pub search_path: OsString,
    /// How a second service on the folder will name us, for example
    /// `ironflow-sync on 127.0.0.1:50051`. The process id is added.
    pub holder: String,
    /// Whether a commit has reached the disk when it is answered. False is for
    /// test harnesses only: a power cut then costs the whole cluster.
    pub durable: bool,
    /// More server settings, for example `("max_connections", "50")`. They can
    /// not undo the promises of this module.
    pub settings: Vec<(String, String)>,
}

/// A running private Postgres. Dropping it stops the server.
#[derive(Debug)]
pub struct Cluster {
    // In the order they have to be dropped: the server, then its socket, and
    // the lock only when nothing of ours is left in the folder.
    supervisor: Supervisor,
    sockets: SocketFolder,
    _lock: FolderLock,
}

impl Cluster {
    /// Starts the private Postgres of a data folder and returns when it answers.
    ///
    /// Blocks, about a second for a new folder and a tenth of one for a folder
    /// that was stopped properly. A server that does not answer is given up
    /// after 60 seconds; one that says it is recovering, after 15 minutes.
    ///
    /// # Errors
    ///
    /// Every [`StartError`] says what to do. Nothing is left running.
    pub fn start(config: ClusterConfig) -> Result<Cluster, StartError> {
        let folder = Folder::open(&config.data_dir)?;
        let account = Account::choose(&folder)?;
        account.check_reach(folder.root())?;
        let lock = folder.lock(&config.holder)?;

        let wanted = folder.cluster_major()?;
        let bin_dir = binaries::find(&config, folder.cluster_dir(), wanted)?;
        account.check_reach(&bin_dir.join("postgres"))?;
        if wanted.is_none() {
            initdb::run(&folder, &account, &bin_dir, config.durable)?;
        }

        let sockets = SocketFolder::create(&folder, &account)?;
        let server = Server {
            program: bin_dir.join("postgres"),
            cluster_dir: folder.cluster_dir(),
            socket_dir: sockets.path().to_owned(),
            log: folder.log(),
            account,
            durable: config.durable,
            settings: config.settings,
        };
        let supervisor = Supervisor::start(server)?;
        Ok(Cluster {
            supervisor,
            sockets,
            _lock: lock,
        })
    }

    /// How to connect: over the unix socket, as user `ironflow` (a superuser),
    /// to the database `ironflow`.
    #[must_use]
    pub fn connection(&self) -> tokio_postgres::Config {
        server::connection(self.socket_dir(), server::DATABASE)
    }

    /// The folder that holds the server's unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.sockets.path()
    }

    /// The version of the server, for example `15.18`.
    #[must_use]
    pub fn server_version(&self) -> &str {
        self.supervisor.server_version()
    }

    /// Stops the server; blocks until it is gone, which takes 21 seconds at most:
    /// ten for a fast shutdown, the rest for ever ruder ones. What was committed
    /// is kept in every case.
    pub fn stop(self) {
        drop(self);
    }
}

/// How to connect to the private Postgres of a data folder that another process runs: to look, beside the
/// service. `None`: none takes connections there, or this account may not see it.
#[must_use]
pub fn beside(data_dir: &Path) -> Option<tokio_postgres::Config> {
    let file = PidFile::read(&data_dir.join("pg")).ok()?;
    let socket_dir = file.socket_dir.filter(|_| file.ready)?;
    Some(server::connection(&socket_dir, server::DATABASE))
}

/// The folder of the Postgres programs that would run the private Postgres of a data folder; nothing is started
/// or made. The rest as in [`ClusterConfig`].
///
/// # Errors
///
/// As [`Cluster::start`], where there are none, or none of the major that made the cluster.
pub fn programs(
    data_dir: &Path,
    bin_dir: Option<&Path>,
    search_path: &OsStr,
) -> Result<PathBuf, StartError> {
    let cluster_dir = data_dir.join("pg");
    let version = std::fs::read_to_string(cluster_dir.join("PG_VERSION"));
    let major = version.ok().and_then(|major| major.trim().parse().ok());
    let config = ClusterConfig {
        data_dir: data_dir.to_owned(),
        bin_dir: bin_dir.map(Path::to_owned),
        search_path: search_path.to_owned(),
        holder: String::new(),
        durable: true,
        settings: Vec::new(),
    };
    binaries::find(&config, cluster_dir, major)
}
