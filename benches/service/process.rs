//! Servers in processes of their own, so that their memory is their own: the built service, and the plainest
//! server tonic makes ([`plain`]), which is this program started once more.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::plain::PLAIN;
use crate::support::service::{SECRET, UNHURRIED, token};
use crate::support::{Device, TestDatabase};

/// What the kernel counts time on the cores in, on every machine there is.
pub const TICK_US: f64 = 10_000.0;

/// A server that runs. Ends with the value, and with this process however that ends.
pub struct Process {
    child: Child,
    /// Where it listens: address and port.
    pub address: String,
}

impl Process {
    /// The service on a database, as it runs unless somebody changes settings; only that a few users may call as
    /// often as many would.
    pub fn service(database: &TestDatabase, arguments: &[&str]) -> Self {
        let url = database.url();
        let own = [
            "--database-url",
            &url,
            "--jwt-secret",
            SECRET,
            "--listen",
            "127.0.0.1:0",
        ];
        let program = env!("CARGO_BIN_EXE_ironflow-sync");
        Self::start(
            program.as_ref(),
            &[&own, &UNHURRIED[..], arguments].concat(),
        )
    }

    /// The plain server, with so many connections to a database.
    pub fn plain(database: &TestDatabase, connections: usize) -> Self {
        let myself = env::current_exe().expect("a path");
        let arguments = [PLAIN, &database.url(), &connections.to_string()];
        Self::start(myself.as_ref(), &arguments)
    }

    /// Starts a program whose first line ends in the address it listens on.
    fn start(program: &OsStr, arguments: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdout(Stdio::piped())
            // What it logs is written, as anywhere, and read by nobody.
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        let mut out = BufReader::new(out);
        out.read_line(&mut line).expect("text");
        let address = line.split_whitespace().last().expect("an address");
        let address = address.to_owned();
        // What else it says may stay in the pipe; closed, it would end the program.
        child.stdout = Some(out.into_inner());
        Self { child, address }
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let channel = endpoint.expect("an address").connect().await;
        channel.expect("it listens")
    }

    /// A device of a user on a connection.
    pub fn device_on(&self, channel: &Channel, user: &str, device: &str) -> Device {
        let client = SyncServiceClient::new(channel.clone());
        let client = client.max_decoding_message_size(usize::MAX);
        Device::new(client, token(user), device)
    }

    /// A device of a user.
    pub async fn device(&self, user: &str, device: &str) -> Device {
        self.device_on(&self.channel().await, user, device)
    }

    /// Its resident memory now.
    pub fn memory_kib(&self) -> f64 {
        self.status_kib("VmRSS:")
    }

    /// The most its resident memory has been since [`Self::forget_peak`].
    pub fn peak_kib(&self) -> f64 {
        self.status_kib("VmHWM:")
    }

    /// From now on the peak is a new one.
    pub fn forget_peak(&self) {
        let reset = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
        reset.expect("our own child");
    }

    /// The time it has had on the cores so far.
    pub fn cpu_us(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("behind its name");
        // Fields 14 and 15 of all, in user and system mode; two stand before these.
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks = ticks.map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() * TICK_US
    }

    fn status_kib(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.expect("a size").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
