//! Subscriptions: who needs one, who says that there is one, and what stays possible without.

use std::time::Duration;

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::{Scope, UserId};
use ironflow_sync::domain::standing::Subscription;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{
    Choice, ConflictState, Entity, ListDeletedRequest, ListVersionsRequest, PullRequest,
    ResolveConflictRequest, RestoreVersionRequest, SubscriptionStatus, SyncItem, SyncRequest,
    WatchResponse, restore_version_request,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::revocation::operator;
use super::{PATIENCE, check_field, check_status, now_ms};
use crate::support::database::contents;
use crate::support::service::{QUIET, SECRET};
use crate::support::{Device, TestService, delete, put};

const UPGRADE_URL: &str = "https://gym.example/upgrade?from=app";
const PREMIUM: Subscription = Subscription::Premium { until: None };

/// A service whose subscriptions are said by this.
async fn service(mode: &str) -> TestService {
    let own = ["--subscription", mode, "--upgrade-url", UPGRADE_URL];
    TestService::with(&[&QUIET[..], &own].concat()).await
}

fn until(at_ms: i64) -> Subscription {
    let until = Some(Millis(at_ms));
    Subscription::Premium { until }
}

/// Says what a user has paid for.
async fn set(service: &TestService, user: &str, paid: Subscription) {
    let scope = Scope::of(&UserId::new(user).expect("an id"));
    let store = service.database.store();
    let set = store.set_account(&scope, paid, Millis(now_ms())).await;
    set.expect("set");
}

/// A device whose token has these claims, too.
async fn claiming(service: &TestService, id: &str, more: &Value) -> Device {
    let mut claims = json!({"sub": "mia", "exp": now_ms() / 1000 + 3600});
    for (name, value) in more.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signs");
    Device::new(service.client().await, token, id)
}

/// That a call was refused, with what an app needs for its prompt.
fn check_required<T: std::fmt::Debug>(name: &str, called: Result<T, Status>, expired: Option<i64>) {
    let refused = called.expect_err(name);
    check_status(
        name,
        &refused,
        Code::PermissionDenied,
        "SUBSCRIPTION_REQUIRED",
    );
    let metadata = refused.get_details_error_info().expect("info").metadata;
    let said = |key: &str| metadata.get(key).map(String::as_str);
    assert_eq!(said("plan"), Some("free"), "{name}");
    let expired = expired.map(|at| at.to_string());
    assert_eq!(said("expired_at"), expired.as_deref(), "{name}");
    assert_eq!(said("upgrade_url"), Some(UPGRADE_URL), "{name}");
    let help = refused.get_details_help().expect("a link");
    assert_eq!(help.links[0].url, UPGRADE_URL, "{name}");
}

/// How a stream ends, whatever it sends before.
async fn end(stream: &mut Streaming<WatchResponse>) -> Result<Option<WatchResponse>, Status> {
    let ended = timeout(PATIENCE, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => (),
                end => return end,
            }
        }
    });
    ended.await.expect("an end in time")
}

async fn caught_up(device: &mut Device) -> Streaming<WatchResponse> {
    let request = device.page_after("");
    let mut stream = device.watch(request).await.expect("a stream");
    loop {
        let message = timeout(PATIENCE, stream.message()).await.expect("in time");
        let event = message.expect("goes on").expect("no end").event;
        if matches!(event, Some(Event::CaughtUp(_))) {
            return stream;
        }
    }
}

fn export() -> PullRequest {
    PullRequest {
        device_id: "export".to_owned(),
        export: true,
        page_size: 1,
        ..PullRequest::default()
    }
}

/// What a user left behind whose subscription is over: a workout with two versions and an open conflict, a
/// deleted one, and something on-demand, written by two devices.
async fn left_behind(service: &TestService) -> (Device, Uuid, SyncItem) {
    set(service, "mia", PREMIUM).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let (id, gone) = (Uuid::new_v4(), Uuid::new_v4());
    let on_demand = SyncItem {
        entity_type: "metric_sample_set".to_owned(),
        ..put(Uuid::new_v4(), 0, &json!({"sensor": "heart"}))
    };
    let first = [
        put(id, 0, &json!({"n": 1})),
        put(gone, 0, &json!({})),
        on_demand.clone(),
    ];
    phone.sync(first.to_vec()).await;
    phone.sync(vec![delete(gone, 1)]).await;
    tablet.sync_one(put(id, 1, &json!({"n": 2}))).await;
    phone.sync_one(put(id, 1, &json!({"n": 3}))).await;
    (phone, id, on_demand)
}

#[tokio::test]
async fn without_a_subscription_syncing_is_refused_and_nobodys_data_is_held_hostage() {
    let service = service("accounts").await;
    let sql = service.database.client().await;
    let (mut phone, id, on_demand) = left_behind(&service).await;
    for (paid, expired) in [(Subscription::Free, None), (until(1_000), Some(1_000))] {
        set(&service, "mia", paid).await;
        let before = contents(&sql).await;
        let push = SyncRequest {
            items: vec![put(id, 2, &json!({"n": 4}))],
            ..phone.request()
        };
        let rehearsal = SyncRequest {
            validate_only: true,
            ..push.clone()
        };
        check_required("a push", phone.send(push).await, expired);
        check_required("a rehearsal", phone.send(rehearsal).await, expired);
        check_required("a pull", phone.pull(phone.page_after("")).await, expired);
        let mut stream = phone.watch(phone.page_after("")).await.expect("a stream");
        check_required("a watch", end(&mut stream).await, expired);

        let open = phone.conflicts(ConflictState::Open).await.remove(0);
        phone.conflict(&open.conflict_id).await.expect("told");
        let choice = ResolveConflictRequest {
            device_id: "phone".to_owned(),
            conflict_id: open.conflict_id,
            choice: Choice::KeepClient.into(),
            expected_version: 2,
            ..ResolveConflictRequest::default()
        };
        check_required("a decision", phone.resolve(choice).await, expired);
        let versions = ListVersionsRequest {
            entity_type: "workout".to_owned(),
            entity_id: id.to_string(),
            ..ListVersionsRequest::default()
        };
        let listed = phone.list_versions(versions).await.expect("told");
        assert!(listed.entries.len() > 2);
        let wish = RestoreVersionRequest {
            entity_type: "workout".to_owned(),
            entity_id: id.to_string(),
            source: Some(restore_version_request::Source::Version(1)),
            expected_version: 2,
            ..RestoreVersionRequest::default()
        };
        check_required("a wish", phone.restore(wish).await, expired);
        let bin = phone.list_deleted(ListDeletedRequest::default()).await;
        assert_eq!(bin.expect("told").entities.len(), 1);
        phone.server_info().await;
        let status = phone.status().await;
        let said = (
            status.subscription_status(),
            status.subscription_expiry_time,
        );
        let expected = match expired {
            Some(at) => (SubscriptionStatus::Expired, at),
            None => (SubscriptionStatus::None, 0),
        };
        assert_eq!(said, expected);
        assert_eq!(contents(&sql).await, before, "nothing was written");

        let (entities, _) = phone.pull_all(export()).await;
        let mut exported: Vec<&str> = entities.iter().map(|e| e.entity_id.as_str()).collect();
        let mut expected = [id.to_string(), on_demand.entity_id.clone()];
        exported.sort_unstable();
        expected.sort_unstable();
        assert_eq!(exported, expected, "everything, without a tombstone");
    }
    phone.revoke("tablet").await.expect("also without");
}

#[tokio::test]
async fn an_export_has_what_a_pull_leaves_out_and_is_no_sync() {
    let service = service("off").await;
    let (mut phone, id, on_demand) = left_behind(&service).await;
    let of = |entities: &[Entity], id: &str| entities.iter().any(|entity| entity.entity_id == id);
    let request = PullRequest {
        device_id: "phone".to_owned(),
        ..export()
    };
    let first = phone.pull(request.clone()).await.expect("a page");
    assert!(first.has_more);
    let late = Uuid::new_v4();
    phone.sync_one(put(late, 0, &json!({}))).await;
    let behind = PullRequest {
        cursor: first.cursor.clone(),
        ..request.clone()
    };
    let (rest, _) = phone.pull_all(behind).await;
    assert!(of(&rest, &late.to_string()), "its own, behind a cursor");
    let (pulled, _) = phone.pull_all(phone.page_after("")).await;
    assert!(of(&pulled, &id.to_string()) && !of(&pulled, &on_demand.entity_id));
    let samples = PullRequest {
        entity_types: vec!["metric_sample_set".to_owned()],
        ..request.clone()
    };
    let (samples, _) = phone.pull_all(samples).await;
    assert_eq!(samples.len(), 1, "of one type");

    let other = phone.pull(phone.page_after(&first.cursor)).await;
    check_field("as a sync", &other.expect_err("an export's"), "cursor");
    let synced = phone.pull(phone.page_after("")).await.expect("a page");
    let other = PullRequest {
        cursor: synced.cursor,
        ..request
    };
    let other = phone.pull(other).await.expect_err("a sync's");
    check_field("as an export", &other, "cursor");

    let mut laptop = service.device("mia", "laptop").await;
    let before = laptop.status().await.waiting_changes;
    let request = PullRequest {
        device_id: "laptop".to_owned(),
        ..export()
    };
    laptop.pull_all(request).await;
    let sql = service.database.client().await;
    super::eventually("the laptop is known", async || {
        super::count(
            &sql,
            "select count(*) from devices where device_id = 'laptop'",
        )
        .await
            == 1
    })
    .await;
    assert!(before > 0);
    assert_eq!(laptop.status().await.waiting_changes, before);
}

#[tokio::test]
async fn who_says_that_there_is_a_subscription_is_set() {
    use SubscriptionStatus::{Active, Expired, None as Missing, NotRequired};
    let hour = now_ms() / 1000 + 3600;
    let paid = json!({"subscription": "premium"});
    let for_an_hour = json!({"subscription": "premium", "subscription_expires": hour});
    let lapsed = json!({"subscription": "premium", "subscription_expires": 7});
    for (mode, claims, account, status, expiry) in [
        ("off", json!({}), Subscription::Free, NotRequired, 0),
        ("off", lapsed.clone(), until(1_000), NotRequired, 0),
        ("claim", paid.clone(), Subscription::Free, Active, 0),
        (
            "claim",
            for_an_hour,
            Subscription::Free,
            Active,
            hour * 1000,
        ),
        ("claim", lapsed, PREMIUM, Expired, 7_000),
        (
            "claim",
            json!({"subscription": "basic"}),
            PREMIUM,
            Missing,
            0,
        ),
        ("claim", json!({}), PREMIUM, Missing, 0),
        ("accounts", json!({}), PREMIUM, Active, 0),
        (
            "accounts",
            json!({}),
            until(hour * 1000),
            Active,
            hour * 1000,
        ),
        ("accounts", paid.clone(), until(1_000), Expired, 1_000),
        ("accounts", paid, Subscription::Free, Missing, 0),
    ] {
        let name = format!("{mode}, {claims}, {account:?}");
        let service = service(mode).await;
        set(&service, "mia", account).await;
        let mut phone = claiming(&service, "phone", &claims).await;
        let told = phone.status().await;
        let said = (told.subscription_status(), told.subscription_expiry_time);
        assert_eq!(said, (status, expiry), "{name}");
        let is_fine = matches!(status, NotRequired | Active);
        let expired = (status == Expired).then_some(expiry);
        let pulled = phone.pull(phone.page_after("")).await;
        let pushed = phone.send(phone.request()).await;
        let mut stream = phone.watch(phone.page_after("")).await.expect("a stream");
        let watched = timeout(PATIENCE, stream.message()).await.expect("in time");
        if is_fine {
            assert!(
                pulled.is_ok() && pushed.is_ok() && watched.is_ok(),
                "{name}"
            );
        } else {
            check_required(&name, pulled, expired);
            check_required(&name, pushed, expired);
            check_required(&name, watched, expired);
        }
    }
}

#[tokio::test]
async fn one_users_subscription_is_not_anothers() {
    let service = service("accounts").await;
    set(&service, "mia", PREMIUM).await;
    let mut mia = service.device("mia", "phone").await;
    let mut ben = service.device("ben", "phone").await;
    mia.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    check_required("his", ben.send(ben.request()).await, None);
    set(&service, "ben", PREMIUM).await;
    set(&service, "mia", Subscription::Free).await;
    ben.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    check_required("hers", mia.send(mia.request()).await, None);
}

#[tokio::test]
async fn without_an_address_the_refusal_names_none() {
    let arguments = [&QUIET[..], &["--subscription", "accounts"]].concat();
    let service = TestService::with(&arguments).await;
    let mut phone = service.device("mia", "phone").await;
    let refused = phone.send(phone.request()).await.expect_err("no account");
    let info = refused.get_details_error_info().expect("info");
    assert!(!info.metadata.contains_key("upgrade_url"));
    assert!(refused.get_details_help().is_none());
}

/// How soon a subscription ends that a test waits for.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_running_watch_ends_with_its_subscription_and_not_if_that_was_renewed() {
    let by_account = service("accounts").await;
    let mut streams = Vec::new();
    for user in ["mia", "ben"] {
        set(&by_account, user, PREMIUM).await;
        let mut phone = by_account.device(user, "phone").await;
        let mut laptop = by_account.device(user, "laptop").await;
        laptop.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
        streams.push(caught_up(&mut phone).await);
    }
    let soon = now_ms() + SOON.as_millis() as i64;
    for user in ["mia", "ben"] {
        set(&by_account, user, until(soon)).await;
        // Nothing told this instance of it. This makes every watch of the user look again.
        let mut laptop = by_account.device(user, "laptop").await;
        laptop.revoke("laptop").await.expect("revoked");
    }
    // Nothing tells of this either: the watch looks again when the subscription ends that it knows.
    set(&by_account, "ben", PREMIUM).await;
    let [ends, goes_on] = streams.as_mut_slice() else {
        panic!("two streams")
    };
    check_required("by the account", end(ends).await, Some(soon));
    assert!(now_ms() >= soon, "not before");
    let mut tablet = by_account.device("ben", "tablet").await;
    tablet.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    let event = timeout(PATIENCE, goes_on.message()).await.expect("in time");
    assert!(event.expect("goes on").is_some());

    let by_token = service("claim").await;
    let soon_s = now_ms() / 1000 + SOON.as_secs() as i64;
    let claims = json!({"subscription": "premium", "subscription_expires": soon_s});
    let mut phone = claiming(&by_token, "phone", &claims).await;
    let mut stream = phone.watch(phone.page_after("")).await.expect("a stream");
    check_required("by the token", end(&mut stream).await, Some(soon_s * 1000));
    assert!(now_ms() >= soon_s * 1000, "not before");
}

#[tokio::test]
async fn an_operator_says_what_is_paid_for_while_the_service_runs() {
    let arguments = [
        "--notify",
        "false",
        "--poll-interval-ms",
        "50",
        "--subscription",
        "accounts",
        "--upgrade-url",
        UPGRADE_URL,
    ];
    let service = TestService::with(&arguments).await;
    let account = async |arguments: &[&str]| {
        let arguments = [&["account"], arguments].concat();
        operator(&service, &arguments).await
    };
    let show = ["show", "--user", "mia"];
    assert_eq!(account(&show).await.expect("shows"), "free\n");
    let said = account(&["set", "--user", "mia", "--plan", "premium"]).await;
    assert_eq!(said.expect("sets"), "premium\n");
    let mut phone = service.device("mia", "phone").await;
    let mut stream = caught_up(&mut phone).await;
    let said = account(&["set", "--user", "mia", "--plan", "free"]).await;
    assert_eq!(said.expect("sets"), "free\n");
    check_required("a running watch", end(&mut stream).await, None);
    let dated = [
        "set",
        "--user",
        "mia",
        "--plan",
        "premium",
        "--until",
        "2099-01-01",
    ];
    let said = account(&dated).await.expect("sets");
    assert_eq!(said, "premium until 2099-01-01T00:00:00Z\n");
    assert_eq!(account(&show).await.expect("shows"), said);
    phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;

    for (wrong, named) in [
        (&["set", "--user", "mia", "--plan", "gold"][..], "premium"),
        (&["set", "--user", "", "--plan", "free"], "1-256 bytes"),
        (
            &[
                "set", "--user", "mia", "--plan", "premium", "--until", "soon",
            ],
            "2027-01-31",
        ),
        (
            &[
                "set",
                "--user",
                "mia",
                "--plan",
                "free",
                "--until",
                "2099-01-01",
            ],
            "--plan premium",
        ),
        (&["show"], "--user"),
    ] {
        let said = account(wrong).await.expect_err("refused");
        assert!(said.contains(named), "{wrong:?}: {said}");
    }
    assert_eq!(
        account(&show).await.expect("shows"),
        "premium until 2099-01-01T00:00:00Z\n"
    );
}
