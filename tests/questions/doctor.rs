//! Whether everything is there, and whether the service that listens works.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Ran, ask, ask_at, asked};
use crate::grpc::eventually;
use crate::support::database::contents;
use crate::support::service::SECRET;
use crate::support::{TestDatabase, TestService};

/// How a check ended, and all it says.
fn check(findings: &Value, name: &str) -> (String, String) {
    let checks = findings["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["check"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} in {findings}"));
    let status = found["status"].as_str().expect("a status").to_owned();
    (status, format!("{} -> {}", found["found"], found["advice"]))
}

fn findings(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("JSON: {} {}", ran.out, ran.err))
}

async fn examined(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["doctor", "--json"];
    all.extend(arguments);
    let ran = ask(database, &all).await;
    (ran.code, findings(&ran))
}

/// Files of a certificate that ends on the first of January of a year.
struct Files {
    _folder: TempDir,
    certificate: String,
    key: String,
}

impl Files {
    fn until(year: i32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut params = CertificateParams::new(["sync.test".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signs");
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.to_str().expect("UTF-8").to_owned()
        };
        Self {
            certificate: write("cert.pem", certificate.pem()),
            key: write("key.pem", key.serialize_pem()),
            _folder: folder,
        }
    }

    fn arguments(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }
}

#[tokio::test]
async fn a_service_that_can_run_is_said_to_be_well_and_nothing_is_changed() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let before = contents(&sql).await;
    let (code, found) = examined(&database, &["--jwt-secret", SECRET]).await;
    assert_eq!((code, &found["ok"]), (Some(0), &json!(true)), "{found}");
    for name in [
        "tls", "catalog", "database", "clock", "tables", "rights", "tokens",
    ] {
        assert_eq!(check(&found, name).0, "ok", "{found}");
    }
    let text = ask(&database, &["doctor", "--jwt-secret", SECRET]).await;
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(
        text.out
            .lines()
            .skip(1)
            .all(|line| line.starts_with("  ok ")),
        "{}",
        text.out
    );
    assert_eq!(contents(&sql).await, before);
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_to_type_and_fails() {
    let database = TestDatabase::new().await;
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let catalog = file("catalog.toml", "[types.workout]\npolicy = \"guess\"\n");
    let no_keys = file("keys.json", "{\"keys\": []}");
    let expired = Files::until(2021);
    let valid = Files::until(2999);
    let mut torn = valid.arguments();
    torn[3] = &expired.key;
    let secret = ["--jwt-secret", SECRET];
    // Nobody listens on port 1.
    let away = ["--jwt-keys", "http://127.0.0.1:1/keys"];
    for (name, status, words, arguments) in [
        ("tokens", "fail", "IRONFLOW_JWT_SECRET", vec![]),
        ("tokens", "fail", "UNAVAILABLE", away.to_vec()),
        (
            "tokens",
            "fail",
            "no key that can be used",
            vec!["--jwt-keys", &*no_keys],
        ),
        (
            "catalog",
            "fail",
            "catalog.toml:2",
            [&secret[..], &["--catalog", &catalog]].concat(),
        ),
        (
            "tls",
            "fail",
            "has expired, 2021-01-01T00:00:00Z",
            [&secret[..], &expired.arguments()].concat(),
        ),
        (
            "tls",
            "fail",
            "found another",
            [&secret[..], &torn].concat(),
        ),
        (
            "tls",
            "ok",
            "until 2999-01-01T00:00:00Z",
            [&secret[..], &valid.arguments()].concat(),
        ),
        (
            "tls",
            "warn",
            "in the clear",
            [&secret[..], &["--listen", "0.0.0.0:50051"]].concat(),
        ),
        (
            "database",
            "warn",
            "max_connections",
            [&secret[..], &["--database-connections-max", "1000"]].concat(),
        ),
    ] {
        let (code, found) = examined(&database, &arguments).await;
        let (ended, said) = check(&found, name);
        assert_eq!(ended, status, "{arguments:?}: {found}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(code, Some(i32::from(status == "fail")), "{found}");
        assert_eq!(found["ok"], json!(status != "fail"));
    }
    let url = "host=127.0.0.1 port=1 user=ironflow dbname=ironflow";
    let silent = ask_at(url, &["doctor", "--json", "--jwt-secret", SECRET]).await;
    let (ended, said) = check(&findings(&silent), "database");
    assert_eq!((silent.code, &*ended), (Some(1), "fail"), "{said}");
    assert!(
        said.contains("is it running") || said.contains("Is it running"),
        "{said}"
    );
}

#[tokio::test]
async fn old_tables_are_told_and_left_as_they_are() {
    let database = TestDatabase::without_tables().await;
    let (code, found) = examined(&database, &["--jwt-secret", SECRET]).await;
    let (status, said) = check(&found, "tables");
    assert_eq!((code, &*status), (Some(0), "warn"), "{found}");
    assert!(said.contains("ironflow-sync migrate"), "{said}");
    let sql = database.client().await;
    assert!(contents(&sql).await.is_empty(), "nothing was migrated");
}

#[tokio::test]
async fn a_folder_of_its_own_is_looked_at_without_making_it() {
    let folder = crate::support::serving::folder();
    let at = async |data_dir: &Path, more: &[&str]| {
        let path = data_dir.to_str().expect("UTF-8");
        let mut all = vec!["doctor", "--json", "--data-dir", path];
        all.extend(more);
        let ran = asked(&all).await;
        (ran.code, findings(&ran))
    };
    let new = folder.path().join("new");
    let (code, found) = at(&new, &[]).await;
    assert_eq!(code, Some(0), "{found}");
    for (name, words) in [
        ("postgres programs", "bin"),
        ("data folder", "the first start makes"),
        ("disk", "MiB free"),
        ("database", "none yet"),
        ("tokens", "development secret"),
    ] {
        assert!(check(&found, name).1.contains(words), "{name}: {found}");
    }
    assert!(!new.exists(), "nothing was made");

    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let (code, found) = at(&file, &[]).await;
    assert_eq!(
        (code, &*check(&found, "data folder").0),
        (Some(1), "fail"),
        "{found}"
    );
    let (code, found) = at(&new, &["--postgres-bin", "/nowhere"]).await;
    assert_eq!(
        (code, &*check(&found, "postgres programs").0),
        (Some(1), "fail"),
        "{found}"
    );
}

#[tokio::test]
async fn health_is_asked_of_the_service_that_listens_with_and_without_tls() {
    let healthy = async |address: &str, more: &[&str]| {
        let mut all = vec!["health", "--listen", address];
        all.extend(more);
        let ran = asked(&all).await;
        (ran.code, format!("{}{}", ran.out, ran.err))
    };
    // Once it has asked its database for the first time.
    let serves = async |address: &str, more: &[&str]| {
        eventually("it is serving", async || {
            let (code, said) = healthy(address, more).await;
            code == Some(0) && said.contains("is serving")
        })
        .await;
    };
    let plain = TestService::start().await;
    let plain_at = plain.address.to_string();
    serves(&plain_at, &[]).await;

    let (own, other) = (Files::until(2999), Files::until(2999));
    let tls = TestService::with(&own.arguments()).await;
    let tls_at = tls.address.to_string();
    serves(&tls_at, &own.arguments()).await;

    let database = TestDatabase::new().await;
    let store = database.store();
    store.close();
    let lost = TestService::over(store, database, &[]).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let strange_at = stranger.local_addr().expect("an address").to_string();
    let hang_up = tokio::spawn(async move { while stranger.accept().await.is_ok() {} });
    for (address, arguments, words) in [
        ("127.0.0.1:1", vec![], "nothing listens"),
        ("127.0.0.1:0", vec![], "expected the port"),
        (
            &*strange_at,
            vec![],
            "does not answer as ironflow-sync does",
        ),
        (&*tls_at, vec![], "does not answer as ironflow-sync does"),
        (&*tls_at, other.arguments().to_vec(), "another certificate"),
        (&*plain_at, own.arguments().to_vec(), "does not speak TLS"),
        (&*lost.address.to_string(), vec![], "its database is away"),
    ] {
        let (code, said) = healthy(address, &arguments).await;
        assert_eq!(code, Some(1), "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    hang_up.abort();
}
