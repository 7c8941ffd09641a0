//! The program in a process of its own, on a database of the tests, with its logs kept.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::TestDatabase;
use super::service::SECRET;

/// What the program reads of its environment that the tests must not inherit.
const VARIABLES: [&str; 12] = [
    "DATABASE_URL",
    "IRONFLOW_JWT_SECRET",
    "IRONFLOW_JWT_KEYS",
    "IRONFLOW_JWT_PRESET",
    "IRONFLOW_LISTEN",
    "IRONFLOW_DATA_DIR",
    "IRONFLOW_CATALOG",
    "IRONFLOW_TLS_CERT",
    "IRONFLOW_TLS_KEY",
    "IRONFLOW_TLS_CLIENT_CA",
    "IRONFLOW_LOG",
    "RUST_BACKTRACE",
];

/// The program with these arguments, without what the environment of the tests may say.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"));
    command.args(arguments);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// A service that runs.
pub struct Program {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    out: BufReader<ChildStdout>,
    printed: String,
    folder: TempDir,
}

impl Program {
    /// Starts a service on a database, with more arguments.
    pub fn start(database: &TestDatabase, arguments: &[&str]) -> Self {
        let mut command = program(&["--log", "error", "--jwt-secret", SECRET]);
        command.args(["--database-url", &database.url()]);
        command.args(arguments);
        Self::serve(command)
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Ends it as the kernel does when memory runs out.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Its resident memory.
    pub fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.expect("a size").trim().parse::<usize>();
        1024 * kibibytes.expect("a number")
    }

    /// Starts a service on a free port and waits until it says where.
    pub fn serve(mut command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut printed = String::new();
        out.read_line(&mut printed).expect("text");
        let address = printed.trim_end().rsplit(' ').next();
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| {
            let log = fs::read_to_string(folder.path().join("log"));
            panic!("the service ended: {printed} {log:?}")
        });
        Self {
            address,
            child,
            out,
            printed,
            folder,
        }
    }

    /// The first line it prints with a word in it.
    pub fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("text");
            assert!(
                read > 0,
                "the service ended: {} {}",
                self.printed,
                self.log()
            );
            self.printed.push_str(&line);
            if line.contains(word) {
                return line;
            }
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).expect("the log");
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Asks it to stop, and waits: how it ended, what it had printed and logged by then.
    pub fn stop(mut self) -> (ExitStatus, String, String) {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        self.out.read_to_string(&mut self.printed).expect("text");
        let status = self.child.wait().expect("it ends");
        (status, self.printed.clone(), self.log())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
