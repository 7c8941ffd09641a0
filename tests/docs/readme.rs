//! The README, word for word: a shell runs its commands as they stand there.
//!
//! `cargo test` does so with what it has built: a stand-in for `cargo` starts that, on a free port, and one
//! for `grpcurl` notes the call for the test to make. What needs packages of others is asked for with
//! `cargo test --test main -- --ignored`: then `cargo` and `grpcurl` are real, on the port of the README.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironflow_sync::grpc::proto::SyncItem;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::{path, read};
use crate::examples::built;
use crate::support::program::program;
use crate::support::service::token;
use crate::support::serving::folder;
use crate::support::{Device, TestService};

/// Stands in for cargo: everything is built already, and the service listens where it can.
const CARGO: &str = r#"#!/bin/sh
set -eu
[ "$1 $2" = 'run --release' ]
shift 2
if [ "${1-}" = --quiet ]; then shift; fi
example=
if [ "${1-}" = --example ]; then
    example=$2
    shift 2
fi
if [ "${1-}" = -- ]; then shift; fi
if [ -n "$example" ]; then exec "$EXAMPLES/$example" "$@" --endpoint "http://$ADDRESS"; fi
exec "$PROGRAM" "$@"
"#;

/// Stands in for grpcurl: the test makes the call.
const GRPCURL: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$CALL\"\n";

/// A fenced block.
struct Block {
    /// What stands behind the fence.
    info: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let readme = read("README.md");
    let fenced = readme.split("```").skip(1).step_by(2);
    let blocks = fenced.map(|block| {
        let (info, text) = block.split_once('\n').expect("a fence is a line");
        Block {
            info: info.to_owned(),
            text: text.trim_end().to_owned(),
        }
    });
    blocks.collect()
}

/// The one block of a language.
fn block(info: &str) -> String {
    let found: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.info == info)
        .collect();
    let [block] = found.as_slice() else {
        panic!("{} blocks of {info}", found.len())
    };
    block.text.clone()
}

/// What a person types while the service runs, and what the page says is answered.
fn session() -> Vec<(String, Option<Shown>)> {
    let blocks = blocks();
    let mut session = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        if block.info != "sh" || [SERVE, TEST].contains(&&*block.text) {
            continue;
        }
        let shown = blocks.get(at + 1).and_then(|next| match &*next.info {
            "json" => Some(Shown::Answer(
                serde_json::from_str(&next.text).expect("JSON"),
            )),
            "text demo" => Some(Shown::Printed(next.text.clone())),
            _ => None,
        });
        session.push((block.text.clone(), shown));
    }
    assert!(session.len() > 1, "commands are written in another way");
    session
}

/// What the page shows behind commands.
enum Shown {
    /// A part of the answer to a call.
    Answer(Value),
    /// Of what is printed these lines, with an ellipsis for those between.
    Printed(String),
}

/// These lines were printed, in this order, next to each other where there is no ellipsis.
fn check_printed(printed: &str, shown: &str) {
    let mut rest = format!("\n{printed}");
    for lines in shown.split("…\n") {
        let found = rest.split_once(&format!("\n{}\n", lines.trim_end()));
        let (_, behind) = found.unwrap_or_else(|| panic!("not printed:\n{lines}\nin{printed}"));
        rest = format!("\n{behind}");
    }
}

/// The answer has everything that the page shows of it.
fn check_answer(answer: &Value, shown: &Value) {
    assert!(has(answer, shown), "{answer} is not what the README shows");
}

/// What a command begins with.
const PROGRAMS: [&str; 6] = ["cargo", "ironflow-sync", "grpcurl", "npm", "npx", "python3"];
/// Starts the service.
const SERVE: &str = "cargo run --release";
/// Runs this.
const TEST: &str = "cargo test";

/// A shell in the repository, with some programs before all others.
struct Terminal {
    programs: String,
    variables: Vec<(&'static str, String)>,
}

impl Terminal {
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("IRONFLOW_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        let inherited = env::var("PATH").expect("a path");
        command.env("PATH", format!("{}:{inherited}", self.programs));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, script: &str) -> String {
        printed(&mut self.command(script))
    }

    fn serve(&self) -> Serving {
        assert!(
            blocks()
                .iter()
                .any(|block| block.info == "sh" && block.text == SERVE)
        );
        let mut command = self.command(SERVE);
        let mut child = command
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash is installed");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("text");
        assert!(
            line.starts_with("Ironflow Sync "),
            "the service ended: {line}"
        );
        let address = line.trim_end().rsplit(' ').next().unwrap_or_default();
        Serving {
            address: address.to_owned(),
            child,
            _out: out,
        }
    }
}

/// Runs a command to its end and returns what it prints.
fn printed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}{problems}");
    printed
}

/// The service, started by a shell.
struct Serving {
    address: String,
    child: Child,
    /// It may go on printing.
    _out: BufReader<ChildStdout>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        let _ = killpg(group, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Whether an answer has everything that the page shows of it.
fn has(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::Object(answer), Value::Object(shown)) => shown
            .iter()
            .all(|(key, shown)| answer.get(key).is_some_and(|answer| has(answer, shown))),
        (Value::Array(answer), Value::Array(shown)) => {
            answer.len() == shown.len() && answer.iter().zip(shown).all(|(a, b)| has(a, b))
        }
        (answer, shown) => answer == shown,
    }
}

/// The programs that stand in for those of others.
fn stand_ins() -> TempDir {
    let folder = tempdir().expect("a folder");
    for (name, text) in [("cargo", CARGO), ("grpcurl", GRPCURL)] {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    folder
}

/// The call that the stand-in for grpcurl noted, made: the answer as grpcurl writes it.
async fn call(noted: &Path, serving: &Serving) -> Value {
    let noted = fs::read_to_string(noted).expect("grpcurl was called");
    let arguments: Vec<&str> = noted.lines().collect();
    let [plain, header_flag, header, data_flag, body, address, method] = arguments.as_slice()
    else {
        panic!("a call with a token and data: {noted}")
    };
    assert_eq!(
        [*plain, *header_flag, *data_flag],
        ["-plaintext", "-H", "-d"]
    );
    assert_eq!(*address, "127.0.0.1:50051", "where the service listens");
    assert_eq!(*method, "ironflow.sync.v1.SyncService/Sync");
    let token = header
        .strip_prefix("authorization: Bearer ")
        .expect("a token");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let item = &body["items"][0];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let item = SyncItem {
        entity_type: text(&item["entity_type"]),
        entity_id: text(&item["entity_id"]),
        operation: text(&item["operation"]),
        data: STANDARD.decode(text(&item["data"])).expect("base64"),
        ..SyncItem::default()
    };
    let client = SyncServiceClient::connect(format!("http://{}", serving.address)).await;
    let device = text(&body["device_id"]);
    let mut device = Device::new(client.expect("it listens"), token.to_owned(), &device);
    let result = device.sync_one(item).await;
    json!({"results": [{
        "entityId": result.entity_id,
        "status": result.status().as_str_name(),
        "serverVersion": result.server_version,
        "resolution": result.resolution().as_str_name(),
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn its_commands_do_what_it_says() {
    let (data, programs) = (folder(), stand_ins());
    let noted = programs.path().join("call");
    let examples = built("import_strong").await;
    built("follow").await;
    let mut terminal = Terminal {
        programs: programs.path().display().to_string(),
        variables: vec![
            ("IRONFLOW_DATA_DIR", data.path().display().to_string()),
            ("IRONFLOW_LISTEN", "127.0.0.1:0".to_owned()),
            ("PROGRAM", env!("CARGO_BIN_EXE_ironflow-sync").to_owned()),
            (
                "EXAMPLES",
                examples.parent().expect("a folder").display().to_string(),
            ),
            ("CALL", noted.display().to_string()),
        ],
    };
    let serving = terminal.serve();
    terminal
        .variables
        .push(("ADDRESS", serving.address.clone()));
    for (script, shown) in session() {
        let printed = terminal.run(&script);
        match shown {
            Some(Shown::Answer(shown)) => {
                for _ in ["first", "pasted again"] {
                    check_answer(&call(&noted, &serving).await, &shown);
                }
                fs::remove_file(&noted).expect("it is ours");
            }
            Some(Shown::Printed(shown)) => check_printed(&printed, &shown),
            None => assert!(!noted.exists(), "a call has an answer: {script}"),
        }
    }
}

#[test]
#[ignore = "downloads, builds and takes port 50051: asked for with `cargo test --test main -- --ignored`"]
fn its_commands_do_what_it_says_with_the_real_cargo_and_a_grpcurl() {
    // grpcurl itself is no package of any registry that a build machine has; this one reads the same words.
    let tools = path("target/tools");
    if !tools.join("bin/grpcurl").exists() {
        let mut install = Command::new(env!("CARGO"));
        install.args([
            "install",
            "grpcurl-rs",
            "--version",
            "0.2.1",
            "--locked",
            "--root",
        ]);
        printed(install.arg(&tools));
    }
    let data = folder();
    let terminal = Terminal {
        programs: tools.join("bin").display().to_string(),
        variables: vec![("IRONFLOW_DATA_DIR", data.path().display().to_string())],
    };
    let serving = terminal.serve();
    assert_eq!(serving.address, "127.0.0.1:50051");
    for (script, shown) in session() {
        let printed = terminal.run(&script);
        match shown {
            Some(Shown::Answer(shown)) => {
                check_answer(&serde_json::from_str(&printed).expect("an answer"), &shown);
            }
            Some(Shown::Printed(shown)) => check_printed(&printed, &shown),
            None => (),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "downloads: asked for with `cargo test --test main -- --ignored`"]
async fn its_typescript_compiles_and_pushes() {
    let service = TestService::start().await;
    let folder = tempdir().expect("a folder");
    let app = folder.path().join("app");
    fs::create_dir(&app).expect("a folder");
    let here = folder.path().join("ironflow-sync");
    std::os::unix::fs::symlink(env!("CARGO_MANIFEST_DIR"), here).expect("a link");
    let terminal = Terminal {
        programs: app.join("node_modules/.bin").display().to_string(),
        variables: Vec::new(),
    };
    let run = |script: &str| printed(terminal.command(script).current_dir(&app));

    run(&block("sh app"));
    fs::write(app.join("push.ts"), block("ts")).expect("written");
    fs::write(app.join("main.ts"), include_str!("main.ts")).expect("written");
    run("npm install --no-save typescript@5 @types/node@20");
    run("npx tsc --strict --target es2022 --module node16 --outDir out main.ts");
    let address = service.address;
    let token = token("lifter");
    let said = run(&format!("node out/main.js http://{address} {token}"));
    assert_eq!(said, "APPLIED 1\n");
}

#[test]
fn every_command_of_it_is_run_by_a_test() {
    assert!(
        blocks().iter().any(|block| block.text == TEST),
        "what runs this"
    );
    let kinds = [
        "text",
        "text demo",
        "sh",
        "sh app",
        "json",
        "ts",
        "kotlin",
        "swift",
    ];
    for block in blocks() {
        assert!(kinds.contains(&&*block.info), "what is {}?", block.info);
    }
    // Beside the blocks it names programs and arguments, but tells nobody to type anything.
    let readme = read("README.md");
    let prose: String = readme.split("```").step_by(2).collect();
    for code in prose.split('`').skip(1).step_by(2) {
        let (program, rest) = code.split_once(' ').unwrap_or((code, ""));
        let is_typed = !rest.is_empty() && PROGRAMS.contains(&program);
        assert!(!is_typed, "in no block: {code}");
    }
}

#[test]
fn its_settings_and_commands_are_those_of_the_program() {
    let readme = read("README.md");
    let help = printed(&mut program(&["--help"]));
    let examples = read("examples/client/mod.rs");
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    for word in readme.split(|c: char| !is_name(c)) {
        if word.starts_with("IRONFLOW_") {
            let is_known = [&help, &examples].iter().any(|text| text.contains(word));
            assert!(is_known, "nobody reads {word}");
        }
    }
    let line = readme.lines().find(|line| line.starts_with("Commands: "));
    let named: BTreeSet<&str> = line
        .expect("a list")
        .split('`')
        .skip(1)
        .step_by(2)
        .collect();
    let (_, listed) = help.split_once("Commands:\n").expect("commands");
    let listed = listed.lines().take_while(|line| line.starts_with("  "));
    let listed: BTreeSet<&str> = listed
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let listed: BTreeSet<&str> = listed.into_iter().filter(|name| *name != "help").collect();
    assert_eq!(named, listed);
}
