//! Revoking a device, by its user or the operator: its calls are refused, its streams end, and nobody
//! else's do.

use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, ConflictState, DeviceStatus, ListVersionsRequest, PullRequest, ResolveConflictRequest,
    RestoreVersionRequest, SyncRequest, WatchResponse, restore_version_request,
};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::{HeldScope, PATIENCE, check_field, check_status, eventually, versions, waiting_pushes};
use crate::support::database::contents;
use crate::support::service::{QUIET, SECRET};
use crate::support::{Device, TestService, put};

/// No instance asks the store by itself: only signals wake.
const SIGNALS_ONLY: [&str; 4] = [
    "--poll-interval-ms",
    "3600000",
    "--heartbeat-interval-ms",
    "3600000",
];

/// No instance tells another anything: only asking wakes.
const POLL_ONLY: [&str; 6] = [
    "--notify",
    "false",
    "--poll-interval-ms",
    "50",
    "--heartbeat-interval-ms",
    "3600000",
];

fn check_revoked<T: std::fmt::Debug>(name: &str, called: Result<T, Status>) {
    let refused = called.expect_err(name);
    check_status(name, &refused, Code::PermissionDenied, "DEVICE_REVOKED");
}

/// A watch that has caught up.
async fn caught_up(device: &mut Device) -> Streaming<WatchResponse> {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
    while !matches!(next(&mut stream).await, Event::CaughtUp(_)) {}
    stream
}

async fn next(stream: &mut Streaming<WatchResponse>) -> Event {
    let message = timeout(PATIENCE, stream.message()).await.expect("in time");
    let message = message.expect("goes on").expect("no end");
    message.event.expect("an event")
}

/// How a stream ends that has nothing more to say.
async fn end(stream: &mut Streaming<WatchResponse>) -> Result<Option<WatchResponse>, Status> {
    timeout(PATIENCE, stream.message())
        .await
        .expect("an end in time")
}

/// Runs the program on the service's database; what it prints, if it succeeds.
pub async fn operator(service: &TestService, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_ironflow-sync"))
        .args(arguments)
        .args(["--database-url", &service.database.url()])
        .args(["--jwt-secret", SECRET, "--log", "warn"])
        .output()
        .await
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

async fn known(device: &mut Device, id: &str) -> DeviceStatus {
    let status = device.status().await;
    let mut devices = status.devices.into_iter();
    let known = devices.find(|known| known.device_id == id);
    known.unwrap_or_else(|| panic!("{id} is not listed"))
}

#[tokio::test]
async fn every_call_of_a_revoked_device_is_refused_and_writes_nothing() {
    let service = TestService::with(&QUIET).await;
    let sql = service.database.client().await;
    let id = Uuid::new_v4();
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    phone.sync_one(put(id, 0, &json!({"of": "phone"}))).await;
    tablet.sync_one(put(id, 1, &json!({"of": "tablet"}))).await;
    phone
        .sync_one(put(id, 1, &json!({"of": "phone, late"})))
        .await;
    let open = tablet.conflicts(ConflictState::Open).await.remove(0);
    let revoked = tablet.revoke("phone").await.expect("revoked");
    let before = contents(&sql).await;

    let push = SyncRequest {
        items: vec![put(id, 2, &json!({}))],
        ..phone.request()
    };
    let rehearsal = SyncRequest {
        validate_only: true,
        ..push.clone()
    };
    check_revoked("a push", phone.send(push).await);
    check_revoked("a rehearsal", phone.send(rehearsal).await);
    check_revoked("an empty push", phone.send(phone.request()).await);
    check_revoked("a pull", phone.pull(phone.page_after("")).await);
    let own = PullRequest {
        include_own: true,
        ..phone.page_after("")
    };
    check_revoked("a pull of its own", phone.pull(own).await);
    let mut stream = phone.watch(phone.page_after("")).await.expect("a stream");
    check_revoked("a watch", end(&mut stream).await);
    check_revoked("a status", phone.try_status().await);
    let choice = ResolveConflictRequest {
        device_id: "phone".to_owned(),
        conflict_id: open.conflict_id,
        choice: Choice::KeepClient.into(),
        expected_version: 2,
        ..ResolveConflictRequest::default()
    };
    check_revoked("a decision", phone.resolve(choice).await);
    let wish = RestoreVersionRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        source: Some(restore_version_request::Source::Version(1)),
        expected_version: 2,
        ..RestoreVersionRequest::default()
    };
    check_revoked("a wish", phone.restore(wish).await);
    assert_eq!(contents(&sql).await, before, "nothing was written");

    // What it has written stays, and is said to be its.
    let versions = ListVersionsRequest {
        entity_type: "workout".to_owned(),
        entity_id: id.to_string(),
        ..ListVersionsRequest::default()
    };
    let page = tablet.list_versions(versions).await.expect("a page");
    assert!(page.entries.iter().any(|entry| entry.device_id == "phone"));
    assert_eq!(known(&mut tablet, "phone").await.revoked_time, revoked);
    assert_eq!(known(&mut tablet, "tablet").await.revoked_time, 0);
}

#[tokio::test]
async fn a_revocation_again_is_answered_alike_and_of_nobody_is_refused() {
    let service = TestService::with(&QUIET).await;
    let mut phone = service.device("mia", "phone").await;
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let unknown = phone.revoke("phone-2").await.expect_err("no such device");
    check_field("unknown", &unknown, "device_id");
    for bad in ["", "x\0y", &"x".repeat(129)] {
        let refused = phone.revoke(bad).await.expect_err("no device id");
        check_field(bad, &refused, "device_id");
    }
    let first = phone.revoke("phone").await.expect("itself");
    assert_eq!(phone.revoke("phone").await.expect("again"), first);
}

#[tokio::test]
async fn the_same_device_id_under_two_users_is_revoked_for_one_of_them() {
    let service = TestService::with(&SIGNALS_ONLY).await;
    let mut mia = service.device("mia", "phone").await.called("Mia's");
    let mut ben = service.device("ben", "phone").await.called("Ben's");
    for device in [&mut mia, &mut ben] {
        device.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    }
    let mut his = caught_up(&mut ben).await;
    mia.revoke("phone").await.expect("revoked");
    check_revoked("hers", mia.pull(mia.page_after("")).await);
    let of_hers = ben.revoke("tablet").await.expect_err("not his");
    check_field("unknown", &of_hers, "device_id");
    ben.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let status = known(&mut ben, "phone").await;
    assert_eq!((status.label.as_str(), status.revoked_time), ("Ben's", 0));
    let mut tablet = service.device("ben", "tablet").await;
    tablet.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert!(matches!(next(&mut his).await, Event::Changes(_)));
    let mut hers = service.device("mia", "tablet").await;
    let status = known(&mut hers, "phone").await;
    assert_eq!(status.label, "Mia's");
    assert!(status.revoked_time > 0);
}

#[tokio::test]
async fn the_streams_of_a_revoked_device_end_on_every_instance_and_no_others() {
    for (name, arguments) in [("signals", &SIGNALS_ONLY[..]), ("poll", &POLL_ONLY[..])] {
        let here = TestService::with(arguments).await;
        let there = here.beside(arguments).await;
        let mut streams = Vec::new();
        for instance in [&here, &there] {
            let mut phone = instance.device("mia", "phone").await;
            phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
            streams.push(caught_up(&mut phone).await);
        }
        let mut tablet = there.device("mia", "tablet").await;
        let mut others = caught_up(&mut tablet).await;
        let mut laptop = here.device("mia", "laptop").await;
        laptop.revoke("phone").await.expect("revoked");
        for stream in &mut streams {
            check_revoked(name, end(stream).await);
        }
        laptop.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
        let event = next(&mut others).await;
        assert!(matches!(event, Event::Changes(_)), "{name}: {event:?}");
    }
}

#[tokio::test]
async fn an_operator_lists_revokes_and_allows_devices_while_the_service_runs() {
    let service = TestService::with(&POLL_ONLY).await;
    let mut phone = service.device("mia", "phone").await.called("Mia's phone");
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let mut stream = caught_up(&mut phone).await;
    let list = ["device", "list", "--user", "mia"];
    let listed = operator(&service, &list).await.expect("lists");
    assert!(
        listed.starts_with("phone, Mia\\'s phone, seen 20"),
        "{listed}"
    );
    let revoke = ["device", "revoke", "--user", "mia", "--device", "phone"];
    let said = operator(&service, &revoke).await.expect("revokes");
    assert!(said.starts_with("Revoked since 20"), "{said}");
    check_revoked("its stream", end(&mut stream).await);
    check_revoked("its push", phone.send(phone.request()).await);
    let listed = operator(&service, &list).await.expect("lists");
    assert!(listed.contains(", revoked 20"), "{listed}");
    let allow = ["device", "allow", "--user", "mia", "--device", "phone"];
    let said = operator(&service, &allow).await.expect("allows");
    assert_eq!(said, "Allowed.\n");
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    caught_up(&mut phone).await;

    for (user, device, named) in [
        ("ben", "phone", "a device of this user"),
        ("mia", "phone-2", "a device of this user"),
        ("mia", "", "1-128 bytes"),
        ("", "phone", "1-256 bytes"),
    ] {
        for verb in ["revoke", "allow"] {
            let wrong = ["device", verb, "--user", user, "--device", device];
            let said = operator(&service, &wrong).await.expect_err("refused");
            assert!(said.contains(named), "{verb} {user} {device}: {said}");
        }
    }
    let nobodys = ["device", "list", "--user", "ben"];
    let listed = operator(&service, &nobodys).await.expect("lists");
    assert_eq!(listed, "No devices.\n");
}

/// The push is on its way when the device is revoked, and gets the lock behind the revocation.
#[tokio::test]
async fn a_push_that_waits_behind_the_revocation_of_its_device_writes_nothing() {
    let service = TestService::with(&QUIET).await;
    let beside = service.beside(&QUIET).await;
    let sql = service.database.client().await;
    let id = Uuid::new_v4();
    let mut phone = beside.device("mia", "phone").await;
    phone.sync_one(put(id, 0, &json!({}))).await;
    let mut tablet = service.device("mia", "tablet").await;
    let held = HeldScope::of(&service, "mia").await;
    let revoking = tokio::spawn(async move { tablet.revoke("phone").await });
    eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
    let pushing = tokio::spawn(async move {
        let request = SyncRequest {
            items: vec![put(id, 1, &json!({"too": "late"}))],
            ..phone.request()
        };
        phone.send(request).await
    });
    eventually("both wait", async || waiting_pushes(&sql).await == 2).await;
    held.release().await;
    revoking.await.expect("ended").expect("revoked");
    check_revoked("the push", pushing.await.expect("ended"));
    assert_eq!(versions(&sql, id).await.len(), 1);
}
