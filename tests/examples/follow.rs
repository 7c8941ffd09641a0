//! A second device that pulls the training log, and then sees what happens.

use std::process::Stdio;
use std::time::Duration;

use ironflow_sync::grpc::proto::SyncItem;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;
use uuid::Uuid;

use super::{example, run};
use crate::support::{TestService, delete, put};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The example, running.
struct Follower {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    async fn start(service: &TestService) -> Self {
        let mut command = example("follow", service).await;
        let command = command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the example runs");
        let out = child.stdout.take().expect("piped");
        Self {
            child,
            lines: BufReader::new(out).lines(),
        }
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("text");
        line.expect("no end")
    }

    /// Reads until the start of a line, and returns the lines before.
    async fn until(&mut self, start: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.line().await;
            if line.starts_with(start) {
                return before;
            }
            before.push(line);
        }
    }
}

#[tokio::test]
async fn a_second_device_pulls_what_was_imported() {
    let service = TestService::start().await;
    run("import_strong", &service, &[]).await;
    let printed = run("follow", &service, &["--once"]).await;
    assert_eq!(printed, "129 entities on the server\n129 workout_session\n");
}

#[tokio::test]
async fn changes_are_printed_as_they_happen_until_ctrl_c() {
    let service = TestService::start().await;
    let mut phone = service.device("lifter", "phone").await;
    let id = Uuid::new_v4();
    let session = |item: SyncItem| SyncItem {
        entity_type: "workout_session".to_owned(),
        ..item
    };
    let push_day = json!({"title": "Push \u{1b}[2J day", "date": "2026-11-21T07:00:00"});
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;

    let mut follower = Follower::start(&service).await;
    let summary = follower.until("Following").await;
    assert_eq!(summary, ["1 entities on the server", "1 workout"]);
    for (item, expected) in [
        (
            session(put(id, 0, &push_day)),
            r#"workout_session "Push \u{1b}[2J day" of "2026-11-21T07:00:00", version 1, by "phone""#.to_owned(),
        ),
        (
            session(put(id, 1, &json!({"sets": []}))),
            format!(r#"workout_session {id}, version 2, by "phone""#),
        ),
        (
            session(delete(id, 2)),
            format!(r#"workout_session {id}, version 3, by "phone", deleted"#),
        ),
    ] {
        phone.sync_one(item).await;
        assert_eq!(follower.line().await, expected);
    }

    let pid = i32::try_from(follower.child.id().expect("it runs")).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
    let ended = timeout(PATIENCE, follower.child.wait()).await;
    assert!(ended.expect("in time").expect("an end").success());
}

#[tokio::test]
async fn after_a_restore_it_starts_again_from_the_beginning() {
    let service = TestService::start().await;
    let mut phone = service.device("lifter", "phone").await;
    let mut push_one = async || phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let mut follower = Follower::start(&service).await;
    follower.until("Following").await;
    push_one().await;
    follower.until("workout ").await; // now it listens

    let store = service.database.store();
    store.new_epoch().await.expect("a new epoch");
    push_one().await;
    follower.until("The server was restored").await;
    let summary = follower.until("Following").await;
    assert_eq!(summary, ["2 entities on the server", "2 workout"]);
}
