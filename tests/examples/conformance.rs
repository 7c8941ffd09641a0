//! The contract as a program: it passes a server that keeps it, and fails one that does not.

mod liar;
mod lies;

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use ironflow_sync::grpc::proto::{PullRequest, SyncItem};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tonic::Code;
use uuid::Uuid;

use super::built;
use crate::support::program::program;
use crate::support::service::token;
use crate::support::{Device, TestService, put};
use liar::Liar;
use lies::{Lie, lies};

/// How long the user's other device rests between two of its batches.
const REST: Duration = Duration::from_millis(20);

/// How many programs run at once.
const AT_ONCE: usize = 3;

/// What a run came to.
struct Run {
    code: Option<i32>,
    printed: String,
    problems: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            printed: String::from_utf8(output.stdout).expect("UTF-8"),
            problems: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The lines that begin so.
    fn lines(&self, start: &str) -> Vec<&str> {
        let lines = self.printed.lines();
        lines.filter(|line| line.starts_with(start)).collect()
    }
}

async fn conformance(arguments: &[&str]) -> Run {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let built = BUILT.get_or_init(|| built("conformance")).await;
    let mut command = Command::new(built);
    command
        .args(arguments)
        .env_remove("IRONFLOW_TOKEN")
        .env_remove("IRONFLOW_OTHER_TOKEN")
        .stdin(Stdio::null());
    Run::of(command.output().await.expect("the example runs"))
}

/// Runs it for a user of a server, with a stranger's token too.
async fn against(endpoint: &str, user: &str, more: &[&str]) -> Run {
    let (token, stranger) = (token(user), token(&format!("stranger to {user}")));
    let account = ["--endpoint", endpoint, "--token", &token];
    let arguments = [&account[..], &["--other-token", &stranger], more].concat();
    conformance(&arguments).await
}

/// A service with an exercise in its library, so that there is nothing it cannot be asked.
async fn with_a_library() -> TestService {
    let service = TestService::start().await;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("library.json");
    std::fs::write(&file, json!([{"id": "squat", "name": "Squat"}]).to_string()).expect("written");
    let mut load = program(&["library", "load", "--type", "exercise_definition"]);
    load.arg(&file)
        .args(["--database-url", &service.database.url()])
        .args(["--jwt-secret", "not needed, but of enough bytes to be one"]);
    let loaded = tokio::task::spawn_blocking(move || load.output()).await;
    let loaded = loaded.expect("no panic").expect("the program runs");
    assert!(loaded.status.success(), "{loaded:?}");
    service
}

/// Another device of the user, at work for as long as the checks take.
async fn be_busy(mut device: Device) {
    let mut request = PullRequest {
        page_size: 7,
        ..device.page_after("")
    };
    loop {
        sleep(REST).await;
        let id = Uuid::new_v4();
        for entity_type in ["workout", "superset", "user_settings"] {
            let item = SyncItem {
                entity_type: entity_type.to_owned(),
                ..put(id, 0, &json!({"title": "at work"}))
            };
            device.sync_one(item).await;
        }
        match device.pull(request.clone()).await {
            Ok(page) => request.cursor = page.cursor,
            // The checks' pages are read for the same user, one by one. It comes back.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_keeps_the_contract_again_and_again_while_the_user_is_at_work() {
    let service = with_a_library().await;
    let endpoint = format!("http://{}", service.address);
    let busy = tokio::spawn(be_busy(service.device("lifter", "busy").await));
    let mut counts = Vec::new();
    for _ in 0..2 {
        let run = against(&endpoint, "lifter", &[]).await;
        assert_eq!(run.lines("FAIL"), [""; 0]);
        assert_eq!(run.lines("skip"), [""; 0]);
        assert_eq!(run.code, Some(0), "{}", run.problems);
        let passed = run.lines("pass").len();
        let summary = format!("{passed} passed, 0 failed, 0 skipped");
        assert_eq!(run.printed.lines().last(), Some(summary.as_str()));
        counts.push(passed);
    }
    assert!(!busy.is_finished(), "the user was at work all the time");
    busy.abort();
    assert_eq!(counts[0], counts[1]);

    // Nothing of it is left but tombstones.
    let sql = service.database.client().await;
    let left = "select count(*) from entities where not deleted
        and scope in ('user/lifter', 'user/stranger to lifter') and device_id <> 'busy'";
    let left: i64 = sql.query_one(left, &[]).await.expect("a count").get(0);
    assert_eq!(left, 0);
    let open = "select count(*) from conflicts where settlement is null";
    let open: i64 = sql.query_one(open, &[]).await.expect("a count").get(0);
    assert_eq!(open, 0);
}

#[tokio::test]
async fn without_a_strangers_token_it_skips_what_needs_one_and_says_so() {
    let service = TestService::start().await;
    let endpoint = format!("http://{}", service.address);
    let token = token("lifter");
    let only = ["--only", "promise 10"];
    let account = ["--endpoint", &endpoint, "--token", &token];
    let run = conformance(&[&account[..], &only].concat()).await;
    assert_eq!(run.code, Some(0), "{}", run.problems);
    assert_eq!(run.lines("FAIL"), [""; 0]);
    let skipped = run.lines("skip");
    assert!(!skipped.is_empty(), "{}", run.printed);
    for line in skipped {
        assert!(line.contains("--other-token"), "{line}");
    }
}

#[tokio::test]
async fn who_can_not_be_asked_is_told_so_kindly() {
    let service = TestService::start().await;
    let endpoint = format!("http://{}", service.address);
    let token = token("lifter");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = format!("http://{}", nobody.local_addr().expect("an address"));
    drop(nobody);
    for (name, arguments, problem) in [
        ("no token", vec!["--endpoint", &endpoint], "--token"),
        (
            "nobody listens",
            vec!["--endpoint", &nowhere, "--token", &token],
            "nothing answers",
        ),
        (
            "a bad token",
            vec!["--endpoint", &endpoint, "--token", "x.y.z"],
            "Unauthenticated",
        ),
        (
            "twice the same user",
            vec![
                "--endpoint",
                &endpoint,
                "--token",
                &token,
                "--other-token",
                &token,
            ],
            "the same user",
        ),
        (
            "no such line",
            vec![
                "--endpoint",
                &endpoint,
                "--token",
                &token,
                "--only",
                "rule 12",
            ],
            "no line",
        ),
    ] {
        let run = conformance(&arguments).await;
        assert_eq!(run.code, Some(2), "{name}: {}", run.problems);
        assert!(run.problems.contains(problem), "{name}: {}", run.problems);
        assert!(!run.problems.contains("panicked"), "{name}");
    }
    let help = conformance(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    assert!(
        help.printed.contains("Usage: conformance"),
        "{}",
        help.printed
    );
}

/// A proxy that tells the truth breaks nothing, so what fails behind one that lies fails because of the lie.
#[tokio::test(flavor = "multi_thread")]
async fn an_honest_proxy_passes() {
    let service = with_a_library().await;
    let liar = Liar::start(&service, lies::HONEST, "lifter").await;
    let run = against(&liar.endpoint, "lifter", &[]).await;
    assert_eq!(run.lines("FAIL"), [""; 0]);
    assert_eq!(run.code, Some(0), "{}{}", run.printed, run.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lie_is_found_on_its_line() {
    let service = with_a_library().await;
    let found = stream::iter(lies().enumerate().map(|(number, lie)| {
        let service = &service;
        async move {
            let user = format!("lifter {number}");
            let liar = Liar::start(service, lie.ways, &user).await;
            let mut missed = Vec::new();
            for line in lie.breaks {
                let run = against(&liar.endpoint, &user, &["--only", line]).await;
                let failed = run.lines("FAIL");
                if run.code != Some(1) || !failed.iter().any(|failed| failed.contains(line)) {
                    missed.push(format!(
                        "{}: {line}\n{}{}",
                        lie.name, run.printed, run.problems
                    ));
                }
            }
            missed
        }
    }));
    let missed: Vec<Vec<String>> = found.buffer_unordered(AT_ONCE).collect().await;
    let missed = missed.concat();
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

#[test]
fn the_docs_tell_every_lie_and_its_lines() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing.md");
    let docs = std::fs::read_to_string(docs).expect("docs/testing.md");
    let row = |lie: &Lie| format!("| {} | {} |\n", lie.name, lie.breaks.join("; "));
    let table: String = lies().map(row).collect();
    assert!(
        docs.contains(&table),
        "docs/testing.md: expected the table\n{table}"
    );
}
