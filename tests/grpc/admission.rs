//! Who is let in: rates and calls under way of a user, and of the process (section 8).

use std::collections::HashSet;
use std::future::ready;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, once, pending};
use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::{
    GetServerInfoRequest, GetStatusRequest, SyncItem, SyncRequest, SyncResponse,
};
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::limits::sized;
use super::{HeldScope, check_status, count, eventually, waiting_pushes};
use crate::metrics::told::{LISTEN, Told};
use crate::support::service::token;
use crate::support::{Device, TestDatabase, TestService, put, put_bytes};

const NOBODY_WAITS_LONGER: Duration = Duration::from_secs(5);

fn item() -> SyncItem {
    put(Uuid::new_v4(), 0, &json!({}))
}

async fn push(device: &mut Device, item: SyncItem) -> Result<(), Status> {
    let request = SyncRequest {
        items: vec![item],
        ..device.request()
    };
    let answers = device.send(request).await?.results;
    assert_eq!(answers[0].resolution(), Applied, "{answers:?}");
    Ok(())
}

/// A push under way until it is waited for.
fn begin_push(device: &Device) -> JoinHandle<Result<(), Status>> {
    let mut device = device.clone();
    tokio::spawn(async move { push(&mut device, item()).await })
}

/// Checks a refusal, and returns when the call is welcome again.
fn check_refused(refused: &Status, code: Code, reason: &str, subject: Option<&str>) -> Duration {
    check_status(reason, refused, code, reason);
    let quota = refused.get_details_quota_failure();
    let subjects = quota.map(|quota| {
        let violations = quota.violations.into_iter();
        violations.map(|v| v.subject).collect::<Vec<_>>()
    });
    assert_eq!(
        subjects,
        subject.map(|subject| vec![subject.to_owned()]),
        "{reason}"
    );
    let retry = refused.get_details_retry_info().expect("RetryInfo");
    let delay = retry.retry_delay.expect("a delay");
    assert!(delay <= NOBODY_WAITS_LONGER, "{delay:?}");
    delay
}

fn check_overloaded(refused: &Status) {
    check_refused(refused, Code::Unavailable, "OVERLOADED", None);
}

async fn entities(service: &TestService) -> i64 {
    let sql = service.database.client().await;
    count(&sql, "select count(*) from entities").await
}

#[tokio::test]
async fn calls_beyond_a_users_rate_are_refused_and_other_users_go_on() {
    // One in the long run: less than that would be none at all.
    let arguments = ["--user-calls-per-s", "1", "--user-calls-burst", "3"];
    let service = TestService::with(&arguments).await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let mut applied = 0;
    let refused = loop {
        // All devices of a user together, whatever connection they are on.
        let device = [&mut phone, &mut tablet][applied % 2].clone();
        match push(&mut device.clone(), item()).await {
            Ok(()) => applied += 1,
            Err(refused) => break refused,
        }
    };
    assert!(applied >= 3, "{applied}");
    let subject = Some("user.calls_per_s");
    let exhausted = Code::ResourceExhausted;
    let delay = check_refused(&refused, exhausted, "RATE_LIMITED", subject);
    assert!(delay > Duration::ZERO && delay <= Duration::from_millis(1_250));
    assert_eq!(entities(&service).await, applied as i64);
    let mut other = service.device("leo", "phone").await;
    push(&mut other, item()).await.expect("leo has his own");
    // When it said.
    tokio::time::sleep(delay).await;
    push(&mut phone, item()).await.expect("welcome again");
}

#[tokio::test]
async fn a_refused_call_is_answered_before_its_message_has_come() {
    let arguments = ["--user-calls-per-s", "1", "--user-calls-burst", "1"];
    let service = TestService::with(&arguments).await;
    let mut phone = service.device("mia", "phone").await;
    while push(&mut phone, item()).await.is_ok() {}
    let mut client = Grpc::new(service.channel().await);
    client.ready().await.expect("listens");
    let answer = sync(&mut client, authorized(pending(), "mia"));
    let answer = tokio::time::timeout(super::PATIENCE, answer).await;
    let refused = answer.expect("without the message").expect_err("refused");
    check_status(
        "no message",
        &refused,
        Code::ResourceExhausted,
        "RATE_LIMITED",
    );
}

#[tokio::test]
async fn a_user_has_so_many_calls_under_way_until_they_end_or_their_caller_vanishes() {
    let service = TestService::with(&["--user-calls-max", "2"]).await;
    let sql = service.database.client().await;
    let mut mia = service.device("mia", "phone").await;
    let mut leo = service.device("leo", "phone").await;
    push(&mut mia, item()).await.expect("mia has a scope");
    for vanish in [false, true] {
        let before = entities(&service).await;
        let held = HeldScope::of(&service, "mia").await;
        // Each on a connection of its own, which can vanish.
        let mut calls = Vec::new();
        for _ in 0..2 {
            calls.push(begin_push(&service.device("mia", "phone").await));
        }
        let mut refused = None;
        eventually("the third is one too many", async || {
            refused = mia.try_status().await.err();
            refused.is_some()
        })
        .await;
        let refused = refused.expect("just seen");
        let exhausted = Code::ResourceExhausted;
        check_refused(&refused, exhausted, "TOO_MANY_CALLS", Some("user.calls"));
        push(&mut leo, item()).await.expect("leo has his own");
        eventually("one has begun", async || waiting_pushes(&sql).await == 1).await;
        if vanish {
            for call in calls.drain(..) {
                call.abort();
            }
            eventually("there is room", async || mia.try_status().await.is_ok()).await;
        }
        held.release().await;
        let ended = calls.len() as i64;
        for call in calls {
            call.await.expect("no panic").expect("applied");
        }
        eventually("there is room", async || {
            push(&mut mia, item()).await.is_ok()
        })
        .await;
        eventually("nobody waits", async || waiting_pushes(&sql).await == 0).await;
        let written = entities(&service).await - before;
        // What had begun is done, though nobody hears of it; what had not is not.
        let begun = if vanish { 1 } else { ended };
        assert_eq!(written, begun + 2, "vanish: {vanish}");
    }
}

#[tokio::test]
async fn a_user_has_so_many_watches_until_they_are_dropped_or_their_device_vanishes() {
    let service = TestService::with(&["--user-watches-max", "2"]).await;
    let mut mia = service.device("mia", "phone").await;
    let mut gone = service.device("mia", "tablet").await;
    let request = mia.page_after("");
    let kept = mia.watch(request.clone()).await.expect("a stream");
    let dropped = gone.watch(request.clone()).await.expect("a stream");
    let refused = mia.watch(request.clone()).await.expect_err("a third");
    let exhausted = Code::ResourceExhausted;
    check_refused(
        &refused,
        exhausted,
        "TOO_MANY_STREAMS",
        Some("user.watches"),
    );
    push(&mut mia, item())
        .await
        .expect("calls are counted apart");
    let mut leo = service.device("leo", "phone").await;
    leo.watch(request.clone()).await.expect("leo has his own");
    drop(dropped);
    let mut again = None;
    eventually("a dropped stream is free", async || {
        again = mia.watch(request.clone()).await.ok();
        again.is_some()
    })
    .await;
    drop(again);
    let mut elsewhere = service.device("mia", "watch").await;
    let mut more = None;
    eventually("a dropped stream is free", async || {
        more = elsewhere.watch(request.clone()).await.ok();
        more.is_some()
    })
    .await;
    // The whole connection, at once.
    let vanishing = tokio::spawn(async move {
        let _ = (&elsewhere, more);
    });
    vanishing.await.expect("no panic");
    eventually("a vanished device's is free", async || {
        gone.watch(request.clone()).await.is_ok()
    })
    .await;
    drop(kept);
}

#[tokio::test]
async fn a_busy_process_sheds_calls_but_answers_what_it_is() {
    let service = TestService::with(&["--calls-max", "3"]).await;
    let mut mia = service.device("mia", "phone").await;
    let mut leo = service.device("leo", "phone").await;
    push(&mut mia, item()).await.expect("mia has a scope");
    let held = HeldScope::of(&service, "mia").await;
    let first = begin_push(&mia);
    let sql = service.database.client().await;
    eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
    // Of the two places left one is for others.
    let refused = mia.try_status().await.expect_err("one for others");
    check_overloaded(&refused);
    push(&mut leo, item()).await.expect("that one");
    assert!(mia.server_info().await.limits.is_some());
    let mut health = HealthClient::new(service.channel().await);
    let healthy = health.check(HealthCheckRequest::default()).await;
    assert_eq!(healthy.expect("an answer").into_inner().status, 1);
    held.release().await;
    first.await.expect("no panic").expect("applied");
    eventually("there is room", async || mia.try_status().await.is_ok()).await;
}

#[tokio::test]
async fn a_full_process_says_so_before_it_looks_at_a_token_or_a_message() {
    let service = TestService::with(&[&LISTEN[..], &["--calls-max", "1"]].concat()).await;
    let mut mia = service.device("mia", "phone").await;
    push(&mut mia, item()).await.expect("mia has a scope");
    let held = HeldScope::of(&service, "mia").await;
    let first = begin_push(&mia);
    let sql = service.database.client().await;
    eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
    let mut client = Grpc::new(service.channel().await);
    let mut delays = HashSet::new();
    for _ in 0..20 {
        client.ready().await.expect("listens");
        // Nobody's, and without an end.
        let answer = sync(&mut client, Request::new(pending()));
        let answer = tokio::time::timeout(super::PATIENCE, answer).await;
        let refused = answer.expect("without the message").expect_err("full");
        let unavailable = Code::Unavailable;
        delays.insert(check_refused(&refused, unavailable, "OVERLOADED", None));
    }
    assert!(delays.len() > 1, "they come back apart: {delays:?}");
    let told = Told::by(&service).await;
    let refused = told.value("ironflow_refusals_total{reason=\"OVERLOADED\"}");
    assert_eq!(refused, 20.0, "and are counted");
    let mut nobody = service.client().await;
    let question = nobody.get_server_info(GetServerInfoRequest {}).await;
    let refused = question.expect_err("looked at however busy it is");
    check_status("info", &refused, Code::Unauthenticated, "TOKEN_MISSING");
    held.release().await;
    first.await.expect("no panic").expect("applied");
    eventually("there is room", async || {
        let status = nobody.get_status(GetStatusRequest::default()).await;
        let refused = status.expect_err("nobody's");
        refused.code() == Code::Unauthenticated
    })
    .await;
}

#[tokio::test]
async fn who_waits_too_long_for_a_turn_is_told_to_come_back_and_nothing_is_written() {
    let database = TestDatabase::new().await;
    let store = database.store_with(1);
    let service = TestService::over(store, database, &["--call-wait-ms", "50"]).await;
    let mut mia = service.device("mia", "phone").await;
    let mut leo = service.device("leo", "phone").await;
    push(&mut mia, item()).await.expect("mia has a scope");
    let page = leo.page_after("");
    let seen = leo.pull(page.clone()).await.expect("a place");
    let held = HeldScope::of(&service, "mia").await;
    let first = begin_push(&mia);
    let sql = service.database.client().await;
    eventually("it waits", async || waiting_pushes(&sql).await == 1).await;
    check_overloaded(&push(&mut leo, item()).await.expect_err("no place"));
    check_overloaded(&leo.pull(page.clone()).await.expect_err("no place"));
    // Nor is it asked whether there is anything new.
    let seen = leo.page_after(&seen.cursor);
    check_overloaded(&leo.pull(seen).await.expect_err("no place"));
    held.release().await;
    first.await.expect("no panic").expect("applied");
    assert_eq!(entities(&service).await, 2);
    push(&mut leo, item()).await.expect("a place");
    leo.pull(page).await.expect("a place");
}

#[tokio::test]
async fn messages_under_way_have_so_many_bytes_together_and_packed_ones_count_unpacked() {
    const ROOM: usize = 600_000;
    let service = TestService::with(&[
        "--received-bytes-max",
        &ROOM.to_string(),
        "--message-bytes-max",
        &(ROOM * 2).to_string(),
    ])
    .await;
    let mut phone = service.device("mia", "phone").await;
    let large = |bytes: usize| {
        let mut items = vec![];
        for _ in 0..bytes / 100_000 {
            items.push(put_bytes(Uuid::new_v4(), 0, sized(100_000)));
        }
        items
    };
    let send = async |device: &mut Device, bytes: usize| {
        let request = SyncRequest {
            items: large(bytes),
            ..device.request()
        };
        device.send(request).await
    };
    check_overloaded(&send(&mut phone, 700_000).await.expect_err("too much"));
    send(&mut phone, 500_000).await.expect("room");
    let client = service.client().await;
    let client = client.send_compressed(CompressionEncoding::Zstd);
    let mut packing = Device::new(client, token("mia"), "tablet");
    // 100 bytes that may become more than there is room for.
    check_overloaded(&send(&mut packing, 0).await.expect_err("may be too much"));
    // A message that never ends keeps its room until its call is over.
    let channel = service.channel().await;
    let begin_stalled = || {
        let mut client = Grpc::new(channel.clone());
        let first = SyncRequest {
            items: large(500_000),
            ..SyncRequest::default()
        };
        let message = once(ready(first)).chain(pending());
        let call = authorized(message, "leo");
        tokio::spawn(async move {
            client.ready().await.expect("listens");
            sync(&mut client, call).await
        })
    };
    let mut stalled = begin_stalled();
    eventually("no room", async || {
        if stalled.is_finished() {
            // It came while this test had taken the room.
            stalled = begin_stalled();
            return false;
        }
        send(&mut phone, 500_000).await.is_err()
    })
    .await;
    stalled.abort();
    eventually("room again", async || {
        send(&mut phone, 500_000).await.is_ok()
    })
    .await;
}

fn authorized<T>(message: T, user: &str) -> Request<T> {
    let mut call = Request::new(message);
    let bearer = format!("Bearer {}", token(user)).parse().expect("ASCII");
    call.metadata_mut().insert("authorization", bearer);
    call
}

/// Sends a message that may never end.
async fn sync(
    client: &mut Grpc<Channel>,
    call: Request<impl Stream<Item = SyncRequest> + Send + 'static>,
) -> Result<Response<SyncResponse>, Status> {
    let path = "/ironflow.sync.v1.SyncService/Sync"
        .parse()
        .expect("a path");
    let codec = ProstCodec::<SyncRequest, SyncResponse>::default();
    client.client_streaming(call, path, codec).await
}
