//! The demo, run as a newcomer runs it: by itself, beside others, on a terminal, and stopped half-way.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ironflow_sync::grpc::proto::ListVersionsRequest;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Device;
use crate::support::program::program;
use crate::support::serving::{Serving, folder, stderr, wait_until};

/// What `demo --choose merge` prints, with what differs from run to run masked.
const MERGED: &str = include_str!("data/demo-merge.txt");

/// The demo in a place of its own for its folder.
fn demo(place: &Path, arguments: &[&str]) -> Command {
    let mut command = program(&[&["demo"], arguments].concat());
    command
        .env("TMPDIR", place)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// What it printed, if it went well.
fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    assert_eq!(stderr(output), "");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Without what differs from run to run.
fn masked(text: &str, place: &Path) -> String {
    let folder = format!("{}/ironflow-demo-", place.display());
    let text = replaced(text, &folder, 6, "FOLDER");
    let text = digits_masked(&text, "127.0.0.1:", "127.0.0.1:PORT");
    let text = digits_masked(
        &text,
        "private Postgres\n   ",
        "private Postgres\n   VERSION",
    );
    let text = digits_masked(&text, "Done in ", "Done in SECONDS");
    text.replace(env!("CARGO_BIN_EXE_ironflow-sync"), "ironflow-sync")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

/// With `mask` for every `start` and what follows it, `length` bytes.
fn replaced(text: &str, start: &str, length: usize, mask: &str) -> String {
    let mut parts = text.split(start);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(mask);
        masked.push_str(&part[length..]);
    }
    masked
}

/// With `mask` for every `start` and the digits and dots that follow it.
fn digits_masked(text: &str, start: &str, mask: &str) -> String {
    let mut parts = text.split(start);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(mask);
        masked.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    }
    masked
}

/// Nothing of a demo in `place` is left: no folder, no process that names it.
fn check_nothing_is_left(place: &Path) {
    let left: Vec<_> = fs::read_dir(place).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
    let running: Vec<String> = command_lines()
        .into_iter()
        .filter(|line| line.contains(&place.display().to_string()))
        .collect();
    assert!(running.is_empty(), "{running:?}");
}

/// The command lines of all processes.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("processes");
    let lines = processes.flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines.collect()
}

#[test]
fn the_merge_is_told_word_for_word_also_twice_and_by_two_at_once() {
    let place = folder();
    let begin = || {
        let mut command = demo(place.path(), &["--choose", "merge"]);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it runs")
    };
    for _ in 0..2 {
        let both: [Child; 2] = [begin(), begin()];
        for child in both {
            let output = child.wait_with_output().expect("it ends");
            let text = told(&output);
            let text = masked(&text, place.path());
            assert_eq!(text, MERGED);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|width| width <= 100), "{text}");
        }
        check_nothing_is_left(place.path());
    }
}

#[test]
fn the_side_that_was_chosen_is_what_both_devices_hold() {
    let bench = "Bench Press (Barbell) 3 × 225 lb";
    let squat = "Squat (Barbell) 3 × 315 lb";
    for (side, version, stays) in [("phone", 2, bench), ("tablet", 3, squat)] {
        let place = folder();
        let output = demo(place.path(), &["--choose", side]).output();
        let text = told(&output.expect("it runs"));
        for line in [
            format!("   keep phone / keep tablet / merge both? keep {side} (--choose)"),
            format!("     phone    130        version {version}   {stays}"),
            format!("     tablet   130        version {version}   {stays}"),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        check_nothing_is_left(place.path());
    }
}

#[test]
fn without_anybody_to_ask_it_merges_and_says_so_whatever_else_is_set() {
    let place = folder();
    let mut command = demo(place.path(), &[]);
    for (name, value) in [
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("IRONFLOW_DATA_DIR", "/nowhere"),
        ("IRONFLOW_LISTEN", "127.0.0.1:1"),
        ("IRONFLOW_JWT_KEYS", "/nowhere"),
        ("IRONFLOW_CATALOG", "/nowhere"),
        ("IRONFLOW_TLS_CERT", "/nowhere"),
        ("IRONFLOW_SUBSCRIPTION", "accounts"),
        ("IRONFLOW_BATCH_ITEMS_MAX", "1"),
    ] {
        command.env(name, value);
    }
    let text = told(&command.output().expect("it runs"));
    let expected = "keep phone / keep tablet / merge both? merge both\n   \
                    (nobody to ask here; --choose phone, tablet or merge decides)\n";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    check_nothing_is_left(place.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_can_be_served_again_and_looked_at_as_printed() {
    let place = folder();
    let output = demo(place.path(), &["--choose", "merge", "--keep"]).output();
    let text = told(&output.expect("it runs"));
    let (_, end) = text.split_once("7. Where the data lies\n").expect("an end");
    let commands: Vec<&str> = end.split("\n\n").map(str::trim).collect();
    let [_, serve, _, psql, grpcurl, rest, _] = commands[..] else {
        panic!("{commands:?}")
    };

    let mut service = Command::new("sh");
    service.args(["-c", &format!("exec {serve}")]);
    let service = Serving::start(service);
    let versions = sh(psql);
    for (version, by) in [(1, "phone"), (2, "phone"), (3, "tablet")] {
        let row = format!("{version} | {by}");
        assert!(versions.contains(&row), "{psql}\n{versions}");
    }

    let (token, call) = grpcurl.split_once('\n').expect("two commands");
    let token = sh(&format!("{token}; echo $TOKEN"));
    let (_, body) = call.split_once("-d '").expect("a message");
    let body: serde_json::Value =
        serde_json::from_str(body.split('\'').next().expect("JSON")).expect("JSON");
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    let request = ListVersionsRequest {
        entity_type: text("entity_type"),
        entity_id: text("entity_id"),
        ..ListVersionsRequest::default()
    };
    let (_, address) = call.rsplit_once("\\\n").expect("an address");
    let (address, method) = address.trim().split_once(' ').expect("and a method");
    assert_eq!(method, "ironflow.sync.v1.SyncService/ListVersions");
    let client = SyncServiceClient::connect(format!("http://{address}")).await;
    let client = client.expect("it listens");
    let mut looking = Device::new(client, token.trim().to_owned(), "looking");
    let history = looking
        .list_versions(request)
        .await
        .expect("an answer")
        .entries;
    let versions: Vec<i32> = history.iter().map(|entry| entry.version).collect();
    assert!(
        history.len() > 3,
        "three versions and a losing side: {versions:?}"
    );

    assert!(service.end().success());
    let remove = rest
        .strip_prefix("And be rid of it: ")
        .expect("how to be rid of it");
    assert_eq!(sh(remove), "");
    check_nothing_is_left(place.path());
}

/// What a line of a shell prints.
fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// How long the demo may take to show what it is about to show.
const PATIENCE: Duration = Duration::from_secs(60);

/// The demo on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: fs::File,
    /// What is shown, piece by piece; closed when nobody holds the terminal any more.
    pieces: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn start(place: &Path, settings: &[(&str, &str)]) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let demo = demo(place, &[]);
        // With a session of its own, so that Ctrl-C goes to the demo and to nobody else.
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(demo.get_program())
            .args(demo.get_args());
        for (name, value) in demo.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let end = || pty.slave.try_clone().expect("a terminal");
        let child = command
            .envs(settings.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn();
        let keyboard = fs::File::from(pty.master);
        let mut screen = keyboard.try_clone().expect("a terminal");
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal nobody holds any more is an error, not an end.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child: child.expect("it runs"),
            keyboard,
            pieces,
            shown: String::new(),
        }
    }

    /// Reads on; false at the end.
    fn read(&mut self) -> bool {
        match self.pieces.recv_timeout(PATIENCE) {
            Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing more: {}", self.shown),
        }
        true
    }

    /// Reads until this is shown, and returns everything shown.
    fn wait_for(&mut self, text: &str) -> &str {
        while !self.shown.contains(text) {
            assert!(self.read(), "no {text:?}: {}", self.shown);
        }
        &self.shown
    }

    fn press(&mut self, keys: &str) {
        let pressed = self.keyboard.write_all(keys.as_bytes());
        pressed.expect("a terminal");
    }

    /// Reads to the end; how it ended and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        while self.read() {}
        let status = self.child.wait().expect("it ends");
        (status.code(), std::mem::take(&mut self.shown))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_at_a_terminal_is_asked_and_can_look_until_they_press_enter() {
    let place = folder();
    let mut terminal = Terminal::start(place.path(), &[]);
    let question = "merge both? [p, t or m; Enter merges]";
    let shown = terminal.wait_for(question);
    assert!(
        shown.contains("░") && shown.contains('\r'),
        "a bar: {shown}"
    );
    assert!(shown.contains("\u{1b}[33mCONFLICT\u{1b}[0m"), "{shown:?}");
    terminal.press("both\n");
    terminal.wait_for("Expected one of: phone, tablet, merge.");
    terminal.press("keep tablet\n");
    terminal.wait_for("Enter ends the demo and deletes the folder.");
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 1);
    terminal.press("\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("version 3   Squat (Barbell) 3 × 315 lb\r\n"),
        "{shown}"
    );
    check_nothing_is_left(place.path());
}

#[test]
fn no_color_means_no_colours_and_enter_means_merge() {
    let place = folder();
    let mut terminal = Terminal::start(place.path(), &[("NO_COLOR", "1")]);
    terminal.wait_for("Enter merges]");
    terminal.press("\n");
    terminal.wait_for("Enter ends the demo");
    terminal.press("\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("3 × 225 lb, Squat (Barbell) 3 × 315 lb"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn ctrl_c_at_the_question_leaves_nothing_behind() {
    let place = folder();
    let mut terminal = Terminal::start(place.path(), &[]);
    terminal.wait_for("Enter merges]");
    terminal.press("\u{3}");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1), "{shown}");
    let last = "ironflow-sync: the demo was stopped; nothing of it is left behind\r\n";
    assert!(shown.ends_with(last), "{shown:?}");
    check_nothing_is_left(place.path());
}

#[test]
fn stopped_while_it_starts_it_leaves_nothing_behind() {
    let place = folder();
    let mut command = demo(place.path(), &["--choose", "merge"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it runs");
    let folders = || fs::read_dir(place.path()).expect("a folder").count();
    wait_until("it has begun", || folders() == 1);
    let pid = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let expected = "ironflow-sync: the demo was stopped; nothing of it is left behind\n";
    assert_eq!(stderr(&output), expected);
    check_nothing_is_left(place.path());
}

#[test]
fn a_place_that_can_not_be_written_is_named_with_the_cure() {
    let place = folder();
    let missing = place.path().join("missing");
    let output = demo(&missing, &[]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "ironflow-sync: the demo cannot make a folder in {}; name one that can be written: \
         TMPDIR=/var/tmp: No such file or directory (os error 2)\n",
        missing.display()
    );
    assert_eq!(stderr(&output), expected);
}
