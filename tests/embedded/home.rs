//! A data folder of its own for each test, what its Postgres is asked, and what the system says of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ironflow_sync::postgres::{Cluster, ClusterConfig};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// More than the slowest thing that is waited for: an orphan's whole way down.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A folder for one test, removed when dropped.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        home.let_pass(home.path());
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.data_dir().join("pg/postmaster.pid")
    }

    /// What the account of Postgres needs when root runs the tests.
    pub fn let_pass(&self, folder: &Path) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("opened");
    }

    pub fn config(&self) -> ClusterConfig {
        config(&self.data_dir())
    }

    pub fn start(&self) -> Cluster {
        Cluster::start(self.config()).expect("started")
    }

    pub fn postmaster(&self) -> Pid {
        let text = fs::read_to_string(self.pid_file()).expect("a pid file");
        let pid = text.lines().next().expect("a line");
        Pid::from_raw(pid.parse().expect("a pid"))
    }

    /// The program the server runs.
    pub fn program(&self) -> PathBuf {
        let exe = format!("/proc/{}/exe", self.postmaster());
        let mut readlink = self.as_owner_of_cluster("readlink");
        PathBuf::from(printed(readlink.arg("-n").arg(exe)))
    }

    /// The inodes of the sockets the server has open.
    pub fn sockets(&self) -> Vec<String> {
        let files = format!("/proc/{}/fd", self.postmaster());
        let mut find = self.as_owner_of_cluster("find");
        let links = printed(
            find.arg(files)
                .args(["-lname", "socket:*", "-printf", "%l\n"]),
        );
        let inode = |link: &str| link.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
        links.lines().map(inode).collect()
    }

    /// A command as the user the cluster belongs to. Some things about a process
    /// nobody else may see, not even root in a container.
    pub fn as_owner_of_cluster(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let owner = fs::metadata(self.data_dir().join("pg")).expect("a cluster");
        let mut command = Command::new("setpriv");
        if geteuid().is_root() {
            command
                .arg(format!("--reuid={}", owner.uid()))
                .arg(format!("--regid={}", owner.gid()))
                .arg("--clear-groups");
        }
        // Should the test fail, nothing is left.
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.current_dir("/");
        command
    }

    /// Starts a server on the cluster as a service would that is gone since.
    pub fn start_by_hand(&self, program: &Path) -> Child {
        let server = self
            .as_owner_of_cluster(program)
            .arg("-D")
            .arg(self.data_dir().join("pg"))
            .arg("-k")
            .arg(self.data_dir().join("pg"))
            .args(["-c", "listen_addresses="])
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        eventually("the server started by hand is ready", || {
            fs::read_to_string(self.pid_file()).is_ok_and(|text| text.contains("ready"))
        });
        server
    }

    /// Writes what a crash leaves, with a pid that someone else has by now.
    pub fn write_pid_file(&self, pid: u32) {
        let data_dir = self.data_dir();
        let data_dir = data_dir.display();
        let text =
            format!("{pid}\n{data_dir}/pg\n1700000000\n5432\n{data_dir}/run\n\n\nready   \n");
        let mut tee = self
            .as_owner_of_cluster("tee")
            .arg(self.pid_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tee");
        let mut stdin = tee.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("written");
        drop(stdin);
        assert!(tee.wait().expect("waited").success());
    }
}

pub fn config(data_dir: &Path) -> ClusterConfig {
    ClusterConfig {
        data_dir: data_dir.to_owned(),
        bin_dir: None,
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        holder: "the test".to_owned(),
        durable: false,
        settings: Vec::new(),
    }
}

pub fn setting(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub fn printed(command: &mut Command) -> String {
    let output = command.output().expect("run");
    String::from_utf8(output.stdout).expect("text")
}

/// Watches a condition until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn make_rows(cluster: &Cluster) {
    let sql = "create table sets (weight int); \
               insert into sets select generate_series(1, 1000)";
    query(cluster, sql).expect("rows");
}

pub fn count_rows(cluster: &Cluster) -> String {
    ask(cluster, "select count(*) from sets")
}

pub fn ask(cluster: &Cluster, sql: &str) -> String {
    query(cluster, sql).expect("an answer")
}

pub fn query(cluster: &Cluster, sql: &str) -> Result<String, tokio_postgres::Error> {
    query_at(&cluster.connection(), sql)
}

/// The first column of the first row; empty if there is none.
pub fn query_at(
    connection: &tokio_postgres::Config,
    sql: &str,
) -> Result<String, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = connection.connect(NoTls).await?;
        tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        let first = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(first.unwrap_or_default().to_owned())
    })
}

/// Whether a process runs; one that ended and waits to be reaped does not.
pub fn lives(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.starts_with('Z'))
    })
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("looked at").mode() & 0o7777
}

/// The inodes of all listening TCP sockets of this machine.
pub fn tcp_listeners() -> Vec<String> {
    const LISTENING: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            (columns.get(3) == Some(&LISTENING)).then(|| columns.get(9).map(ToString::to_string))?
        })
        .collect()
}
