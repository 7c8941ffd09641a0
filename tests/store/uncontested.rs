//! Batches that nothing stands in the way of are written at once, by a statement of their own. It writes what
//! the long way would have written, to the last column, or nothing.

use std::collections::BTreeMap;

use fastrand::Rng;
use ironflow_sync::domain::answer::Answer;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::item::{Item, ItemRules, RawItem, Sender, Submission};
use ironflow_sync::domain::plan::{BatchContext, plan, plan_uncontested};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::standing::{BatchMark, BatchNumber};
use ironflow_sync::store::Store;
use ironflow_sync::store::batch::{Author, Offer, Recorded};
use ironflow_sync::store::device::DeviceInfo;
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::TestDatabase;

const NOW: i64 = 1_700_000_000_000;
/// Users who take the long way and the short one, and batches of each.
const PAIRS: u64 = 20;
const BATCHES: u64 = 20;
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
        let base = match rng.u32(..10) {
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
    if rng.u32(..8) == 0
        && let Some(again) = rng.choice(before)
    {
        // Its edit comes again, as if it were based on what there is by now.
        let current = known.get(&Uuid::parse_str(&again.entity_id).expect("an id"));
        items = vec![RawItem {
            version: current.copied().unwrap_or_default(),
            ..again.clone()
        }];
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
    /// Batches that were written at once.
    at_once: usize,
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
            at_once: 0,
        }
    }

    async fn push(&mut self, sent: &Sent, may_be_at_once: bool) -> Vec<Answer> {
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
        let batch: Vec<Submission> = items
            .map(|raw| Submission::parse(raw, &sender, &rules))
            .collect();
        let author = || Author {
            device: &sent.device,
            info: &sent.info,
            now: sent.now,
            devices_max: 100,
            mark: sent.mark,
        };
        let planned = match may_be_at_once {
            true => plan_uncontested(&batch, &self.context),
            false => None,
        };
        let opened = match &planned {
            Some(planned) => {
                let offer = Offer {
                    author: author(),
                    planned,
                    entities_max: ENTITIES_MAX as i64,
                };
                let begun = self.store.begin_with(&self.scope, &[offer]).await;
                let (opened, taken) = begun.expect("the lock");
                if taken.first().is_some_and(|taken| taken.is_written()) {
                    opened.commit().await.expect("a commit");
                    self.at_once += 1;
                    return planned.answers.clone();
                }
                opened
            }
            None => self.store.begin(&self.scope).await.expect("the lock"),
        };
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
        let recorded = opened.write(&plan, &author()).await.expect("written");
        assert_eq!(recorded, Recorded::Known);
        plan.answers
    }
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
    let mut at_once = 0;
    for pair in 0..PAIRS {
        let mut long = Way::new(&store, &format!("mia-{pair}"));
        let mut short = Way::new(&store, &format!("leo-{pair}"));
        let mut before: Vec<RawItem> = Vec::new();
        for number in 0..BATCHES {
            let known = versions(&client, &long.scope).await;
            let sent = batch(&mut rng, number, &known, &before);
            let expected = long.push(&sent, false).await;
            let answered = short.push(&sent, true).await;
            let place = format!("{pair}, {number}: {:?}", sent.items);
            assert_eq!(format!("{answered:?}"), format!("{expected:?}"), "{place}");
            let written = rows(&client, &short.scope).await;
            assert_eq!(written, rows(&client, &long.scope).await, "{place}");
            before.extend(sent.items);
        }
        assert_eq!(long.at_once, 0);
        at_once += short.at_once;
    }
    let all = (PAIRS * BATCHES) as usize;
    assert!(
        (all / 4..all * 3 / 4).contains(&at_once),
        "only one way is tried: {at_once}"
    );
}

#[tokio::test]
async fn nothing_is_written_at_once_if_it_was_counted_has_no_room_or_its_device_is_revoked() {
    let database = TestDatabase::new().await;
    let client = database.client().await;
    let mut mia = Way::new(&database.store(), "mia");
    let sent = |number: i64| {
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
    };
    // The first makes the scope and the device known.
    mia.push(&sent(1), true).await;
    assert_eq!(mia.at_once, 0);
    mia.push(&sent(2), true).await;
    assert_eq!(mia.at_once, 1);
    for counted in [2, 1] {
        // What could not be applied when it was counted may have become due: that is not for now.
        mia.push(&sent(counted), true).await;
        assert_eq!(mia.at_once, 1, "{counted} was counted");
    }
    mia.push(&sent(3), true).await;
    assert_eq!(mia.at_once, 2);
    let held = versions(&client, &mia.scope).await.len();
    for number in (4..).take(ENTITIES_MAX - held) {
        mia.push(&sent(number), true).await;
    }
    let full = mia.at_once;
    assert_eq!(full, 2 + ENTITIES_MAX - held);
    mia.push(&sent(20), true).await;
    assert_eq!(mia.at_once, full, "there is no room");
    client
        .batch_execute("update scopes set entities = 1")
        .await
        .expect("room");
    mia.push(&sent(21), true).await;
    assert_eq!(mia.at_once, full + 1);
    let revoke = "update devices set revoked_at = now()";
    client.batch_execute(revoke).await.expect("revoked");
    mia.push(&sent(22), true).await;
    assert_eq!(mia.at_once, full + 1, "the device is revoked");
}
