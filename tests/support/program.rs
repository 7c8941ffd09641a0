//! The built program in a process of its own, so that its memory is its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::TestDatabase;
use super::service::SECRET;

/// The running program. Ends with the value.
pub struct Program {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What else it says may stay in the pipe; closed, it would end the program.
    _out: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it on a database, with more arguments.
    pub fn start(database: &TestDatabase, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
            .args(["--listen", "127.0.0.1:0", "--log", "error"])
            .args(["--jwt-secret", SECRET])
            .args(["--database-url", &database.url()])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("its first line");
        let (_, address) = line.trim().split_once("is ready on ").expect("an address");
        Self {
            child,
            address: address.parse().expect("an address"),
            _out: out,
        }
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
