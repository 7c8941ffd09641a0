//! Promise 4: every edit is applied at most once, and asking again gives the answer that was lost.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, NeedsUser, Resurrected, Unchanged,
};
use ironflow_sync::grpc::proto::{SyncItem, SyncResult, SyncStatus};
use serde_json::json;
use uuid::Uuid;

use super::{count, versions};
use crate::support::database::contents;
use crate::support::{TestService, delete, put};

fn forced(item: SyncItem) -> SyncItem {
    SyncItem {
        force: true,
        ..item
    }
}

/// The same item from an app that knows no mutation ids.
fn bare(item: SyncItem) -> SyncItem {
    SyncItem {
        mutation_id: String::new(),
        ..item
    }
}

#[tokio::test]
async fn a_replayed_batch_is_answered_alike_and_writes_nothing() {
    for (name, with_ids) in [("with mutation ids", true), ("without", false)] {
        let service = TestService::start().await;
        let sql = service.database.client().await;
        let mut phone = service.device("mia", "phone").await;
        let mut tablet = service.device("mia", "tablet").await;
        let [new, edited, won, lost, back] = [(); 5].map(|()| Uuid::new_v4());
        tablet.sync_one(put(edited, 0, &json!({"n": 0}))).await;
        tablet.sync_one(put(won, 0, &json!({"n": 0}))).await;
        tablet.sync_one(put(lost, 0, &json!({"n": 0}))).await;
        tablet.sync_one(put(back, 0, &json!({"n": 0}))).await;
        tablet.sync_one(delete(back, 1)).await;
        let mut batch = vec![
            put(new, 0, &json!({"n": 1})),
            put(edited, 1, &json!({"n": 1})),
            put(edited, 1, &json!({"n": 2})),
            forced(put(won, 0, &json!({"n": 1}))),
            delete(lost, 1),
            put(back, 2, &json!({"n": 1})),
            delete(new, 1),
        ];
        if !with_ids {
            batch = batch.into_iter().map(bare).collect();
        }
        let first = phone.sync(batch.clone()).await;
        let settled: Vec<_> = first.iter().map(SyncResult::resolution).collect();
        let expected = [
            Applied,
            Applied,
            Applied,
            ClientWon,
            Applied,
            Resurrected,
            Applied,
        ];
        assert_eq!(settled, expected, "{name}");

        let before = contents(&sql).await;
        for _ in 0..3 {
            assert_eq!(phone.sync(batch.clone()).await, first, "{name}");
        }
        assert_eq!(contents(&sql).await, before, "{name}: a replay wrote");

        // Also when another device has written since, and in another order.
        tablet.sync_one(delete(edited, 3)).await;
        tablet.sync_one(put(won, 2, &json!({"n": 9}))).await;
        tablet.sync_one(put(lost, 2, &json!({"n": 9}))).await;
        tablet.sync_one(delete(back, 3)).await;
        tablet.sync_one(put(new, 2, &json!({"n": 9}))).await;
        let before = contents(&sql).await;
        assert_eq!(phone.sync(batch.clone()).await, first, "{name}");
        batch.reverse();
        let mut reversed = phone.sync(batch).await;
        reversed.reverse();
        assert_eq!(reversed, first, "{name}");
        assert_eq!(contents(&sql).await, before, "{name}: a late replay wrote");
    }
}

#[tokio::test]
async fn a_mutation_id_writes_one_version_per_entity() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    let [a, b, c, d] = [(); 4].map(|()| Uuid::new_v4());
    let first = put(a, 0, &json!({"n": 1}));
    let again = SyncItem {
        data: br#"{"n":2}"#.to_vec(),
        ..first.clone()
    };
    let in_capitals = SyncItem {
        mutation_id: first.mutation_id.to_uppercase(),
        entity_id: a.to_string().to_uppercase(),
        ..first.clone()
    };
    let of = |id: Uuid| SyncItem {
        entity_id: id.to_string(),
        ..first.clone()
    };
    // Within one batch; while what it wrote is current; and when it is history.
    let mut answers = phone
        .sync(vec![first.clone(), again, of(b), in_capitals])
        .await;
    answers.push(phone.sync_one(of(c)).await);
    phone.sync_one(put(a, 1, &json!({"n": 9}))).await;
    answers.push(phone.sync_one(of(d)).await);
    let other_type = SyncItem {
        entity_type: "routine".to_owned(),
        ..first.clone()
    };
    answers.push(phone.sync_one(other_type).await);
    for (answer, id) in answers.iter().zip([a, a, b, a, c, d, a]) {
        assert_eq!((answer.resolution(), answer.server_version), (Applied, 1));
        assert_eq!(answer.entity_id.to_lowercase(), id.to_string());
        assert_eq!(answer.mutation_id, first.mutation_id);
    }
    for id in [b, c, d] {
        assert_eq!(versions(&sql, id).await, [(1, Some(json!({"n": 1})))]);
    }
    let count_routines = "select count(*) from entities where entity_type = 'routine'";
    assert_eq!(count(&sql, count_routines).await, 1);
}

/// An item that wrote nothing is decided afresh (section 3).
#[tokio::test]
async fn what_wrote_nothing_leaves_no_memory() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let id = Uuid::new_v4();
    tablet.sync_one(put(id, 0, &json!({"n": 1}))).await;

    let mine = put(id, 0, &json!({"n": 2}));
    let before = contents(&sql).await.len();
    assert_eq!(phone.sync_one(mine.clone()).await.resolution(), NeedsUser);
    let same = SyncItem {
        data: br#"{"n":1}"#.to_vec(),
        ..mine.clone()
    };
    assert_eq!(phone.sync_one(same).await.resolution(), Unchanged);
    assert_eq!(versions(&sql, id).await.len(), 1);
    let new = contents(&sql).await.len() - before;
    assert_eq!(new, 3, "the phone itself, the conflict and its side");

    let chosen = phone.sync_one(forced(mine.clone())).await;
    assert_eq!((chosen.resolution(), chosen.server_version), (ClientWon, 2));
    assert_eq!(phone.sync_one(mine).await, chosen, "now it has a memory");
}

/// An app without mutation ids gets the one derived for it, and may send it from then on.
#[tokio::test]
async fn a_derived_mutation_id_is_echoed_and_stands_for_the_edit() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let item = bare(put(Uuid::new_v4(), 0, &json!({"n": 1})));
    let first = phone.sync_one(item.clone()).await;
    let derived: Uuid = first.mutation_id.parse().expect("a UUID");
    assert_eq!(derived.get_version_num(), 5);
    let named = SyncItem {
        mutation_id: first.mutation_id.clone(),
        ..item.clone()
    };
    assert_eq!(phone.sync_one(named).await, first);
    // The same edit on another device is another edit; here it finds its content there already.
    let elsewhere = tablet.sync_one(item).await;
    assert_eq!(elsewhere.resolution(), Unchanged);
    assert_ne!(elsewhere.mutation_id, first.mutation_id);
}

#[tokio::test]
async fn five_hundred_answers_come_in_the_order_of_their_items() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", "phone").await;
    let mut tablet = service.device("mia", "tablet").await;
    let ids: Vec<Uuid> = (0..500).map(|_| Uuid::new_v4()).collect();
    let taken = ids
        .iter()
        .step_by(3)
        .map(|id| put(*id, 0, &json!({"id": id.to_string()})));
    tablet.sync(taken.collect()).await;
    let mut batch: Vec<SyncItem> = ids
        .iter()
        .enumerate()
        .map(|(i, id)| match i % 5 {
            4 => delete(*id, 0),
            _ => put(*id, 0, &json!({"n": i})),
        })
        .collect();
    batch[7].operation = "upsert".to_owned();
    let answers = phone.sync(batch.clone()).await;
    for (i, (item, answer)) in batch.iter().zip(&answers).enumerate() {
        assert_eq!(answer.entity_id, item.entity_id, "{i}");
        assert_eq!(answer.mutation_id, item.mutation_id, "{i}");
        let expected = match (i, i % 3, i % 5) {
            (7, ..) => SyncStatus::Error,
            // A later deletion wins; what nobody has is deleted already.
            (_, _, 4) | (_, 1.., _) => SyncStatus::Success,
            (_, 0, _) => SyncStatus::Conflict,
        };
        assert_eq!(answer.status(), expected, "{i}: {answer:?}");
        if expected == SyncStatus::Conflict {
            let copy = format!("{{\"id\": \"{}\"}}", item.entity_id);
            assert_eq!(answer.server_data, copy.as_bytes(), "{i}: another's copy");
        }
    }
}
