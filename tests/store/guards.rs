//! The statements guard what the lock already promises: a plan that does not fit what is stored
//! leaves no trace, and no connection goes back to the pool in a transaction.

use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::conflict::InboxWrites;
use ironflow_sync::domain::decide::Resolution;
use ironflow_sync::domain::entity::{Document, EntityKey, EntityType, MutationId};
use ironflow_sync::domain::json::Json;
use ironflow_sync::domain::plan::{Cause, EntityWrite, NewVersion, Plan, Reason};
use ironflow_sync::domain::scope::{DeviceId, Scope, UserId};
use ironflow_sync::domain::version::{Revision, Version};
use ironflow_sync::error::Fault;
use ironflow_sync::store::Store;
use ironflow_sync::store::batch::{Author, Recorded};
use ironflow_sync::store::device::DeviceInfo;
use uuid::Uuid;

use crate::support::TestDatabase;

fn version(number: i32) -> Version {
    Version::new(number).expect("a version")
}

/// A write of version `to` of the one workout of these tests.
fn write(replaces: Option<i32>, to: i32) -> EntityWrite {
    let text = "{\"title\": \"Push day\"}";
    let json = Json::from_device(text.as_bytes()).expect("valid");
    let document = Document::from_device(text.to_owned(), json);
    EntityWrite {
        key: EntityKey {
            entity_type: EntityType::new("workout").expect("a type"),
            entity_id: Uuid::from_u128(1),
        },
        replaces: replaces.map(version),
        versions: vec![NewVersion {
            version: version(to),
            revision: Revision::new(i64::from(to)),
            document: Some(document.into()),
            foreign_version: Version::NONE,
            edit_time: Millis(1_700_000_000_000),
            clock_offset_ms: 0,
            began_at: None,
            base: None,
            mutation: MutationId(Uuid::new_v4()),
            resolution: Resolution::Applied,
            reason: Reason {
                cause: Cause::Push,
                rule: None,
                policy: None,
            },
        }],
    }
}

async fn push(store: &Store, write: EntityWrite) -> Result<(), Fault> {
    let scope = Scope::of(&UserId::new("mia").expect("an id"));
    let author = Author {
        device: &DeviceId::new("phone").expect("an id"),
        info: &DeviceInfo::default(),
        now: Millis(1_700_000_000_000),
        devices_max: 100,
        mark: None,
    };
    let batch = store.begin(&scope).await.expect("the lock");
    let plan = Plan {
        answers: Vec::new(),
        last_revision: batch.revision().after(1),
        writes: vec![write],
        inbox: InboxWrites::default(),
    };
    let recorded = batch.write(&plan, &author).await?;
    assert_eq!(recorded, Recorded::Known);
    Ok(())
}

async fn state(database: &TestDatabase) -> (i64, Vec<i32>, Vec<i32>) {
    let client = database.client().await;
    let revision = "select coalesce(max(revision), 0) from scopes";
    let revision = client
        .query_one(revision, &[])
        .await
        .expect("scopes")
        .get(0);
    let versions = async |table: &str| {
        let select = format!("select version from {table} order by version");
        let rows = client.query(&select, &[]).await.expect("versions");
        rows.iter().map(|row| row.get(0)).collect()
    };
    (
        revision,
        versions("entities").await,
        versions("entity_versions").await,
    )
}

#[tokio::test]
async fn a_write_that_does_not_fit_what_is_stored_leaves_no_trace() {
    let database = TestDatabase::new().await;
    let store = database.store();
    push(&store, write(None, 1)).await.expect("new");
    push(&store, write(Some(1), 2)).await.expect("fits");
    let before = state(&database).await;
    assert_eq!(before, (2, vec![2], vec![1]));

    for (case, stale) in [
        ("replaces what is gone", write(Some(1), 3)),
        ("replaces what was never there", write(Some(7), 3)),
        ("is new, but exists", write(None, 3)),
    ] {
        match push(&store, stale).await {
            Err(Fault::Defect(..)) => (),
            other => panic!("{case}: {other:?}"),
        }
        assert_eq!(state(&database).await, before, "{case}");
    }
    push(&store, write(Some(2), 3))
        .await
        .expect("the pool still serves");
}

#[tokio::test]
async fn a_batch_that_is_dropped_half_way_holds_neither_lock_nor_transaction() {
    let database = TestDatabase::new().await;
    // One connection: whatever the dropped batch leaves behind, the next one meets.
    let store = database.store_with(1);
    let scope = Scope::of(&UserId::new("mia").expect("an id"));
    let batch = store.begin(&scope).await.expect("the lock");
    drop(batch);
    push(&store, write(None, 1))
        .await
        .expect("the lock is free");

    let client = database.client().await;
    let idle = "select count(*) from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'";
    let idle: i64 = client.query_one(idle, &[]).await.expect("activity").get(0);
    assert_eq!(idle, 0);
}
