//! A Postgres and two instances of the program, to be hit.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use ironflow_sync::grpc::proto::GetStatusRequest;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::postgres::{Cluster, ClusterConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};
use tonic::transport::{Channel, Endpoint};

use super::chaos::Blow;
use crate::sim::catalog::{CATALOG, LOADED, entity};
use crate::support::program::{Program, program};
use crate::support::service::token;
use crate::support::{Device, TestDatabase};

/// How many instances serve.
const INSTANCES: usize = 2;

/// Who is not back by then is not coming back.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two questions whether somebody is back.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// How long an instance stands still.
const FREEZE: std::ops::Range<u64> = 20..300;

/// Where the instances listen now: it changes as they are restarted.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// Everything that runs.
pub struct Rig {
    // Ends before what it stands on.
    programs: Vec<Program>,
    database: Option<TestDatabase>,
    _cluster: Cluster,
    addresses: Addresses,
    backups: u32,
    home: TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        let home = tempfile::Builder::new().permissions(mode).tempdir();
        let home = home.expect("a folder");
        let data_dir = home.path().join("data");
        let config = ClusterConfig {
            data_dir,
            bin_dir: None,
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            holder: "the fault runs".to_owned(),
            durable: false,
            settings: vec![],
        };
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(config)).await;
        let cluster = cluster.expect("no panic").expect("Postgres starts");
        let database = TestDatabase::on_server(&cluster.connection()).await;
        fs::write(home.path().join("catalog.toml"), CATALOG).expect("a file");
        let mut rig = Self {
            programs: Vec::new(),
            database: Some(database),
            _cluster: cluster,
            addresses: Addresses::default(),
            backups: 0,
            home,
        };
        rig.load_library();
        rig.mend().await;
        rig
    }

    fn database(&self) -> &TestDatabase {
        self.database.as_ref().expect("until the end")
    }

    fn catalog(&self) -> PathBuf {
        self.home.path().join("catalog.toml")
    }

    /// Runs the program for something that ends.
    fn run(&self, arguments: &[&str]) {
        let url = self.database().url();
        let catalog = self.catalog();
        let mut command = program(arguments);
        command.args(["--database-url", &url, "--catalog"]);
        let output = command.arg(catalog).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn load_library(&self) {
        let file = self.home.path().join("library.json");
        let (entity_type, id) = entity(LOADED);
        let loaded = json!([{"id": id, "name": "Squat"}]);
        fs::write(&file, loaded.to_string()).expect("a file");
        let file = file.display().to_string();
        self.run(&["library", "load", &file, "--type", &entity_type]);
    }

    /// Where the instances listen.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// One of them.
    pub fn address(&self, rng: &mut Rng) -> SocketAddr {
        self.programs[rng.usize(..self.programs.len())].address
    }

    /// Looks into the tables.
    pub async fn sql(&self) -> Client {
        let connected = self.database().config().connect(NoTls).await;
        let (client, connection) = connected.expect("Postgres answers");
        tokio::spawn(connection);
        client
    }

    fn start_instance(&self) -> Program {
        let catalog = self.catalog().display().to_string();
        Program::start(
            self.database(),
            &[
                "--catalog",
                &catalog,
                "--user-calls-per-s",
                "1000000",
                "--user-calls-burst",
                "1000000",
                "--poll-interval-ms",
                "1000",
                "--compact-interval-s",
                "0",
            ],
        )
    }

    /// Starts what has ended, and waits until everybody answers.
    pub async fn mend(&mut self) {
        let begun = Instant::now();
        while let Err(why) = self.all_answer().await {
            assert!(begun.elapsed() < PATIENCE, "it never came back: {why}");
            sleep(ASK_AGAIN).await;
        }
    }

    async fn all_answer(&mut self) -> Result<(), String> {
        self.programs.retain_mut(Program::is_running);
        while self.programs.len() < INSTANCES {
            let instance = self.start_instance();
            self.programs.push(instance);
        }
        let addresses = self.programs.iter().map(|program| program.address);
        *self.addresses.lock().expect("no panic") = addresses.collect();
        for program in &self.programs {
            answers(program.address).await?;
        }
        Ok(())
    }

    /// Makes ready what can be done to the servers while a call is under way.
    pub async fn aim(&mut self, blow: Blow, rng: &mut Rng) -> Aimed {
        let instance = self.programs[rng.usize(..self.programs.len())].pid();
        match blow {
            Blow::KillService => Aimed::Kill(instance, None),
            Blow::KillBackend => {
                let sql = self.sql().await;
                Aimed::Kill(self.backend(&sql, rng).await, Some(sql))
            }
            Blow::KillPostmaster => Aimed::Kill(self.postmaster(), Some(self.sql().await)),
            Blow::Freeze => Aimed::Freeze(instance, Duration::from_millis(rng.u64(FREEZE))),
            Blow::RollingRestart => Aimed::Stop(instance),
        }
    }

    /// A connection of some instance.
    async fn backend(&self, sql: &Client, rng: &mut Rng) -> Pid {
        let select = "select pid from pg_stat_activity \
            where datname = current_database() and pid <> pg_backend_pid()";
        let rows = sql.query(select, &[]).await.expect("rows");
        match rows.is_empty() {
            true => self.postmaster(),
            false => Pid::from_raw(rows[rng.usize(..rows.len())].get(0)),
        }
    }

    fn postmaster(&self) -> Pid {
        let file = self.home.path().join("data/pg/postmaster.pid");
        let text = fs::read_to_string(file).expect("a pid file");
        let pid = text.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(pid.expect("a pid"))
    }

    /// The rest of a rolling restart: the first instance has been asked to stop.
    pub async fn roll(&mut self) {
        for _ in 0..INSTANCES {
            let oldest = self.programs.remove(0);
            let stopped = tokio::task::spawn_blocking(|| oldest.stop()).await;
            drop(stopped.expect("no panic"));
            self.mend().await;
        }
    }

    fn stop_all(&mut self) {
        self.programs.clear();
    }

    /// Copies the database while nobody writes.
    pub async fn backup(&mut self) -> String {
        self.backups += 1;
        let name = format!("backup_{}", self.backups);
        self.stop_all();
        self.database().copy_to(&name).await;
        self.mend().await;
        name
    }

    /// Puts a copy in the database's place, and begins a new epoch, as the operator's manual says.
    pub async fn restore(&mut self, name: &str) {
        self.stop_all();
        self.database().replace_by(name).await;
        self.run(&["new-epoch"]);
        self.mend().await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop_all();
        drop(self.database.take());
    }
}

/// A blow that only has to fall.
pub enum Aimed {
    /// With a process of Postgres all its connections end, and so does this one.
    Kill(Pid, Option<Client>),
    Freeze(Pid, Duration),
    Stop(Pid),
}

impl Aimed {
    /// It may be that whom it is meant for has gone.
    pub async fn fall(self) {
        match self {
            Self::Kill(pid, connection) => {
                let killed = kill(pid, Signal::SIGKILL).is_ok();
                // Otherwise somebody might be thought to be back who has not gone yet.
                while killed && connection.as_ref().is_some_and(|open| !open.is_closed()) {
                    sleep(ASK_AGAIN).await;
                }
            }
            Self::Stop(pid) => {
                let _ = kill(pid, Signal::SIGTERM);
            }
            Self::Freeze(pid, time) => {
                let _ = kill(pid, Signal::SIGSTOP);
                sleep(time).await;
                let _ = kill(pid, Signal::SIGCONT);
            }
        }
    }
}

/// Whether an instance reaches its database.
async fn answers(address: SocketAddr) -> Result<(), String> {
    let channel = connect(address).await.map_err(|error| error.to_string())?;
    let mut device = Device::new(SyncServiceClient::new(channel), token("probe"), "probe");
    let asked = device.get_status(GetStatusRequest {
        device_id: "probe".to_owned(),
    });
    asked.await.map(drop).map_err(|status| status.to_string())
}

/// A connection that nothing is done to.
pub async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .timeout(Duration::from_secs(5))
        .connect()
        .await
}
