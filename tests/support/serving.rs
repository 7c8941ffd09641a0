//! The program on a private Postgres, as a newcomer starts it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{Resolution, SyncItem};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::Device;
use super::program::program;

/// How long the program may take to do what it is about to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder the account Postgres runs as can reach.
pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("ironflow-commands-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .tempdir()
        .expect("a folder")
}

/// A service in a process of its own.
pub struct Serving {
    pub child: Child,
    /// What it prints behind its start-up message.
    pub out: BufReader<ChildStdout>,
    /// The lines of the start-up message.
    pub message: Vec<String>,
}

impl Serving {
    /// Starts it and reads its start-up message, up to the call to paste.
    pub fn start(mut command: Command) -> Self {
        Self::start_until(&mut command, |line| line.starts_with("grpcurl"))
    }

    /// Starts it and reads its start-up message, up to a line.
    pub fn start_until(command: &mut Command, is_last: impl Fn(&str) -> bool) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut message: Vec<String> = Vec::new();
        while !message.last().is_some_and(|line| is_last(line)) {
            let mut line = String::new();
            if out.read_line(&mut line).expect("text") == 0 {
                let mut log = String::new();
                let stderr = child.stderr.take().expect("piped");
                BufReader::new(stderr)
                    .read_to_string(&mut log)
                    .expect("text");
                panic!("the service ended: {message:?} {log}");
            }
            message.push(line.trim_end().to_owned());
        }
        Self {
            child,
            out,
            message,
        }
    }

    /// One on the private Postgres of a folder.
    pub fn on(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_str().expect("UTF-8");
        Self::start(program(&[
            "--data-dir",
            data_dir,
            "--listen",
            "127.0.0.1:0",
        ]))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        Call::parse(self.message.last().expect("a message")).address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and says how it did.
    pub fn end(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("it ends")
    }

    /// A device of the user of the start-up message.
    pub async fn device(&self, name: &str) -> Device {
        let call = Call::parse(self.message.last().expect("a message"));
        let client = SyncServiceClient::connect(format!("http://{}", call.address)).await;
        Device::new(client.expect("it listens"), call.token, name)
    }

    /// The call of the start-up message, made as printed.
    pub async fn call(&self) -> Resolution {
        let call = Call::parse(self.message.last().expect("a message"));
        let client = SyncServiceClient::connect(format!("http://{}", call.address)).await;
        let mut device = Device::new(client.expect("it listens"), call.token, &call.device);
        device.sync_one(call.item).await.resolution()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a pasted grpcurl line would do.
struct Call {
    address: String,
    token: String,
    device: String,
    item: SyncItem,
}

impl Call {
    fn parse(line: &str) -> Self {
        let quoted: Vec<&str> = line.split('\'').collect();
        let [start, header, data_flag, body, rest] = quoted.as_slice() else {
            panic!("two quoted arguments: {line}")
        };
        assert_eq!((*start, *data_flag), ("grpcurl -plaintext -H ", " -d "));
        let (address, method) = rest.trim().split_once(' ').expect("address and method");
        assert_eq!(method, "ironflow.sync.v1.SyncService/Sync");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let item = &body["items"][0];
        let text = |name: &str| item[name].as_str().expect(name).to_owned();
        Self {
            address: address.to_owned(),
            token: header
                .strip_prefix("authorization: Bearer ")
                .expect("a token")
                .to_owned(),
            device: body["device_id"].as_str().expect("a device").to_owned(),
            item: SyncItem {
                entity_type: text("entity_type"),
                entity_id: text("entity_id"),
                operation: text("operation"),
                data: STANDARD.decode(text("data")).expect("base64"),
                ..SyncItem::default()
            },
        }
    }
}

/// What it said to people.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a condition another process brings about.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
