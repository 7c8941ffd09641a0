//! The client in Python, with packages from the package index.

use std::process::Stdio;

use tempfile::tempdir;
use tokio::process::Command;

use crate::support::TestService;
use crate::support::service::token;

#[tokio::test]
#[ignore = "downloads: asked for with `cargo test --test main -- --ignored`"]
async fn two_devices_in_python_conflict_are_asked_and_hold_the_same() {
    let service = TestService::start().await;
    let folder = tempdir().expect("a folder");
    let python = folder.path().join("bin/python");
    let root = env!("CARGO_MANIFEST_DIR");
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(folder.path())).await;
    let mut install = Command::new(&python);
    let requirements = format!("{root}/examples/python/requirements.txt");
    run(install.args(["-m", "pip", "install", "--quiet", "-r", &requirements])).await;

    let mut client = Command::new(&python);
    let printed = run(client
        .arg(format!("{root}/examples/python/client.py"))
        .arg(service.address.to_string())
        .env("IRONFLOW_TOKEN", token("lifter"))
        .env("PYTHONDONTWRITEBYTECODE", "1"))
    .await;
    assert_eq!(
        printed,
        "The phone pushes a workout, the tablet pulls it\n\
         \x20 RESOLUTION_APPLIED, version 1\n\
         Both edit it offline; the tablet is online first, then the phone\n\
         \x20 RESOLUTION_APPLIED, version 2\n\
         \x20 RESOLUTION_NEEDS_USER, version 2\n\
         The person is asked on the phone, and keeps both; the tablet watches\n\
         \x20 RESOLVE_STATUS_RESOLVED, version 3\n\
         Both hold version 3: Bench 3x225, Squat 3x315\n"
    );
}

/// Runs a command to its end and returns what it prints.
async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.expect("python3 is installed");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}{problems}");
    printed
}
