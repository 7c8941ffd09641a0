//! What an operator asks, with the program, beside a service.

mod doctor;
mod explain;
mod status;
mod user;

use serde_json::Value;
use tokio::process::Command;

use crate::support::TestDatabase;

/// How the program ended, and what it printed.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Asks about a database.
async fn ask(database: &TestDatabase, arguments: &[&str]) -> Ran {
    ask_at(&database.url(), arguments).await
}

/// Asks about the database of a URL.
async fn ask_at(url: &str, arguments: &[&str]) -> Ran {
    let mut all = arguments.to_vec();
    all.extend(["--database-url", url, "--log", "warn"]);
    asked(&all).await
}

/// Runs the program, without what the environment of the tests may say.
async fn asked(arguments: &[&str]) -> Ran {
    let output = Command::from(crate::support::program::program(arguments))
        .output()
        .await
        .expect("the program runs");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What is answered to people.
async fn told(database: &TestDatabase, arguments: &[&str]) -> String {
    let ran = ask(database, arguments).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran.out
}

/// What is answered to programs: one line, one object.
async fn object(database: &TestDatabase, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    let text = told(database, &all).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// What has no answer, and why; nothing is printed that a script could take for one.
async fn refused(database: &TestDatabase, arguments: &[&str], why: &str) {
    let ran = ask(database, arguments).await;
    assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{arguments:?}");
    assert!(ran.err.contains(why), "{arguments:?}: {}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}
