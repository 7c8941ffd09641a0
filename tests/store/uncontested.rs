//! Batches that nothing stands in the way of are written at once, by a statement of their own. It writes what
//! the long way would have written, to the last column, or nothing.

use std::collections::BTreeMap;
use std::mem;

use fastrand::Rng;
use ironflow_sync::domain::answer::Answer;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::item::{Item, ItemRules, RawItem, Sender, Submission};
use ironflow_sync::domain::plan::{BatchContext, plan, plan_uncontested};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::standing::{BatchMark, BatchNumber, Gate, Source};
use ironflow_sync::domain::version::Revision;
use ironflow_sync::store::Store;
use ironflow_sync::store::batch::{Author, Offer, Recorded};
use ironflow_sync::store::device::DeviceInfo;
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::grpc::eventually;
use crate::support::{TestDatabase, WireCount};

const NOW: i64 = 1_700_000_000_000;
/// Users who take the long way and the short one, and batches of each.
const PAIRS: u64 = 40;
const BATCHES: u64 = 15;
const ENTITIES_MAX: usize = 8;

/// A batch, as two users send it who do all the same.
struct Sent {
    device: DeviceId,
    info: DeviceInfo,
    items: Vec<RawItem>,
    mark: Option<BatchMark>,
    now: Millis,
}

/// Items on the current version of what there is, mostly; some on another, some sent before, some deletions.
fn batch(rng: &mut Rng, number: u64, known: &BTreeMap<Uuid, i32>, before: &[RawItem]) -> Sent {
    let mut ids: Vec<u128> = (1..=10).collect();
    rng.shuffle(&mut ids);
    let count = rng.usize(1..4);
    let mut items: Vec<RawItem> = Vec::new();
    for id in ids.into_iter().take(count) {
        let id = Uuid::from_u128(id);
        let current = known.get(&id).copied().unwrap_or_default();
        let base = match rng.u32(..20) {
            0 => current + 1,
            1 => (current - 1).max(0),
            _ => current,
        };
        let began = NOW + rng.i64(0..4_000) * 60_000;
        items.push(RawItem {
            entity_type: ["workout", "exercise_log"][id.as_u128() as usize % 2].to_owned(),
            entity_id: id.to_string(),
            operation: match rng.u32(..8) {
                0 => "delete".to_owned(),
                _ => "update".to_owned(),
            },
            data: json!({"title": rng.u32(..5), "date": began})
                .to_string()
                .into_bytes(),
            version: base,
            timestamp: NOW + rng.i64(-5_000..5_000),
            mutation_id: Uuid::from_u128(u128::from(rng.u64(..))).to_string(),
            force: rng.u32(..20) == 0,
            group_id: ["", "", "g"][rng.usize(..3)].to_owned(),
        });
    }
    // The last edit of its entity, often, or an older one.
    let from = before
        .len()
        .saturating_sub([3, before.len()][rng.usize(..2)]);
    if rng.u32(..6) == 0
        && let Some(again) = rng.choice(&before[from..])
    {
        // Its edit comes again, as if it were based on what there is by now.
        let current = known.get(&Uuid::parse_str(&again.entity_id).expect("an id"));
        items.retain(|item| item.entity_id != again.entity_id);
        // Alone, or among others.
        if rng.bool() {
            items.clear();
        }
        items.push(RawItem {
            version: current.copied().unwrap_or_default(),
            ..again.clone()
        });
    }
    let counts = rng.bool();
    let number = BatchNumber::new(number as i64 + 1).expect("above 0");
    Sent {
        device: DeviceId::new(["phone", "tablet"][rng.usize(..2)]).expect("an id"),
        info: DeviceInfo {
            label: rng.bool().then(|| "Mia's".to_owned()),
            pending_count: rng.bool().then(|| rng.i32(..9)),
            ..DeviceInfo::default()
        },
        mark: counts.then(|| BatchMark::of(number, &items)),
        items,
        now: Millis(NOW + number.number() * 1_000),
    }
}

struct Way {
    store: Store,
    user: UserId,
    scope: Scope,
    context: BatchContext,
    gate: Gate,
}

impl Way {
    fn new(store: &Store, user: &str) -> Self {
        let user = UserId::new(user).expect("an id");
        Self {
            store: store.clone(),
            scope: Scope::of(&user),
            user,
            context: BatchContext {
                device: DeviceId::new("phone").expect("an id"),
                now: Millis(NOW),
                catalog: Catalog::builtin().into(),
                item_bytes_max: 1 << 18,
                copy_bytes_max: 1 << 20,
            },
            gate: Gate::default(),
        }
    }

    fn submissions(&mut self, sent: &Sent) -> Vec<Submission> {
        self.context.device = sent.device.clone();
        self.context.now = sent.now;
        let rules = ItemRules {
            catalog: &self.context.catalog,
            item_bytes_max: 1 << 18,
            operator: false,
        };
        let sender = Sender {
            user: self.user.clone(),
            device: sent.device.clone(),
            client_time: 0,
            received: sent.now,
        };
        let items = sent.items.iter().cloned();
        items
            .map(|raw| Submission::parse(raw, &sender, &rules))
            .collect()
    }

    /// Writes batches at once, together; `None`: something stands in the way of one.
    async fn offer(&mut self, sent: &[Sent]) -> Vec<Option<Vec<Answer>>> {
        let batches: Vec<_> = sent
            .iter()
            .map(|sent| (self.submissions(sent), self.context.clone()))
            .collect();
        let planned: Vec<_> = batches
            .iter()
            .map(|(batch, context)| plan_uncontested(batch, context))
            .collect();
        let offers = sent.iter().zip(&planned).filter_map(|(sent, planned)| {
            Some(Offer {
                scope: &self.scope,
                author: author(sent),
                gate: &self.gate,
                planned: planned.as_ref()?,
                entities_max: ENTITIES_MAX as i64,
            })
        });
        let offers: Vec<Offer<'_>> = offers.collect();
        let mut written = written(&self.store, &offers).await.into_iter();
        let answers = planned.into_iter().map(|planned| {
            let planned = planned?;
            written.next().expect("an answer")?;
            Some(planned.answers)
        });
        answers.collect()
    }

    /// Writes a batch the long way.
    async fn push(&mut self, sent: &Sent) -> Vec<Answer> {
        let batch = self.submissions(sent);
        let opened = self.store.begin(&self.scope).await.expect("the lock");
        let items: Vec<&Item> = batch
            .iter()
            .filter_map(|one| one.item.as_ref().ok())
            .collect();
        let read = opened
            .read(&items, &sent.device, &self.context.catalog)
            .await;
        let mut snapshot = read.expect("a snapshot");
        snapshot.room = Some(opened.room(ENTITIES_MAX));
        let plan = plan(&snapshot, &batch, &self.context);
        let recorded = opened.write(&plan, &author(sent)).await.expect("written");
        assert_eq!(recorded, Recorded::Known);
        plan.answers
    }
}

fn author(sent: &Sent) -> Author<'_> {
    Author {
        device: &sent.device,
        info: &sent.info,
        now: sent.now,
        devices_max: 100,
        mark: sent.mark,
    }
}

/// The scopes' revisions with batches that are written together.
async fn written(store: &Store, offers: &[Offer<'_>]) -> Vec<Option<Revision>> {
    let writer = store.writer().await.expect("a connection");
    let mut written = writer.write(offers).await.expect("answers");
    let revisions = mem::take(&mut written.revisions);
    written.committed().await.expect("it counts");
    writer.close();
    revisions
}

/// All that is stored of a user, without their name.
async fn rows(client: &Client, scope: &Scope) -> Vec<String> {
    let mut rows = Vec::new();
    for table in [
        "scopes",
        "entities",
        "entity_versions",
        "conflicts",
        "losing_sides",
        "devices",
    ] {
        let all = format!(
            "select (to_jsonb(t) - 'scope')::text from {table} as t where scope = $1 order by 1"
        );
        let read = client.query(&all, &[&scope.as_str()]).await.expect("rows");
        rows.extend(
            read.iter()
                .map(|row| format!("{table}: {}", row.get::<_, String>(0))),
        );
    }
    rows
}

async fn versions(client: &Client, scope: &Scope) -> BTreeMap<Uuid, i32> {
    let select = "select entity_id, version from entities where scope = $1";
    let rows = client.query(select, &[&scope.as_str()]).await;
    let rows = rows.expect("entities");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn what_is_written_at_once_is_what_the_long_way_writes() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let store = database.store();
    let mut rng = Rng::with_seed(7);
    let (mut all, mut at_once) = ([0; 4], [0; 4]);
    for pair in 0..PAIRS {
        let mut long = Way::new(&store, &format!("mia-{pair}"));
        let mut short = Way::new(&store, &format!("leo-{pair}"));
        let mut before: Vec<RawItem> = Vec::new();
        let mut number = 0;
        while number < BATCHES {
            let known = versions(&client, &long.scope).await;
            let together = rng.usize(1..4);
            let mut devices = ["phone", "tablet", "watch"];
            rng.shuffle(&mut devices);
            let sent: Vec<Sent> = devices[..together]
                .iter()
                .map(|device| {
                    number += 1;
                    let mut sent = batch(&mut rng, number, &known, &before);
                    // One may have sent two.
                    if rng.u32(..8) > 0 {
                        sent.device = DeviceId::new(device).expect("an id");
                    }
                    sent
                })
                .collect();
            let written = short.offer(&sent).await;
            // Those come first that are written at once.
            let (early, late): (Vec<_>, Vec<_>) = sent
                .iter()
                .zip(written)
                .partition(|(_, answers)| answers.is_some());
            all[together] += together;
            at_once[together] += early.len();
            for (sent, answers) in early.into_iter().chain(late) {
                let expected = long.push(sent).await;
                let answered = match answers {
                    Some(answers) => answers,
                    None => short.push(sent).await,
                };
                let place = format!("{pair}, {number}: {:?}", sent.items);
                assert_eq!(format!("{answered:?}"), format!("{expected:?}"), "{place}");
            }
            let written = rows(&client, &short.scope).await;
            let place = format!("{pair}, {number}");
            assert_eq!(written, rows(&client, &long.scope).await, "{place}");
            before.extend(sent.into_iter().flat_map(|sent| sent.items));
        }
    }
    for together in 1..4 {
        let (all, at_once) = (all[together], at_once[together]);
        assert!(
            (all / 6..all * 5 / 6).contains(&at_once),
            "only one way is tried: {at_once} of {all}, {together} at a time"
        );
    }
}

/// A new entity of another device, a little later and not counted.
fn one_beside() -> Sent {
    Sent {
        device: DeviceId::new("tablet").expect("an id"),
        mark: None,
        now: Millis(NOW + 5),
        ..one_more(1)
    }
}

/// A new entity.
fn one_more(number: i64) -> Sent {
    let id = Uuid::new_v4();
    let items = vec![RawItem {
        entity_type: "exercise_log".to_owned(),
        entity_id: id.to_string(),
        operation: "update".to_owned(),
        data: b"{}".to_vec(),
        mutation_id: id.to_string(),
        ..RawItem::default()
    }];
    let number = BatchNumber::new(number).expect("above 0");
    Sent {
        device: DeviceId::new("phone").expect("an id"),
        info: DeviceInfo::default(),
        mark: Some(BatchMark::of(number, &items)),
        items,
        now: Millis(NOW),
    }
}

#[tokio::test]
async fn nothing_is_written_at_once_if_anything_speaks_against_it() {
    check_what_speaks_against(false).await;
}

#[tokio::test]
async fn what_speaks_against_one_batch_speaks_against_no_other() {
    check_what_speaks_against(true).await;
}

/// With a batch of another device beside it, or alone.
async fn check_what_speaks_against(beside: bool) {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let mut mia = Way::new(&database.store(), "mia");
    assert!(mia.offer(&[one_more(1)]).await[0].is_none(), "no scope");
    mia.push(&one_more(1)).await;
    mia.push(&one_beside()).await;
    let reset = "update scopes set entities = 1, open_conflicts = 0;
        update devices set revoked_at = null;
        update devices set batch_number = 7 where device_id = 'phone';
        delete from erasures; delete from accounts;";
    let account = |says: &str| format!("insert into accounts values ('user/mia', {says}, now())");
    for (case, number, source, sql, written, other) in [
        ("nothing", 8, Source::Nobody, String::new(), true, true),
        ("counted", 7, Source::Nobody, String::new(), false, true),
        (
            "counted before",
            6,
            Source::Nobody,
            String::new(),
            false,
            true,
        ),
        (
            "room for one",
            8,
            Source::Nobody,
            "update scopes set revision = 8, entities = 7".to_owned(),
            true,
            false,
        ),
        (
            "no room",
            8,
            Source::Nobody,
            "update scopes set entities = 8".to_owned(),
            false,
            false,
        ),
        (
            "an open conflict",
            8,
            Source::Nobody,
            "update scopes set open_conflicts = 1".to_owned(),
            false,
            false,
        ),
        (
            "revoked",
            8,
            Source::Nobody,
            "update devices set revoked_at = now() where device_id = 'phone'".to_owned(),
            false,
            true,
        ),
        (
            "erased",
            8,
            Source::Nobody,
            "insert into erasures values (sha256('user/mia'), now(), 1)".to_owned(),
            false,
            false,
        ),
        (
            "not asked",
            8,
            Source::Nobody,
            account("'free', null"),
            true,
            true,
        ),
        (
            "no account",
            8,
            Source::Account,
            String::new(),
            false,
            false,
        ),
        (
            "free",
            8,
            Source::Account,
            account("'free', null"),
            false,
            false,
        ),
        (
            "lapsed",
            8,
            Source::Account,
            account("'premium', to_timestamp(1700000000)"),
            false,
            false,
        ),
        (
            "ends soon",
            8,
            Source::Account,
            account("'premium', to_timestamp(1700000000.001)"),
            true,
            false,
        ),
        (
            "paid",
            8,
            Source::Account,
            account("'premium', null"),
            true,
            true,
        ),
    ] {
        let stands = format!("{reset} {sql}");
        client.batch_execute(&stands).await.expect(case);
        mia.gate.source = source;
        let before = rows(&client, &mia.scope).await;
        let mut sent = vec![one_more(number)];
        let mut expected = vec![written];
        if beside {
            sent.push(one_beside());
            expected.push(other);
        }
        let answers = mia.offer(&sent).await;
        let is_written: Vec<bool> = answers.iter().map(Option::is_some).collect();
        assert_eq!(is_written, expected, "{case}");
        let any = expected.contains(&true);
        assert_eq!(rows(&client, &mia.scope).await != before, any, "{case}");
    }
}

#[tokio::test]
async fn a_scope_that_is_locked_keeps_nobody_waiting() {
    let database = TestDatabase::new().await;
    let mut client = database.client().await;
    let store = database.store();
    let mut users = ["mia", "leo"].map(|user| Way::new(&store, user));
    for user in &mut users {
        user.push(&one_more(1)).await;
    }
    let held = client.transaction().await.expect("a transaction");
    let lock = "select from scopes where scope = 'user/mia' for no key update";
    held.execute(lock, &[]).await.expect("mia's lock");
    let sent = one_more(2);
    let batches = users.each_mut().map(|user| user.submissions(&sent));
    let [mia, leo] = &users;
    let planned = batches
        .each_ref()
        .map(|batch| plan_uncontested(batch, &mia.context).expect("nothing stands in its way"));
    let offers = [mia, leo].into_iter().zip(&planned);
    let offers: Vec<Offer<'_>> = offers
        .map(|(user, planned)| Offer {
            scope: &user.scope,
            author: author(&sent),
            gate: &user.gate,
            planned,
            entities_max: ENTITIES_MAX as i64,
        })
        .collect();
    let written = written(&store, &offers).await;
    assert_eq!(
        written.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test]
async fn many_batches_are_written_in_their_order_and_in_one_transaction() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let mut mia = Way::new(&database.store(), "mia");
    mia.push(&one_more(1)).await;
    mia.push(&one_beside()).await;
    // They are counted: one that came before its turn would have the others refused.
    let sent = (2..=63).map(|number| match number {
        // Written together with the one before it.
        3 | 4 | 40 => one_beside(),
        _ => one_more(number),
    });
    let sent: Vec<Sent> = sent.collect();
    let batches: Vec<_> = sent.iter().map(|sent| mia.submissions(sent)).collect();
    let planned = batches
        .iter()
        .map(|batch| plan_uncontested(batch, &mia.context).expect("nothing stands in its way"));
    let planned: Vec<_> = planned.collect();
    let offers = sent.iter().zip(&planned).map(|(sent, planned)| Offer {
        scope: &mia.scope,
        author: author(sent),
        gate: &mia.gate,
        planned,
        entities_max: 100,
    });
    let offers: Vec<Offer<'_>> = offers.collect();
    let written = written(&mia.store, &offers).await;
    let expected: Vec<_> = (3..=64)
        .map(|revision| Some(Revision::new(revision)))
        .collect();
    assert_eq!(written, expected);
    let transactions = "select count(distinct xmin::text) from entities";
    let transactions = client.query_one(transactions, &[]).await.expect("a count");
    assert_eq!(transactions.get::<_, i64>(0), 3, "two came before");
}

#[tokio::test]
async fn batches_that_have_nothing_to_do_with_each_other_are_one_call() {
    let database = TestDatabase::new().await;
    let wire = WireCount::before(&database.config()).await;
    let store = Store::new(wire.config(), 1).expect("a pool");
    let mut mia = Way::new(&store, "mia");
    let sent = |device: &str, id: u128, entity_type: &str| {
        let mut sent = one_more(1);
        let item = &mut sent.items[0];
        item.entity_id = Uuid::from_u128(id).to_string();
        item.entity_type = entity_type.to_owned();
        item.data = json!({"date": NOW}).to_string().into_bytes();
        sent.mark = None;
        sent.device = DeviceId::new(device).expect("an id");
        sent
    };
    let [log, workout] = ["exercise_log", "workout"];
    for (case, batches, calls) in [
        ("one", vec![("phone", 1, log)], 1),
        (
            "of three devices",
            vec![("phone", 1, workout), ("tablet", 2, log), ("watch", 3, log)],
            1,
        ),
        (
            "one that an edit before it may have got a neighbour",
            vec![("phone", 1, log), ("tablet", 2, workout)],
            2,
        ),
        (
            "two of one device",
            vec![("phone", 1, log), ("phone", 2, log), ("tablet", 3, log)],
            2,
        ),
        (
            "two of one entity",
            vec![("phone", 1, log), ("tablet", 2, log), ("watch", 2, log)],
            2,
        ),
        (
            "two that may be each other's neighbours",
            vec![("phone", 1, workout), ("tablet", 2, workout)],
            2,
        ),
    ] {
        let sent: Vec<Sent> = batches
            .into_iter()
            .map(|(device, id, entity_type)| sent(device, id, entity_type))
            .collect();
        // Once for the statement to be prepared. There is no scope, so nothing is written.
        mia.offer(&sent).await;
        wire.take();
        mia.offer(&sent).await;
        assert_eq!(wire.take(), 2 + calls, "{case}");
    }
}

#[tokio::test]
async fn a_device_that_somebody_else_is_writing_is_written_too_when_it_is_free() {
    let database = TestDatabase::new().await;
    let (mut client, watching) = (database.client().await, database.client().await);
    let mut mia = Way::new(&database.store(), "mia");
    for sent in [one_more(1), one_beside()] {
        mia.push(&sent).await;
    }
    let held = client.transaction().await.expect("a transaction");
    let pulls = "update devices set pulled_revision = 1 where device_id = 'tablet'";
    held.execute(pulls, &[]).await.expect("the tablet's row");
    let beside = one_more(1);
    let beside = Sent {
        device: DeviceId::new("tablet").expect("an id"),
        info: DeviceInfo {
            label: Some("Mia's".to_owned()),
            ..DeviceInfo::default()
        },
        ..beside
    };
    let sent = [one_more(2), beside];
    let waits = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let free = async {
        eventually("it waits for the tablet", async || {
            let row = watching.query_one(waits, &[]).await.expect("activity");
            row.get::<_, i64>(0) == 1
        })
        .await;
        held.commit().await.expect("the row is free");
    };
    let (answers, ()) = tokio::join!(mia.offer(&sent), free);
    assert!(answers.iter().all(Option::is_some));
    let devices = "select device_id, batch_number, label, pulled_revision from devices order by 1";
    let devices = client.query(devices, &[]).await.expect("devices");
    type Known = (String, i64, Option<String>, Option<i64>);
    let known: Vec<Known> = devices
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let label = Some("Mia's".to_owned());
    let phone = ("phone".to_owned(), 2, None, None);
    let tablet = ("tablet".to_owned(), 1, label, Some(1));
    assert_eq!(known, [phone, tablet]);
}
