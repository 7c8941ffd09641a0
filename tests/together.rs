//! Batches that wait for one turn, or for one place at the database: whoever has it settles them in one transaction,
//! and each gets its own answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use ironflow_sync::domain::answer::{Answer, Verdict};
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::item::{ItemRules, RawItem, Sender, Submission};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::standing::Gate;
use ironflow_sync::error::{CallError, Refusal};
use ironflow_sync::feed::Feed;
use ironflow_sync::metrics::Metrics;
use ironflow_sync::places::Places;
use ironflow_sync::push::revoke::RevokeRequest;
use ironflow_sync::push::{Push, PushRequest, PushResponse, PushRules};
use ironflow_sync::store::Store;
use ironflow_sync::store::device::DeviceInfo;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::grpc::eventually;
use crate::support::TestDatabase;

const NOW: Millis = Millis(1_700_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

type Pushing = Pin<Box<dyn Future<Output = Result<PushResponse, CallError>>>>;

/// The pushes of one user, mia.
struct Pushes {
    push: Push,
    catalog: Arc<Catalog>,
    user: UserId,
}

impl Pushes {
    fn over(store: Store) -> Self {
        let catalog = Arc::new(Catalog::builtin());
        let rules = PushRules {
            catalog: catalog.clone(),
            item_bytes_max: 1 << 18,
            copy_bytes_max: 1 << 20,
            account_devices_max: 100,
            account_entities_max: 100,
        };
        let push = Push::new(
            store,
            Feed::new(),
            Places::new(2, 2, PATIENCE),
            Metrics::new(&catalog),
            TaskTracker::new(),
            rules,
        );
        Self {
            push,
            catalog,
            user: UserId::new("mia").expect("an id"),
        }
    }

    fn request(&self, device: &str, id: Uuid, base: i32, title: &str) -> PushRequest {
        let device = DeviceId::new(device).expect("an id");
        let sender = Sender {
            user: self.user.clone(),
            device: device.clone(),
            client_time: 0,
            received: NOW,
        };
        let rules = ItemRules {
            catalog: &self.catalog,
            item_bytes_max: 1 << 18,
            operator: false,
        };
        let raw = RawItem {
            entity_type: "workout".to_owned(),
            entity_id: id.to_string(),
            operation: "update".to_owned(),
            data: format!("{{\"title\": \"{title}\"}}").into_bytes(),
            version: base,
            mutation_id: Uuid::new_v4().to_string(),
            ..RawItem::default()
        };
        PushRequest {
            scope: Scope::of(&self.user),
            device,
            info: DeviceInfo::default(),
            batch: vec![Submission::parse(raw, &sender, &rules)],
            mark: None,
            gate: Gate::default(),
            validate_only: false,
            now: NOW,
        }
    }

    /// The same pushes, of another user.
    fn of(&self, user: &str) -> Self {
        Self {
            push: self.push.clone(),
            catalog: self.catalog.clone(),
            user: UserId::new(user).expect("an id"),
        }
    }

    async fn run(&self, request: PushRequest) -> Answer {
        let pushed = self.push.run(request).await.expect("settled");
        pushed.answers.into_iter().next().expect("an answer")
    }

    fn begin(&self, request: PushRequest) -> Pushing {
        let push = self.push.clone();
        let mut pushing: Pushing = Box::pin(async move { push.run(request).await });
        assert!((&mut pushing).now_or_never().is_none(), "it waits");
        pushing
    }

    /// Begins pushes, while somebody holds the lock of mia's scope: the first is at work and waits for it, the
    /// others are in line behind it.
    async fn line_up(&self, requests: Vec<PushRequest>, sql: &Client) -> Vec<Pushing> {
        let mut requests = requests.into_iter();
        let first = requests.next().expect("a request");
        let mut begun = vec![self.begin(first)];
        eventually("the first waits for the lock", async || {
            waiting(sql).await == 1
        })
        .await;
        begun.extend(requests.map(|request| self.begin(request)));
        begun
    }
}

/// How many sessions wait for a lock.
async fn waiting(sql: &Client) -> i64 {
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let row = sql.query_one(waits, &[]).await;
    row.expect("activity").get(0)
}

/// How many transactions have written the entities there are.
async fn transactions(sql: &Client) -> i64 {
    let count = "select count(distinct xmin::text) from entities";
    let row = sql.query_one(count, &[]).await.expect("a count");
    row.get(0)
}

fn is_applied(answer: &Answer) -> bool {
    matches!(answer, Answer::Written { .. })
}

#[tokio::test]
async fn batches_that_wait_for_one_turn_are_written_in_one_transaction() {
    let database = TestDatabase::new().await;
    let (mut sql, watching) = (database.client().await, database.client().await);
    let pushes = Pushes::over(database.store());
    let devices: Vec<String> = (0..6).map(|n| format!("device-{n}")).collect();
    let contested = Uuid::new_v4();
    for device in &devices {
        // Each is known by now.
        let first = pushes.request(device, Uuid::new_v4(), 0, "first");
        assert!(is_applied(&pushes.run(first).await));
    }
    let shared = pushes.request(&devices[0], contested, 0, "shared");
    assert!(is_applied(&pushes.run(shared).await));
    let before = transactions(&sql).await;

    let held = sql.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for update";
    held.execute(lock, &[]).await.expect("mia's lock");
    let mut requests: Vec<PushRequest> = devices
        .iter()
        .map(|device| pushes.request(device, Uuid::new_v4(), 0, device))
        .collect();
    // Two go on from the same version: one of them wins.
    requests.push(pushes.request(&devices[1], contested, 1, "one"));
    requests.push(pushes.request(&devices[2], contested, 1, "two"));
    let lined_up = pushes.line_up(requests, &watching).await;
    held.rollback().await.expect("the lock is free");
    let mut answers = Vec::new();
    for pushing in lined_up {
        answers.extend(pushing.await.expect("settled").answers);
    }
    let (last, applied) = answers.split_last().expect("answers");
    assert!(applied.iter().all(is_applied), "{applied:?}");
    let Answer::Conflict(conflict) = last else {
        panic!("expected a conflict: {last:?}");
    };
    assert_eq!(conflict.verdict, Verdict::NeedsUser);
    let copy = conflict.copy.document.as_ref().expect("a copy");
    assert_eq!(copy.text(), "{\"title\": \"one\"}");
    // The first was alone, the others have waited; the one transaction that wrote the contested entity before
    // has no row left.
    assert_eq!(transactions(&sql).await, before - 1 + 2);
    let titles =
        "select data ->> 'title' from entities where data ->> 'title' like 'device%' order by 1";
    let titles = sql.query(titles, &[]).await.expect("titles");
    let titles: Vec<String> = titles.iter().map(|row| row.get(0)).collect();
    assert_eq!(titles, devices, "each has its own");
}

/// Commits wait as long as somebody holds this advisory lock.
const COMMITS_WAIT: &str = "
    create function wait_for_the_test() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
    create constraint trigger commits_wait after insert on entities deferrable initially deferred
        for each row execute function wait_for_the_test();
    select pg_advisory_lock(4711)";

#[tokio::test]
async fn batches_of_several_users_that_wait_for_one_place_are_written_in_one_transaction() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let mia = Pushes::over(database.store());
    let users = ["mia", "leo", "ben", "ida"];
    let pushes = users.map(|user| mia.of(user));
    let contested = Uuid::new_v4();
    for user in &pushes {
        // Each is known by now.
        user.run(user.request("phone", contested, 0, "first")).await;
    }
    let before = transactions(&sql).await;
    sql.batch_execute(COMMITS_WAIT).await.expect("a trigger");
    // There is one place for what is written together. Mia has it; ben goes on from a version that is not there.
    let begin = |name: &str, user: &Pushes| {
        let request = match name {
            "ben" => user.request("phone", contested, 2, name),
            _ => user.request("phone", Uuid::new_v4(), 0, name),
        };
        user.begin(request)
    };
    let mut begun = FuturesOrdered::from_iter([begin("mia", &pushes[0])]);
    eventually("mia's waits to commit", async || waiting(&sql).await == 1).await;
    for (name, user) in users.into_iter().zip(&pushes).skip(1) {
        begun.push_back(begin(name, user));
    }
    let release = "select pg_advisory_unlock(4711)";
    sql.batch_execute(release).await.expect("released");
    let mut answers = Vec::new();
    while let Some(pushed) = begun.next().await {
        answers.extend(pushed.expect("settled").answers);
    }
    assert_eq!(transactions(&sql).await, before + 2);
    for (name, answer) in users.into_iter().zip(&answers) {
        assert_eq!(is_applied(answer), name != "ben", "{name}: {answer:?}");
    }
    let titles = "select scope || (data ->> 'title') from entities where data ->> 'title' <> 'first' order by 1";
    let titles = sql.query(titles, &[]).await.expect("titles");
    let titles: Vec<String> = titles.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        titles,
        ["user/idaida", "user/leoleo", "user/miamia"],
        "each has its own"
    );
}

/// What is written waits as long as somebody holds this advisory lock.
const WRITES_WAIT: &str = "
    create function hold_for_the_test() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(4712); return new; end $$;
    create trigger writes_wait before insert on entities
        for each row execute function hold_for_the_test();
    select pg_advisory_lock(4712)";

/// What is called doomed cannot be committed.
const DOOM: &str = "
    create function doom() returns trigger language plpgsql as
        $$ begin raise exception 'doomed'; end $$;
    create constraint trigger doomed after insert on entities deferrable initially deferred
        for each row when (new.data ->> 'title' = 'doomed') execute function doom()";

#[tokio::test]
async fn nobody_is_told_of_what_is_not_committed() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let pushes = Pushes::over(database.store());
    let devices = ["phone", "tablet", "watch"];
    for device in devices {
        // Each is known by now.
        let first = pushes.request(device, Uuid::new_v4(), 0, "first");
        assert!(is_applied(&pushes.run(first).await));
    }
    sql.batch_execute(WRITES_WAIT).await.expect("a trigger");
    sql.batch_execute(COMMITS_WAIT).await.expect("a trigger");
    let begin = |device| pushes.begin(pushes.request(device, Uuid::new_v4(), 0, "next"));
    let mut begun = vec![begin("phone")];
    eventually("it is being written", async || waiting(&sql).await == 1).await;
    // They are there as soon as the phone's is written.
    begun.extend([begin("tablet"), begin("watch")]);
    let release = "select pg_advisory_unlock(4712)";
    sql.batch_execute(release).await.expect("released");
    eventually("it waits to commit", async || {
        for pushing in &mut begun {
            assert!(pushing.now_or_never().is_none(), "nothing is committed");
        }
        let commits = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query = 'commit'";
        let row = sql.query_one(commits, &[]).await.expect("activity");
        row.get::<_, i64>(0) == 1
    })
    .await;
    let release = "select pg_advisory_unlock(4711)";
    sql.batch_execute(release).await.expect("released");
    for pushing in begun {
        let pushed = pushing.await.expect("settled");
        assert!(is_applied(&pushed.answers[0]), "{pushed:?}");
    }
}

#[tokio::test]
async fn who_can_not_be_committed_is_told_so_and_the_next_are_written() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let pushes = Pushes::over(database.store());
    for device in ["phone", "tablet"] {
        // Each is known by now.
        let first = pushes.request(device, Uuid::new_v4(), 0, "first");
        assert!(is_applied(&pushes.run(first).await));
    }
    sql.batch_execute(WRITES_WAIT).await.expect("a trigger");
    sql.batch_execute(DOOM).await.expect("a trigger");
    let begin = |device, title| pushes.begin(pushes.request(device, Uuid::new_v4(), 0, title));
    let doomed = begin("phone", "doomed");
    eventually("it is being written", async || waiting(&sql).await == 1).await;
    let next = begin("tablet", "next");
    let release = "select pg_advisory_unlock(4712)";
    sql.batch_execute(release).await.expect("released");
    let refused = doomed.await.expect_err("it is not there");
    assert!(matches!(refused, CallError::Failed(_)), "{refused:?}");
    let pushed = next.await.expect("settled");
    assert!(is_applied(&pushed.answers[0]), "{pushed:?}");
    let titles = "select data ->> 'title' from entities order by revision";
    let titles = sql.query(titles, &[]).await.expect("titles");
    let titles: Vec<String> = titles.iter().map(|row| row.get(0)).collect();
    assert_eq!(titles, ["first", "first", "next"]);
}

#[tokio::test]
async fn devices_that_never_rest_leave_the_turn_to_what_else_their_user_does() {
    let database = TestDatabase::new().await;
    let sql = database.client().await;
    let pushes = Pushes::over(database.store());
    for device in ["phone", "tablet", "lost"] {
        // Each is known by now.
        let first = pushes.request(device, Uuid::new_v4(), 0, "first");
        assert!(is_applied(&pushes.run(first).await));
    }
    sql.batch_execute(COMMITS_WAIT).await.expect("a trigger");
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let begin = |device, id| pushes.begin(pushes.request(device, id, 0, "again"));
    // One is at work whenever the other comes: there is always somebody in line.
    let phone = begin("phone", ids[0]);
    eventually("it waits to commit", async || waiting(&sql).await == 1).await;
    let tablet = begin("tablet", ids[1]);
    let revoke = pushes.push.revoke(RevokeRequest {
        scope: Scope::of(&pushes.user),
        device: DeviceId::new("lost").expect("an id"),
        now: NOW,
    });
    let restless = async |device, id, begun: Pushing| {
        begun.await.expect("settled");
        for base in 1.. {
            let edit = pushes.request(device, id, base, "again");
            assert!(is_applied(&pushes.run(edit).await));
        }
    };
    let release = "select pg_advisory_unlock(4711)";
    sql.batch_execute(release).await.expect("released");
    tokio::select! {
        () = restless("phone", ids[0], phone) => panic!("it rests"),
        () = restless("tablet", ids[1], tablet) => panic!("it rests"),
        revoked = revoke => assert_eq!(revoked.expect("in its turn"), NOW),
    }
}

#[tokio::test]
async fn who_may_not_write_is_told_so_and_the_others_are_written() {
    let database = TestDatabase::new().await;
    let (mut sql, watching) = (database.client().await, database.client().await);
    let pushes = Pushes::over(database.store());
    let devices = ["phone", "tablet", "lost", "watch"];
    for device in devices {
        let first = pushes.request(device, Uuid::new_v4(), 0, "first");
        pushes.run(first).await;
    }
    let held = sql.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for update";
    held.execute(lock, &[]).await.expect("mia's lock");
    let revoke = "update devices set revoked_at = now() where device_id = 'lost'";
    held.execute(revoke, &[]).await.expect("revoked");
    let requests = devices.map(|device| pushes.request(device, Uuid::new_v4(), 0, device));
    let lined_up = pushes.line_up(requests.into(), &watching).await;
    held.commit().await.expect("the lock is free");
    for (device, pushing) in devices.into_iter().zip(lined_up) {
        let pushed = pushing.await;
        match (device, pushed) {
            ("lost", Err(CallError::Refused(refusal))) => {
                assert_eq!(refusal, Refusal::DeviceRevoked);
            }
            (_, Ok(pushed)) if device != "lost" => assert!(is_applied(&pushed.answers[0])),
            (_, other) => panic!("{device}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn who_hangs_up_before_its_turn_leaves_nothing_behind() {
    let database = TestDatabase::new().await;
    let (mut sql, watching) = (database.client().await, database.client().await);
    let pushes = Pushes::over(database.store());
    pushes
        .run(pushes.request("phone", Uuid::new_v4(), 0, "first"))
        .await;
    let held = sql.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for update";
    held.execute(lock, &[]).await.expect("mia's lock");
    let titles = ["kept", "gone", "kept"];
    let requests = titles.map(|title| pushes.request("phone", Uuid::new_v4(), 0, title));
    let lined_up = pushes.line_up(requests.into(), &watching).await;
    let mut left = Vec::new();
    for (title, pushing) in titles.into_iter().zip(lined_up) {
        if title == "kept" {
            left.push(pushing);
        }
    }
    held.rollback().await.expect("the lock is free");
    for pushing in left {
        pushing.await.expect("settled");
    }
    let gone = "select count(*) from entities where data ->> 'title' = 'gone'";
    let gone: i64 = sql.query_one(gone, &[]).await.expect("a count").get(0);
    assert_eq!(gone, 0);
}
