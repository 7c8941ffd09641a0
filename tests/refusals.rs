//! What a newcomer is told when something is not as it should be, word for word: what happened, why, and
//! what to type.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ironflow_sync::auth::{Rules, Secret};
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::UserId;
use ironflow_sync::grpc::proto::SyncRequest;
use tonic::{Code, Request, Status};

use crate::support::program::program;
use crate::support::service::{SECRET, token, token_expiring};
use crate::support::serving::{Serving, folder, stderr};
use crate::support::{TestDatabase, TestService, web};
use crate::tls::cluster::{PASSWORD, TlsCluster};

/// The program fails with this on standard error, and nothing else.
fn check_program(arguments: &[&str], expected: &str) {
    let mut command = program(arguments);
    let output = command.args(["--log", "error"]).output();
    check_output(&output.expect("the program runs"), expected);
}

fn check_output(output: &Output, expected: &str) {
    assert_eq!(stderr(output), format!("ironflow-sync: {expected}\n"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn an_address_that_can_not_be_listened_on() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let port = taken.local_addr().expect("an address").port();
    check_program(
        &["--listen", &address],
        &format!(
            "{address} cannot be listened on (Address already in use (os error 98)): another program \
             does, maybe another ironflow-sync. To see which: ss -ltnp 'sport = :{port}'  Or take a free \
             port: --listen 127.0.0.1:0"
        ),
    );
    // Kept for documentation: no machine has it.
    check_program(
        &["--listen", "192.0.2.1:50051"],
        "192.0.2.1:50051 cannot be listened on (Cannot assign requested address (os error 99)): this \
         machine does not have the address 192.0.2.1. Take one it has: --listen 127.0.0.1:50051, or \
         --listen 0.0.0.0:50051 for all of them",
    );
}

#[test]
fn a_postgres_that_is_not_there() {
    let folder = folder();
    let data_dir = folder.path().to_str().expect("UTF-8");
    // That there is none at all is told by `postgres::binaries`: this machine has one.
    check_program(
        &[
            "migrate",
            "--data-dir",
            data_dir,
            "--postgres-bin",
            "/nowhere",
        ],
        "/nowhere does not hold both `postgres` and `initdb` of a PostgreSQL server. On Debian they are \
         in /usr/lib/postgresql/<major>/bin, and found there by themselves: leave IRONFLOW_POSTGRES_BIN \
         unset",
    );
}

/// The program as an ordinary user: `nobody`, if the tests run as root.
fn as_ordinary_user(folder: &Path) -> (Command, String) {
    if !nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        return (program(&[]), user.expect("passwd").expect("a user").name);
    }
    let binary = folder.join("ironflow-sync");
    fs::copy(env!("CARGO_BIN_EXE_ironflow-sync"), &binary).expect("a copy anybody can reach");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(binary);
    (command, "nobody".to_owned())
}

#[test]
fn a_data_folder_that_can_not_be_used() {
    let folder = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("a folder");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
    let (mut command, account) = as_ordinary_user(folder.path());
    let data_dir = closed.join("data");
    let command = command.args(["migrate", "--log", "error", "--data-dir"]);
    let output = command.arg(&data_dir).output().expect("the program runs");
    let (data_dir, closed) = (data_dir.display(), closed.display());
    check_output(
        &output,
        &format!(
            "The data folder {data_dir} cannot be used: {account} may not write in {closed} (Permission \
             denied (os error 13)). Run as root: chown {account} {closed}  (or name another data folder: \
             --data-dir FOLDER)"
        ),
    );

    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    for data_dir in [file.clone(), file.join("data")] {
        let (data_dir, file) = (data_dir.display().to_string(), file.display());
        check_program(
            &["migrate", "--data-dir", &data_dir],
            &format!(
                "The data folder {data_dir} cannot be made: {file} is there, and is no folder. Name \
                 another data folder: --data-dir FOLDER"
            ),
        );
    }
}

#[test]
fn a_data_folder_that_is_in_use() {
    let folder = folder();
    let first = Serving::on(folder.path());
    let data_dir = folder.path().to_str().expect("UTF-8");
    let (address, pid) = (first.address(), first.pid());
    check_program(
        &["migrate", "--data-dir", data_dir],
        &format!(
            "{data_dir} is in use by ironflow-sync on {address}, pid {pid}. Stop that service, or give \
             this one a data folder of its own: --data-dir FOLDER"
        ),
    );
}

#[test]
fn a_secret_that_is_too_short() {
    check_program(
        &["--listen", "127.0.0.1:0", "--jwt-secret", "short"],
        "IRONFLOW_JWT_SECRET: expected a secret of at least 32 bytes, got 5; make one: openssl rand -hex 32",
    );
}

#[tokio::test]
async fn a_database_url_that_leads_nowhere() {
    let cluster = TlsCluster::start().await;
    let lost = "alter role ironflow nologin";
    let port = cluster.port;
    let of = |login: &str, database: &str| {
        let url = format!("postgres://{login}@127.0.0.1:{port}/{database}");
        move |expected: &str| check_program(&["migrate", "--database-url", &url], expected)
    };
    let fine = format!("ironflow:{PASSWORD}");
    for login in ["ironflow:not-the-password", "ironflow", "nobody-there:x"] {
        of(login, "ironflow")(
            "DATABASE_URL: Postgres does not take the password in it, or there is none in it. Write it as \
             in postgres://user:password@host/database, with / ? # @ : and % in hexadecimal (@ is %40), \
             and try: psql \"$DATABASE_URL\" -c 'select 1'",
        );
    }
    of(&fine, "nothing")(
        "DATABASE_URL: Postgres has no database of the name in it. Make it: createdb --owner USER DATABASE",
    );
    cluster.admin.batch_execute(lost).await.expect("no login");
    of(&fine, "ironflow")(
        "DATABASE_URL: Postgres does not let the user in it in: there is no such user, or pg_hba.conf does \
         not let them in from this machine, or not to this database. Make one: createuser --pwprompt USER",
    );
    drop(cluster);
    of(&fine, "ironflow")(
        "DATABASE_URL: no Postgres answers at the host and port in it (Connection refused (os error 111)). \
         Is it running, and may this machine reach it? Try: psql \"$DATABASE_URL\" -c 'select 1'",
    );
}

#[tokio::test]
async fn a_database_of_a_newer_program() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let add = "insert into schema_migrations (name, checksum) values ('9999_later', '\\x00')";
    client.execute(add, &[]).await.expect("added");
    check_program(
        &["migrate", "--database-url", &database.url()],
        "this database was migrated by a newer ironflow-sync (it has migration 9999_later); run that \
         version",
    );
}

/// How a call with this token is refused.
async fn refused(service: &TestService, token: Option<&str>) -> Status {
    let mut call = Request::new(SyncRequest::default());
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        call.metadata_mut().insert("authorization", bearer);
    }
    let refused = service
        .client()
        .await
        .sync(call)
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    refused
}

#[tokio::test]
async fn a_token_that_is_not_taken() {
    let service = TestService::start().await;
    let missing = refused(&service, None).await;
    assert_eq!(
        missing.message(),
        "expected one token: a bearer token in the metadata key authorization, or one in x-jwt-token; \
         with grpcurl: -H 'authorization: Bearer TOKEN'"
    );
    let other = Secret::new(&SECRET.replace("tests", "others")).expect("long enough");
    let user = UserId::new("mia").expect("a user id");
    let far = Millis(4_102_444_800_000);
    let forged = other.sign(&Rules::default(), &user, far).expect("signs");
    let wrong = refused(&service, Some(&forged)).await;
    assert_eq!(
        wrong.message(),
        "expected a valid token: its signature is wrong: somebody else signed it, or it was changed; \
         sign in again, or to try the service take one of its own: ironflow-sync token --user NAME"
    );
    // Spans in the middle of their unit: the clock goes on.
    for (ago_s, in_words) in [
        (90 * 60, "90 minutes"),
        (5 * 3_600 + 1_800, "5 hours"),
        (3 * 86_400 + 3_600, "3 days"),
    ] {
        let expired = SystemTime::now() - Duration::from_secs(ago_s);
        let late = refused(&service, Some(&token_expiring("mia", expired))).await;
        assert_eq!(
            late.message(),
            format!(
                "expected a valid token: it expired {in_words} ago by the server's clock; sign in again, \
                 or to try the service take a new one: ironflow-sync token --user NAME"
            )
        );
    }
}

#[tokio::test]
async fn a_call_of_something_that_is_not_there() {
    let service = TestService::start().await;
    let bearer = format!("Bearer {}", token("mia"));
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("authorization", bearer.as_str()),
    ];
    let no_service = "there is no such service or method: expected ironflow.sync.v1.SyncService, as in \
                      ironflow.sync.v1.SyncService/Sync, grpc.health.v1.Health or \
                      grpc.reflection.v1.ServerReflection. To see all: grpcurl -plaintext HOST:PORT list";
    let no_method = "ironflow.sync.v1.SyncService has no such method; letter case counts, as in \
                     ironflow.sync.v1.SyncService/Sync. To see all: grpcurl -plaintext HOST:PORT list \
                     ironflow.sync.v1.SyncService";
    for (path, expected) in [
        ("/sync.SyncService/Sync", no_service),
        ("/ironflow.sync.SyncService/Sync", no_service),
        ("/ironflow.sync.v1.SyncServices/Sync", no_service),
        ("/SyncService/Sync", no_service),
        ("/grpc.health.v1.Health/Checks", no_service),
        ("/", no_service),
        ("/ironflow.sync.v1.SyncService/sync", no_method),
        ("/ironflow.sync.v1.SyncService/Push", no_method),
    ] {
        let body = web::frame(b"");
        let answer = web::http(service.address, &format!("POST {path}"), &headers, &body).await;
        let status = answer.grpc_status();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert_eq!(status.message(), expected, "{path}");
    }
}
