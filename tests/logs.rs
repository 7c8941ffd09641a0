//! What the log tells of calls: events by name, each failure once, the trace of whoever called.

use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{PullRequest, SyncItem, SyncRequest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use uuid::Uuid;

use crate::support::program::{Program, program};
use crate::support::service::{SECRET, token};
use crate::support::{Device, TestDatabase, put};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A service in a process of its own that logs details.
struct Stage {
    service: Program,
    database: TestDatabase,
    client: SyncServiceClient<Channel>,
}

impl Stage {
    async fn set() -> Self {
        let database = TestDatabase::new().await;
        let mut command = program(&["--log", "ironflow_sync=debug", "--jwt-secret", SECRET]);
        command.args(["--database-url", &database.url()]);
        let service = Program::serve(command);
        let endpoint = Endpoint::from_shared(service.url()).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        Self {
            client: SyncServiceClient::new(channel),
            database,
            service,
        }
    }

    fn device(&self, name: &str) -> Device {
        Device::new(self.client.clone(), token("mia"), name)
    }

    /// A call with these values of `traceparent`.
    fn traced<T>(traces: &[&str], message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        let bearer = format!("Bearer {}", token("mia"));
        metadata.insert("authorization", bearer.parse().expect("ASCII"));
        for trace in traces {
            metadata.append("traceparent", trace.parse().expect("ASCII"));
        }
        request
    }

    /// Everything that was logged, as lines of JSON.
    fn lines(self) -> Vec<Value> {
        let (_, _, log) = self.service.stop();
        let lines = log.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }
}

fn named<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    let lines = lines.iter();
    lines
        .filter(|line| line["fields"]["message"] == event)
        .collect()
}

#[tokio::test]
async fn a_batch_is_an_attempt_its_conflicts_and_a_success() {
    let stage = Stage::set().await;
    let (mut phone, mut tablet) = (stage.device("phone"), stage.device("tablet"));
    let workout = Uuid::new_v4();
    phone
        .sync_one(put(workout, 0, &json!({"title": "a"})))
        .await;
    phone
        .sync_one(put(workout, 1, &json!({"title": "b"})))
        .await;
    let volume = Uuid::new_v4();
    let volume = |base, data| SyncItem {
        entity_type: "volume".to_owned(),
        ..put(volume, base, &data)
    };
    phone.sync_one(volume(0, json!({"chest": 8}))).await;
    phone.sync_one(volume(1, json!({"chest": 12}))).await;
    let items = vec![
        put(workout, 1, &json!({"title": "c"})),
        volume(1, json!({"chest": 9, "back": 6})),
        put(Uuid::new_v4(), 0, &json!({"title": "d"})),
    ];
    tablet.sync(items).await;

    let lines = stage.lines();
    assert_eq!(named(&lines, "sync_attempt").len(), 5);
    let successes = named(&lines, "sync_success");
    assert_eq!(successes.len(), 5);
    let span = &successes[4]["span"];
    let user = UserId::new("mia").expect("a user id");
    assert_eq!(span["scope"], Scope::of(&user).log_name().to_string());
    let device = DeviceId::new("tablet").expect("a device id");
    assert_eq!(span["device"], device.log_name().to_string());
    for (counted, count) in [
        ("items", 3),
        ("applied", 1),
        ("unchanged", 0),
        ("conflicts", 2),
        ("errors", 0),
    ] {
        assert_eq!(span[counted], count, "{counted} in {span}");
    }
    assert!(
        span["duration_ms"].is_u64() && span["trace_id"].is_null(),
        "{span}"
    );
    let conflicts = named(&lines, "sync_conflict");
    let told: Vec<&Value> = conflicts.iter().map(|line| &line["fields"]).collect();
    let digest: String = Sha256::digest(workout.to_string())[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let expected = json!({
        "message": "sync_conflict",
        "entity_type": "workout",
        "entity": digest,
        "client_version": 1,
        "server_version": 2,
        "resolution": "needs_user",
    });
    assert_eq!(*told[0], expected);
    assert_eq!(told[1]["entity_type"], "volume");
    assert_eq!(told[1]["resolution"], "merged");
    assert_eq!(told[1]["server_version"], 3);
    assert_eq!(told.len(), 2);
    assert_eq!(conflicts[0]["span"]["device"], span["device"]);
}

#[tokio::test]
async fn many_conflicts_of_a_batch_are_counted_and_not_all_told() {
    let stage = Stage::set().await;
    let (mut phone, mut tablet) = (stage.device("phone"), stage.device("tablet"));
    let ids: Vec<Uuid> = (0..30).map(|_| Uuid::new_v4()).collect();
    let batch = |base, title: &str| -> Vec<SyncItem> {
        let items = ids
            .iter()
            .map(|id| put(*id, base, &json!({"title": title})));
        items.collect()
    };
    phone.sync(batch(0, "a")).await;
    phone.sync(batch(1, "b")).await;
    tablet.sync(batch(1, "c")).await;
    let lines = stage.lines();
    assert_eq!(named(&lines, "sync_conflict").len(), 20);
    assert_eq!(named(&lines, "sync_success")[2]["span"]["conflicts"], 30);
}

#[tokio::test]
async fn a_call_is_told_by_the_trace_of_its_caller_if_there_is_one() {
    let stage = Stage::set().await;
    let mut client = stage.client.clone();
    let fine = format!("00-{TRACE}-b7ad6b7169203331-01");
    let request = || SyncRequest {
        device_id: "phone".to_owned(),
        ..SyncRequest::default()
    };
    let malformed = fine.replace("0af", "0AF");
    let twice = [fine.as_str(), &fine];
    for traces in [&[fine.as_str()][..], &[], &[malformed.as_str()], &twice] {
        let call = Stage::traced(traces, request());
        client.sync(call).await.expect("answered");
    }
    let page = PullRequest {
        device_id: "phone".to_owned(),
        ..PullRequest::default()
    };
    let call = Stage::traced(&[&fine], page);
    client.pull(call).await.expect("answered");
    let lines = stage.lines();
    let traces: Vec<&Value> = named(&lines, "sync_success")
        .into_iter()
        .map(|line| &line["span"]["trace_id"])
        .collect();
    assert_eq!(
        traces,
        [&json!(TRACE), &Value::Null, &Value::Null, &Value::Null]
    );
    assert_eq!(named(&lines, "page read")[0]["span"]["trace_id"], TRACE);
}

#[tokio::test]
async fn a_failure_is_told_once() {
    let stage = Stage::set().await;
    let sql = stage.database.client().await;
    let mut phone = stage.device("phone");
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let refuse = "alter table entities add constraint none check (version < 1) not valid; \
                  alter table scopes rename column inbox_revision to gone";
    sql.batch_execute(refuse).await.expect("prepared");
    let request = SyncRequest {
        items: vec![put(Uuid::new_v4(), 0, &json!({}))],
        ..phone.request()
    };
    let failed = phone.send(request).await.expect_err("fails");
    assert_eq!(failed.code(), Code::Internal);
    let failed = phone.pull(phone.page_after("")).await.expect_err("fails");
    assert_eq!(failed.code(), Code::Internal);
    let mut watch = phone.watch(phone.page_after("")).await.expect("begins");
    let failed = watch.message().await.expect_err("fails");
    assert_eq!(failed.code(), Code::Internal);
    let strange = SyncRequest {
        batch_number: 3,
        ..phone.request()
    };
    sql.batch_execute("insert into erasures values (sha256('user/mia'), now(), 1)")
        .await
        .expect("deleted");
    let refused = phone.send(strange).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let lines = stage.lines();
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let calls: Vec<&Value> = errors.iter().map(|line| &line["span"]["name"]).collect();
    assert_eq!(calls, ["sync", "pull", "watch"], "{errors:?}");
    assert_eq!(named(&lines, "refused").len(), 1);
    assert_eq!(named(&lines, "sync_success").len(), 1);
}
