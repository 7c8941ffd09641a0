//! Secrets and privacy: words planted in data, tokens and ids appear in no log, no metric and no error, of
//! the service or of its private Postgres, however much is logged and whatever goes wrong.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

use ironflow_sync::auth::{Rules, Secret};
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{
    Choice, DeviceInfo, ListVersionsRequest, PullRequest, Resolution, RestoreVersionRequest,
    SyncItem, SyncRequest, SyncResult, SyncStatus,
};
use serde_json::json;
use tokio_postgres::Client;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::metrics::told::get;
use crate::support::database::connect;
use crate::support::program::{Program, program};
use crate::support::service::UNHURRIED;
use crate::support::serving::folder;
use crate::support::{Device, delete, put, put_bytes};

/// In every word that must not be seen, in the ids that are UUIDs too.
const CANARY: &str = "c0ffee5ec2e7";

/// What tokens are signed with.
const SECRET: &str = "c0ffee5ec2e7 signs tokens, and says it to nobody";

/// Everything from everybody, by all the ways there are to ask for it.
const LOUDEST: &str = "trace,ironflow_sync=trace,h2=trace,hyper=trace,hyper_util=trace,tower=trace,\
                       tonic=trace,tokio_postgres=trace,rustls=trace,deadpool=trace";

const PATIENCE: Duration = Duration::from_secs(60);

fn word(what: &str) -> String {
    format!("{CANARY}-{what}")
}

/// A UUID that can be told.
fn id() -> Uuid {
    let text = Uuid::new_v4().to_string();
    format!("{}{CANARY}", &text[..24]).parse().expect("a UUID")
}

fn data(n: i32) -> serde_json::Value {
    json!({"title": word("value"), word("key"): [n, word("deep")]})
}

fn item(entity: Uuid, base: i32, n: i32) -> SyncItem {
    SyncItem {
        mutation_id: id().to_string(),
        ..put(entity, base, &data(n))
    }
}

fn token(secret: &str, user: &str, expires: SystemTime) -> String {
    let secret = Secret::new(secret).expect("long enough");
    let user = UserId::new(user).expect("a user id");
    let since_epoch = expires
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let signed = secret.sign(
        &Rules::default(),
        &user,
        Millis(since_epoch.as_millis() as i64),
    );
    signed.expect("signs")
}

/// A service on its private Postgres, that says all it can.
struct Stage {
    service: Program,
    sql: Client,
    /// Another one, which sees what happens while that one is in a transaction.
    watcher: Client,
    channel: Channel,
    token: String,
    /// Where metrics are told.
    metrics: SocketAddr,
}

impl Stage {
    async fn set(data_dir: &str) -> Self {
        let mut serve = program(&["--data-dir", data_dir, "--database-connections-max", "1"]);
        serve.args(["--metrics-listen", "127.0.0.1:0"]);
        serve.args(UNHURRIED);
        serve
            .env("IRONFLOW_JWT_SECRET", SECRET)
            .env("IRONFLOW_LOG", LOUDEST);
        let mut service = Program::serve(serve);
        let look = service.line("psql -h ");
        let socket = look
            .split("psql -h ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let metrics = service.line("metrics: http://");
        let metrics = metrics
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next()?.parse().ok());
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(socket.expect("a socket"))
            .user("ironflow")
            .dbname("ironflow");
        let endpoint = Endpoint::from_shared(format!("http://{}", service.address));
        let channel = endpoint
            .expect("an address")
            .connect()
            .await
            .expect("it listens");
        let hour = SystemTime::now() + Duration::from_secs(3600);
        Self {
            sql: connect(&config).await,
            watcher: connect(&config).await,
            channel,
            token: token(SECRET, &word("user"), hour),
            metrics: metrics.expect("an address"),
            service,
        }
    }

    fn device_with(&self, token: &str, name: &str) -> Device {
        let client = SyncServiceClient::new(self.channel.clone());
        Device::new(client, token.to_owned(), &word(name)).called(&word("label"))
    }

    fn device(&self, name: &str) -> Device {
        self.device_with(&self.token, name)
    }
}

/// That a call was refused so, in words that hold none of ours.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) {
    let status = answer.expect_err("refused");
    assert_eq!(status.code(), code, "{status:?}");
    let told = format!("{status:?} {:?}", status.get_error_details());
    let details = String::from_utf8_lossy(status.details()).into_owned();
    for text in [told, details] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

/// That items were refused in words that hold none of ours; the path may have the keys that were sent.
fn rejected(answers: &[SyncResult]) {
    for answer in answers {
        assert_eq!(answer.status(), SyncStatus::Error, "{answer:?}");
        let told = answer
            .violations
            .iter()
            .map(|violation| violation.description.as_str());
        for text in told.chain([answer.error_message.as_str()]) {
            assert!(!text.is_empty() && !text.contains(CANARY), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_in_data_tokens_and_ids_is_in_no_log_and_no_error() {
    let folder = folder();
    let data_dir = folder.path().to_str().expect("UTF-8");
    let stage = Stage::set(data_dir).await;
    what_goes_well(&stage).await;
    what_is_refused(&stage).await;
    what_breaks(&stage).await;

    let (_, metrics) = get(stage.metrics, "/metrics").await;
    assert!(metrics.contains("ironflow_items_total{entity_type=\"workout\""));
    let address = stage.service.address.to_string();
    let (status, printed, log) = stage.service.stop();
    assert!(status.success(), "{status}");
    // It was loud, and users and devices can be found in it by those who know them.
    let scope = Scope::of(&UserId::new(&word("user")).expect("a user id"));
    let phone = DeviceId::new(&word("phone")).expect("a device id");
    for told in [
        "sync_attempt",
        "sync_conflict",
        "sync_success",
        "page read",
        "watch ended",
        "decision taken",
        "wish for an old version settled",
        "\"level\":\"ERROR\"",
        "\"level\":\"WARN\"",
        &scope.log_name().to_string(),
        &phone.log_name().to_string(),
    ] {
        assert!(log.contains(told), "no {told} in {log}");
    }
    let postgres = fs::read_to_string(folder.path().join("postgres.log")).expect("its log");
    for told in [
        "terminating connection",
        "violates check constraint",
        "nothing but trouble",
    ] {
        assert!(postgres.contains(told), "no {told} in {postgres}");
    }
    for (whose, text) in [
        ("the log of the service", &log),
        ("the log of Postgres", &postgres),
        ("start-up", &printed),
        ("metrics", &metrics),
    ] {
        let leak = text
            .lines()
            .find(|line| line.to_lowercase().contains(CANARY));
        assert_eq!(leak, None, "{whose}");
        // Parts of tokens: every one of ours begins with a brace in base64, and a claim with `sub`.
        for secret in ["eyJ", "signs tokens"] {
            let leak = text.lines().find(|line| line.contains(secret));
            assert_eq!(leak, None, "{whose}");
        }
    }
    assert!(printed.contains(&address));
}

async fn what_goes_well(stage: &Stage) {
    let (mut phone, mut tablet) = (stage.device("phone"), stage.device("tablet"));
    let entity = id();
    let first = SyncRequest {
        items: vec![item(entity, 0, 1), item(entity, 1, 2)],
        device: Some(DeviceInfo {
            label: word("label"),
            platform: word("platform"),
            app_version: word("version"),
        }),
        ..phone.request()
    };
    let answers = phone.send(first).await.expect("pushed").results;
    assert!(
        answers
            .iter()
            .all(|answer| answer.resolution() == Resolution::Applied)
    );
    let asked = tablet.sync_one(item(entity, 1, 3)).await;
    assert_eq!(asked.resolution(), Resolution::NeedsUser, "{asked:?}");
    let conflict = asked.conflict.expect("a conflict").conflict_id;
    tablet.conflict(&conflict).await.expect("shown");
    let decision = tablet.own_decision(&conflict, &data(4), 2);
    tablet.resolve(decision).await.expect("decided");
    let history = ListVersionsRequest {
        entity_type: "workout".to_owned(),
        entity_id: entity.to_string(),
        ..ListVersionsRequest::default()
    };
    assert!(
        phone
            .list_versions(history)
            .await
            .expect("listed")
            .entries
            .len()
            >= 3
    );
    let wish = RestoreVersionRequest {
        entity_type: "workout".to_owned(),
        entity_id: entity.to_string(),
        source: Some(ironflow_sync::grpc::proto::restore_version_request::Source::Version(1)),
        expected_version: 3,
        ..RestoreVersionRequest::default()
    };
    assert!(phone.restore(wish).await.expect("restored").restored);
    let (_, cursor) = tablet.pull_all(tablet.page_after("")).await;
    let mut watch = tablet
        .watch(tablet.page_after(&cursor))
        .await
        .expect("watches");
    watch.message().await.expect("goes on").expect("an event");
    drop(watch);
    phone.sync(vec![delete(entity, 4)]).await;
    phone.status().await;
    phone.server_info().await;
}

async fn what_is_refused(stage: &Stage) {
    let mut phone = stage.device("phone");
    let bad = |change: &dyn Fn(&mut SyncItem)| {
        let mut item = item(id(), 0, 1);
        change(&mut item);
        item
    };
    let key_twice = format!("{{\"{0}\":1,\"{0}\":2}}", word("key"));
    let no_text = format!(
        "{{\"title\":{{\"{}\":\"{}\"}}}}",
        word("key"),
        word("value")
    );
    rejected(
        &phone
            .sync(vec![
                bad(&|item| item.entity_type = word("type")),
                bad(&|item| item.entity_type = CANARY.to_owned()),
                bad(&|item| item.entity_id = word("entity")),
                bad(&|item| item.operation = word("operation")),
                bad(&|item| item.mutation_id = word("mutation")),
                bad(&|item| item.group_id = word("group").repeat(20)),
                bad(&|item| item.data = word("not JSON").into_bytes()),
                put_bytes(id(), 0, key_twice),
                put_bytes(id(), 0, no_text),
            ])
            .await,
    );
    let other = SyncRequest {
        user_id: word("another user"),
        ..phone.request()
    };
    refused(phone.send(other).await, Code::PermissionDenied);
    let nameless = SyncRequest {
        device_id: word("device").repeat(20),
        ..phone.request()
    };
    refused(phone.send(nameless).await, Code::InvalidArgument);
    let page = PullRequest {
        entity_types: vec![word("type")],
        cursor: word("cursor"),
        ..phone.page_after("")
    };
    refused(phone.pull(page).await, Code::InvalidArgument);
    refused(
        phone.pull(phone.page_after(&word("cursor"))).await,
        Code::InvalidArgument,
    );
    refused(
        phone.conflict(&id().to_string()).await,
        Code::InvalidArgument,
    );
    let decision = phone.decision(&word("conflict"), Choice::KeepClient, 1);
    refused(phone.resolve(decision).await, Code::InvalidArgument);

    let (past, future) = (
        SystemTime::now() - PATIENCE * 60,
        SystemTime::now() + PATIENCE,
    );
    let user = word("user");
    let valid = &stage.token;
    let (head, signature) = valid.rsplit_once('.').expect("a signature");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    for token in [
        word("token"),
        token(SECRET, &user, past),
        token(&word("another secret of enough bytes"), &user, future),
        format!("{head}.{other}{}", &signature[1..]),
        head.to_owned(),
        word("token").repeat(500),
        SECRET.replace(' ', "-"),
    ] {
        let answer = stage
            .device_with(&token, "phone")
            .send(phone.request())
            .await;
        refused(answer, Code::Unauthenticated);
    }
}

async fn what_breaks(stage: &Stage) {
    let mut phone = stage.device("phone");
    let sql = &stage.sql;
    // Rows that Postgres refuses, and complains about at length.
    let refuse = format!(
        "alter table entities add constraint no_canaries check (data::text not like '%{CANARY}-poison%') not valid; \
         create function complain() returns trigger language plpgsql as $$ begin \
             raise exception 'nothing but trouble' using detail = new.data::text, hint = new.device_id; \
         end $$; \
         create trigger complaint before insert on entities for each row \
             when (new.data::text like '%{CANARY}-trouble%') execute function complain()"
    );
    sql.batch_execute(&refuse).await.expect("prepared");
    for trouble in ["poison", "trouble"] {
        let request = SyncRequest {
            items: vec![put(id(), 0, &json!({"title": word(trouble)}))],
            ..phone.request()
        };
        refused(phone.send(request).await, Code::Internal);
    }
    // The only connection waits for a lock: others wait in vain for one, and then it breaks.
    sql.batch_execute("begin; lock table entities in access exclusive mode")
        .await
        .expect("locked");
    let mut stuck = stage.device("stuck");
    let request = SyncRequest {
        items: vec![item(id(), 0, 1)],
        ..stuck.request()
    };
    let stuck = tokio::spawn(async move { stuck.send(request).await });
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    let begun = Instant::now();
    while stage
        .watcher
        .query_one(waiting, &[])
        .await
        .expect("a count")
        .get::<_, i64>(0)
        == 0
    {
        assert!(begun.elapsed() < PATIENCE, "nobody waits");
    }
    let hour = SystemTime::now() + Duration::from_secs(3600);
    let mut other = stage.device_with(&token(SECRET, &word("other user"), hour), "other");
    let request = SyncRequest {
        items: vec![item(id(), 0, 1)],
        ..other.request()
    };
    refused(other.send(request).await, Code::Unavailable);
    let kill =
        "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'";
    stage.watcher.batch_execute(kill).await.expect("killed");
    sql.batch_execute("rollback").await.expect("released");
    refused(stuck.await.expect("no panic"), Code::Unavailable);
    phone.sync(vec![item(id(), 0, 1)]).await;
}

fn told(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[test]
fn no_start_that_fails_prints_a_password_or_a_key() {
    let folder = folder();
    let keys = folder.path().join("keys.json");
    let broken = format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{CANARY}\"}},{{\"{CANARY}\":");
    fs::write(&keys, broken).expect("written");
    let keys = keys.to_str().expect("UTF-8").to_owned();
    let password = word("pass");
    let url = |text: &str| text.replace("PASSWORD", &password);
    let fine = SECRET.to_owned();
    for (variable, value) in [
        ("DATABASE_URL", url("postgres://u:PASSWORD@127.0.0.1:1/d")),
        (
            "DATABASE_URL",
            url("postgres://u:PASSWORD@nowhere.invalid/d"),
        ),
        (
            "DATABASE_URL",
            url("postgres://u:PASSWORD@127.0.0.1:port/d"),
        ),
        ("DATABASE_URL", url("postgres://u:x?PASSWORD@127.0.0.1/d")),
        ("DATABASE_URL", url("postgres://u:x/PASSWORD@127.0.0.1/d")),
        ("DATABASE_URL", url("postgres://u:%zzPASSWORD@127.0.0.1/d")),
        ("DATABASE_URL", url("postgres://u:x@127.0.0.1/d?PASSWORD=1")),
        (
            "DATABASE_URL",
            url("host=127.0.0.1 password=PASSWORD port=PASSWORD"),
        ),
        ("DATABASE_URL", url("host=127.0.0.1 password='PASSWORD")),
        ("DATABASE_URL", url("PASSWORD")),
        ("IRONFLOW_JWT_SECRET", CANARY.to_owned()),
        (
            "IRONFLOW_JWT_KEYS",
            url("https://u:PASSWORD@nowhere.invalid:port/keys"),
        ),
        (
            "IRONFLOW_JWT_KEYS",
            url("ftp://u:PASSWORD@nowhere.invalid/keys"),
        ),
        ("IRONFLOW_JWT_KEYS", keys),
        ("IRONFLOW_WEB_ORIGINS", "a\u{7f}b".to_owned()),
    ] {
        let mut command = program(&["--listen", "127.0.0.1:0", "--log", LOUDEST]);
        command.arg("--data-dir").arg(folder.path());
        if variable == "DATABASE_URL" {
            command.env("IRONFLOW_JWT_SECRET", &fine);
        }
        let output = command.env(variable, &value).output().expect("it runs");
        let text = told(&output);
        assert!(!output.status.success(), "{variable} {value}: {text}");
        assert!(!text.contains(CANARY), "{variable} {value}: {text}");
        assert!(text.lines().count() >= 1, "{variable}: not a word");
    }
    let mut help = program(&["--help"]);
    for variable in ["DATABASE_URL", "IRONFLOW_JWT_SECRET", "IRONFLOW_JWT_KEYS"] {
        help.env(variable, &password);
    }
    let text = told(&help.output().expect("it runs"));
    assert!(
        text.contains("DATABASE_URL") && !text.contains(CANARY),
        "{text}"
    );
}
