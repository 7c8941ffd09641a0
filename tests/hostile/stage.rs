//! Who is there while the corpus runs, and the names that recipes refer to.
//!
//! `nora` has data full of canaries and does nothing; `otto` goes on working. Each entry has a user of its
//! own. A user who is prepared has: `entity` (a workout at version 2), `deleted` (one whose tombstone is
//! version 2), `conflict` (open, about `entity`), `losing_side` (its device's side), `mutation` (what wrote
//! version 2 of `entity`), `cursor`, and `cursor_of_workouts` (for that type alone), all with `own_`
//! before it; nora's have `neighbour_`.

use std::time::{Duration, SystemTime};

use ironflow_sync::auth::{Rules, Secret};
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::UserId;
use ironflow_sync::grpc::proto::Resolution;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::{PullRequest, SyncItem};
use serde_json::json;
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::value::Names;
use crate::support::service::{token, token_expiring};
use crate::support::{Device, delete, put};

/// In everything nora has. No answer to anybody else holds it.
pub const CANARY: &str = "nora-7c1f93";

/// The user whose data nobody else may see.
pub fn neighbour() -> String {
    format!("{CANARY}-user")
}

/// A device of a user.
pub async fn device(address: std::net::SocketAddr, user: &str, device: &str) -> Device {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("the service listens");
    Device::new(SyncServiceClient::new(channel), token(user), device)
}

/// The names that concern no data.
pub fn names(user: &str) -> Names {
    let mut names = Names::default();
    names.set("user", user);
    names.set("neighbour_user", neighbour());
    names.set("token", token(user));
    let past = SystemTime::now() - Duration::from_secs(3_600);
    names.set("expired_token", token_expiring(user, past));
    let other = Secret::new("another secret, of as many bytes").expect("long enough");
    let user = UserId::new(user).expect("a user id");
    let forged = other.sign(&Rules::default(), &user, Millis(i64::MAX / 1_000));
    names.set("forged_token", forged.expect("signs"));
    names
}

/// Gives a user data, and names it. `word` is in all of it.
pub async fn prepare(
    names: &mut Names,
    prefix: &str,
    address: std::net::SocketAddr,
    user: &str,
    word: &str,
) {
    let mut phone = device(address, user, &format!("{word}-phone"))
        .await
        .called(word);
    let mut tablet = device(address, user, &format!("{word}-tablet")).await;
    let (entity, deleted) = (Uuid::new_v4(), Uuid::new_v4());
    let data = |n: i32| json!({"title": word, "n": n, word: [n]});
    let applied = async |device: &mut Device, item: SyncItem| {
        let answer = device.sync_one(item).await;
        assert_eq!(answer.resolution(), Resolution::Applied, "{answer:?}");
    };
    applied(&mut phone, put(entity, 0, &data(1))).await;
    let second = put(entity, 1, &data(2));
    names.set(&format!("{prefix}_mutation"), second.mutation_id.clone());
    applied(&mut phone, second).await;
    applied(&mut phone, put(deleted, 0, &data(3))).await;
    applied(&mut phone, delete(deleted, 1)).await;
    let stale = put(entity, 1, &data(4));
    let losing_side = stale.mutation_id.clone();
    let asked = tablet.sync_one(stale).await;
    assert_eq!(asked.resolution(), Resolution::NeedsUser, "{asked:?}");
    let conflict = asked.conflict.expect("a conflict").conflict_id;
    let (_, cursor) = phone.pull_all(phone.page_after("")).await;
    let of_workouts = PullRequest {
        entity_types: vec!["workout".to_owned()],
        ..phone.page_after("")
    };
    let (_, cursor_of_workouts) = phone.pull_all(of_workouts).await;
    for (name, value) in [
        ("entity", entity.to_string()),
        ("deleted", deleted.to_string()),
        ("conflict", conflict),
        ("losing_side", losing_side),
        ("cursor", cursor),
        ("cursor_of_workouts", cursor_of_workouts),
    ] {
        names.set(&format!("{prefix}_{name}"), value);
    }
}
