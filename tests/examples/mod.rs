//! The programs of `examples/`, run as a newcomer runs them.

mod conformance;
mod follow;
mod import_strong;
mod python;

use std::env;
use std::path::PathBuf;

use tokio::process::Command;

use crate::support::TestService;
use crate::support::service::token;

/// An example, to be run as the user `lifter` of a service.
async fn example(name: &str, service: &TestService) -> Command {
    let mut command = Command::new(built(name).await);
    command
        .arg("--endpoint")
        .arg(format!("http://{}", service.address))
        .env("IRONFLOW_TOKEN", token("lifter"));
    command
}

/// Runs an example to its end and returns what it prints.
async fn run(name: &str, service: &TestService, arguments: &[&str]) -> String {
    let mut command = example(name, service).await;
    let output = command.args(arguments).output().await;
    let output = output.expect("the example runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{problems}");
    printed
}

/// The program, built: that is only sure after a plain `cargo test`, so cargo is asked each time.
pub async fn built(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("a target folder");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", name, "--target-dir"])
        .arg(target)
        .status();
    assert!(build.await.expect("cargo runs").success());
    target.join("debug/examples").join(name)
}
