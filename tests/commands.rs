//! The program as a newcomer runs it: its commands, its start-up message, its refusals.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironflow_sync::grpc::proto::Resolution;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::program::program;
use crate::support::service::SECRET;
use crate::support::serving::{Serving, folder, stderr, wait_until};

fn output(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program runs")
}

/// The process id in the first line of Postgres' pid file, if it runs.
fn postmaster(data_dir: &Path) -> Option<PathBuf> {
    let pid_file = fs::read_to_string(data_dir.join("pg/postmaster.pid")).ok()?;
    let process = Path::new("/proc").join(pid_file.lines().next()?.trim());
    process.exists().then_some(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_in_an_empty_folder_prints_a_call_that_works_and_stops_cleanly() {
    let folder = folder();
    let mut serving = Serving::on(folder.path());
    assert!(
        serving.message.len() <= 12,
        "at most a dozen lines: {:?}",
        serving.message
    );
    assert!(
        serving.message[0].starts_with("Ironflow Sync "),
        "{:?}",
        serving.message
    );
    let data_dir = folder.path().display().to_string();
    assert!(
        serving.message.iter().any(|line| line.contains(&data_dir)),
        "names the folder"
    );
    assert_eq!(serving.call().await, Resolution::Applied);
    assert_eq!(
        serving.call().await,
        Resolution::Applied,
        "pasted twice: a replay"
    );

    serving.signal(Signal::SIGTERM);
    let status = serving.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    serving.out.read_to_string(&mut rest).expect("text");
    assert_eq!(rest.trim(), "");
    assert_eq!(postmaster(folder.path()), None, "Postgres has stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_and_no_server_is_left_behind() {
    let folder = folder();
    let serving = Serving::on(folder.path());
    assert_eq!(serving.call().await, Resolution::Applied);
    let server = postmaster(folder.path()).expect("Postgres runs");
    drop(serving); // kill -9
    wait_until("Postgres follows", || !server.exists());

    let again = Serving::on(folder.path());
    // The token is new, the edit is not: the answer comes from what was stored.
    assert_eq!(again.call().await, Resolution::Applied);
    let psql = again
        .message
        .iter()
        .find(|line| line.contains("psql -h "))
        .expect("how to look");
    let (_, socket) = psql.split_once("psql -h ").expect("a socket");
    let mut config = tokio_postgres::Config::new();
    let socket = socket.split(' ').next().expect("a folder");
    config.host_path(socket).user("ironflow").dbname("ironflow");
    let client = crate::support::database::connect(&config).await;
    let versions = client
        .query_one("select max(version) from entities", &[])
        .await;
    assert_eq!(
        versions.expect("an answer").get::<_, i32>(0),
        1,
        "applied once"
    );
}

#[test]
fn a_second_service_on_a_folder_is_refused_by_the_name_of_the_first() {
    let folder = folder();
    let serving = Serving::on(folder.path());
    let data_dir = folder.path().to_str().expect("UTF-8");
    let second = output(&["--data-dir", data_dir, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let text = stderr(&second);
    assert!(text.contains("ironflow-sync on 127.0.0.1:"), "{text}");
    assert!(text.contains(&serving.child.id().to_string()), "{text}");
}

#[test]
fn settings_nobody_could_sign_in_with_are_refused_before_anything_starts() {
    let url = ["--database-url", "postgres://nobody@127.0.0.1:1/none"];
    let unset = output(&[&url[..], &["--listen", "127.0.0.1:0"]].concat());
    assert_eq!(unset.status.code(), Some(1));
    assert!(
        stderr(&unset).contains("export IRONFLOW_JWT_SECRET="),
        "{}",
        stderr(&unset)
    );

    let weak = output(&["--jwt-secret", "short", "--listen", "127.0.0.1:0"]);
    assert_eq!(weak.status.code(), Some(1));
    assert!(
        stderr(&weak).contains("at least 32 bytes"),
        "{}",
        stderr(&weak)
    );
    assert!(!stderr(&weak).contains("short"), "no secret in messages");

    let keys = output(&[
        "--jwt-keys",
        "/nowhere/keys.json",
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(keys.status.code(), Some(1));
    assert!(
        stderr(&keys).contains("IRONFLOW_JWT_KEYS: expected a file to read"),
        "{}",
        stderr(&keys)
    );

    let none = output(&["--jwt-algorithms", "none", "--jwt-secret", SECRET]);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        stderr(&none).contains("HS256, RS256, PS256, ES256, EdDSA"),
        "{}",
        stderr(&none)
    );

    let alone = output(&["--jwt-preset", "firebase", "--listen", "127.0.0.1:0"]);
    assert!(
        stderr(&alone).contains("IRONFLOW_JWT_PROJECT"),
        "{}",
        stderr(&alone)
    );

    let url = output(&["--database-url", "nonsense", "--jwt-secret", SECRET]);
    assert!(
        stderr(&url).contains("DATABASE_URL: expected"),
        "{}",
        stderr(&url)
    );
}

#[test]
fn token_prints_a_token_of_the_secret_and_says_so_if_there_is_none() {
    let signed = output(&["token", "--user", "mia", "--jwt-secret", SECRET]);
    assert!(signed.status.success());
    let token = String::from_utf8(signed.stdout).expect("text");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");

    let issuer = [
        "--jwt-issuer",
        "https://id.example",
        "--jwt-audience",
        "a,b",
    ];
    let line = ["token", "--user", "mia", "--jwt-secret", SECRET];
    let signed = output(&[&line[..], &issuer].concat());
    let token = String::from_utf8(signed.stdout).expect("text");
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims"));
    let claims: Value = serde_json::from_slice(&claims.expect("base64")).expect("JSON");
    assert_eq!(claims["iss"], "https://id.example", "it keeps the rules");
    assert_eq!(claims["aud"], "a");

    let folder = folder();
    let data_dir = folder.path().to_str().expect("UTF-8");
    let keys = folder.path().join("keys.json");
    fs::write(&keys, "{\"keys\":[]}").expect("written");
    let keys = keys.to_str().expect("UTF-8");
    let keys_only = output(&["token", "--user", "mia", "--jwt-keys", keys]);
    assert_eq!(keys_only.status.code(), Some(1));
    assert!(
        stderr(&keys_only).contains("by signing in where your users do"),
        "{}",
        stderr(&keys_only)
    );
    let none = output(&["token", "--user", "mia", "--data-dir", data_dir]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("start the service once"),
        "{}",
        stderr(&none)
    );
    let nobody = output(&["token", "--user", "", "--jwt-secret", SECRET]);
    assert!(
        stderr(&nobody).contains("--user: expected"),
        "{}",
        stderr(&nobody)
    );
}

#[test]
fn with_keys_it_makes_no_secret_and_says_where_tokens_come_from() {
    let folder = folder();
    let keys = folder.path().join("keys.json");
    fs::write(&keys, "{\"keys\":[]}").expect("written");
    let data_dir = folder.path().to_str().expect("UTF-8");
    let keys = keys.to_str().expect("UTF-8");
    let listen = ["--listen", "127.0.0.1:0"];
    let mut command = program(&["--data-dir", data_dir, "--jwt-keys", keys]);
    let serving = Serving::start_until(command.args(listen), |line| line.contains("  auth: "));
    let auth = serving.message.last().expect("a line");
    assert!(
        auth.contains("IRONFLOW_JWT_KEYS; get one by signing in"),
        "{auth}"
    );
    assert!(!folder.path().join("jwt_secret").exists(), "no back door");
}

#[test]
fn migrate_brings_a_folder_up_to_date_once() {
    let folder = folder();
    let data_dir = folder.path().to_str().expect("UTF-8");
    let first = output(&["migrate", "--data-dir", data_dir]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(String::from_utf8_lossy(&first.stdout).contains("0001_entities"));
    let second = output(&["migrate", "--data-dir", data_dir]);
    assert_eq!(
        String::from_utf8_lossy(&second.stdout),
        "The tables are up to date.\n"
    );
    assert_eq!(postmaster(folder.path()), None, "Postgres has stopped");
}

/// The commands that read a catalog.
fn reads_catalog(catalog: &str) -> [Vec<&str>; 4] {
    [
        vec!["catalog", "check", catalog],
        vec!["catalog", "show", "--catalog", catalog],
        vec!["--catalog", catalog, "--listen", "127.0.0.1:0"],
        [
            &["--catalog", catalog][..],
            &["library", "load", "x.json", "--type", "x"],
        ]
        .concat(),
    ]
}

#[test]
fn a_bad_catalog_is_refused_by_line_key_and_what_was_expected_before_anything_starts() {
    let folder = folder();
    let file = folder.path().join("catalog.toml");
    let bad = "[types.workout]\npolicy = 'lww'\n\n[types.log]\npolicy = 'ask'\nteir = 'core'\n\
               schema_file = 'log.json'\n";
    fs::write(&file, bad).expect("a file");
    let name = file.to_str().expect("UTF-8");
    for arguments in reads_catalog(name) {
        let refused = output(&arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&refused.stdout), "");
        let text = stderr(&refused);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, place) in lines.into_iter().skip(1).zip([
            ":2:10: types.workout.policy: expected \"ask\", ",
            ":6:1: types.log.teir: expected one of the keys policy, ",
            ":7:1: types.log.schema_file: expected a file to read, beside the catalog: ",
        ]) {
            assert!(line.starts_with(&format!("{name}{place}")), "{line}");
        }
    }
    for arguments in reads_catalog("/nowhere/catalog.toml") {
        let missing = output(&arguments);
        assert_eq!(missing.status.code(), Some(1), "{arguments:?}");
        let expected = "/nowhere/catalog.toml: expected a catalog to read";
        assert!(stderr(&missing).contains(expected), "{}", stderr(&missing));
    }
}

#[test]
fn the_catalog_in_effect_can_be_shown_and_what_is_shown_is_a_catalog() {
    let folder = folder();
    let shown = folder.path().join("shown.toml");
    let check = |summary: &str| {
        let checked = output(&["catalog", "check", shown.to_str().expect("UTF-8")]);
        assert!(checked.status.success(), "{}", stderr(&checked));
        let out = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(out, format!("{}: {summary}\n", shown.display()));
    };
    let builtin = output(&["catalog", "show"]).stdout;
    fs::write(&shown, &builtin).expect("a file");
    check("24 entity types, all others are refused");

    // Schema files lie beside the catalog, wherever the program runs.
    let file = folder.path().join("catalog.toml");
    let text =
        "default_policy = 'merge_max'\n[types.log]\npolicy = 'ask'\nschema_file = 'log.json'\n";
    fs::write(&file, format!("\u{feff}{text}")).expect("a file");
    fs::write(folder.path().join("log.json"), "{}").expect("a file");
    let mut show = program(&["catalog", "show"]);
    let own = show
        .env("IRONFLOW_CATALOG", &file)
        .output()
        .expect("it runs");
    let own = String::from_utf8(own.stdout).expect("UTF-8");
    assert_eq!(
        own,
        format!("# The catalog in {:?}\n{text}", file.display().to_string())
    );
    fs::write(&shown, own).expect("a file");
    check("1 entity types, all others by merge_max");
}

/// As root this steps down to `nobody`; as anybody else the other tests have shown it already.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_can_run_it() {
    let folder = folder();
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir).expect("a folder");
    let binary = folder.path().join("ironflow-sync");
    fs::copy(env!("CARGO_BIN_EXE_ironflow-sync"), &binary).expect("a copy anybody can reach");
    let mut command = if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody")
            .expect("passwd")
            .expect("nobody");
        std::os::unix::fs::chown(
            &data_dir,
            Some(nobody.uid.as_raw()),
            Some(nobody.gid.as_raw()),
        )
        .expect("root may");
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
            .arg(&binary);
        command
    } else {
        Command::new(&binary)
    };
    command
        .arg("--data-dir")
        .arg(&data_dir)
        .args(["--listen", "127.0.0.1:0"]);
    let serving = Serving::start(command);
    assert_eq!(serving.call().await, Resolution::Applied);
}
