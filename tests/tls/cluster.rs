//! A Postgres on a port of its own, whose TLS is turned on and off.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ironflow_sync::postgres::{Cluster, ClusterConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

use super::authority::Identity;
use super::patiently;

/// The password of its one user.
pub const PASSWORD: &str = "tests";

/// A server that takes passwords over TCP. Stopped when dropped.
pub struct TlsCluster {
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// A session over its unix socket.
    pub admin: Client,
    cluster_dir: PathBuf,
    _folder: TempDir,
}

impl TlsCluster {
    /// One without TLS so far.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ironflow-tls-")
            .permissions(fs::Permissions::from_mode(0o711))
            .tempdir()
            .expect("a folder");
        let cluster_dir = folder.path().join("pg");
        let program = made(&folder);
        let access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(cluster_dir.join("pg_hba.conf"), access).expect("written");
        let owner = fs::metadata(&cluster_dir).expect("a folder");
        // Free now, and asked for again at once.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut command = Command::new("setpriv");
        if nix::unistd::geteuid().is_root() {
            let (user, group) = (owner.uid(), owner.gid());
            command.args([&format!("--reuid={user}"), &format!("--regid={group}")]);
            command.arg("--clear-groups");
        }
        // The thread that asks for it is the test's, and ends no later than it is needed.
        let child = command
            .args(["--pdeathsig", "INT", "--"])
            .arg(program)
            .arg("-D")
            .arg(&cluster_dir)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", &format!("port={port}")])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", cluster_dir.display()))
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv");
        let mut config = Config::new();
        config.host_path(&cluster_dir).port(port);
        config.user("ironflow").dbname("ironflow");
        let connect = async {
            loop {
                match config.connect(NoTls).await {
                    Ok(connected) => return connected,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        };
        let (admin, connection) = patiently("Postgres answers", connect).await;
        tokio::spawn(connection);
        let password = format!("alter role ironflow password '{PASSWORD}'");
        admin.batch_execute(&password).await.expect("a password");
        Self {
            child,
            port,
            admin,
            cluster_dir,
            _folder: folder,
        }
    }

    /// Turns TLS on, with a certificate; a new one if it is on already.
    pub async fn show(&self, identity: &Identity) {
        let owner = fs::metadata(&self.cluster_dir).expect("a folder");
        for (name, text) in [
            ("server.crt", &identity.pem),
            ("server.key", &identity.key_pem),
        ] {
            let path = self.cluster_dir.join(name);
            fs::write(&path, text).expect("written");
            chown(&path, Some(owner.uid()), Some(owner.gid())).expect("given");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        }
        let on = "alter system set ssl = on";
        self.admin.batch_execute(on).await.expect("set");
        self.reload().await;
    }

    /// Has the settings read again. From the return on, every new session has them.
    async fn reload(&self) {
        let now = "select pg_conf_load_time()";
        let before = self.admin.query_one(now, &[]).await.expect("a time");
        let before: std::time::SystemTime = before.get(0);
        let reload = "select pg_reload_conf()";
        self.admin.query_one(reload, &[]).await.expect("reloads");
        // New sessions are told by the postmaster, so ask one.
        patiently("the new settings", async {
            loop {
                let mut config = Config::new();
                config.host_path(&self.cluster_dir).port(self.port);
                config.user("ironflow").dbname("ironflow");
                let (client, connection) = config.connect(NoTls).await.expect("connects");
                tokio::spawn(connection);
                let after = client.query_one(now, &[]).await.expect("a time");
                if after.get::<_, std::time::SystemTime>(0) > before {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

impl Drop for TlsCluster {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        let _ = self.child.wait();
    }
}

/// Has the service make a cluster, and stops it again. Returns the program that ran it.
fn made(folder: &TempDir) -> PathBuf {
    let cluster = Cluster::start(ClusterConfig {
        data_dir: folder.path().to_owned(),
        bin_dir: None,
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        holder: "tests".to_owned(),
        durable: false,
        settings: Vec::new(),
    });
    let cluster = cluster.unwrap_or_else(|error| panic!("no Postgres for the tests: {error}"));
    let pid_file = fs::read_to_string(folder.path().join("pg/postmaster.pid"));
    let pid_file = pid_file.expect("it runs");
    let pid = pid_file.lines().next().expect("a process id");
    let program = fs::read_link(format!("/proc/{pid}/exe")).expect("a process");
    cluster.stop();
    program
}
