//! Section 3 of docs/protocol.md, every row, with the policy `ask`.

use ironflow_sync::grpc::proto::Resolution::{
    Applied, ClientWon, NeedsUser, Resurrected, ServerWon, Unchanged,
};
use ironflow_sync::grpc::proto::{ErrorCode, Resolution, SyncItem, SyncResult, SyncStatus};
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{now_ms, versions};
use crate::support::{Device, TestService, delete, put, put_bytes};

/// One edit of the case's entity.
#[derive(Clone, Copy)]
struct Edit {
    by: &'static str,
    /// `None`: a deletion.
    title: Option<&'static str>,
    base: i32,
    /// How long before the test the person made it; 0: as it arrives.
    ago_s: i64,
    force: bool,
}

const fn edit(by: &'static str, title: &'static str, base: i32) -> Edit {
    Edit {
        by,
        title: Some(title),
        base,
        ago_s: 0,
        force: false,
    }
}

const fn gone(by: &'static str, base: i32) -> Edit {
    Edit {
        title: None,
        ..edit(by, "", base)
    }
}

impl Edit {
    const fn ago(self, ago_s: i64) -> Self {
        Self { ago_s, ..self }
    }

    const fn forced(self) -> Self {
        Self {
            force: true,
            ..self
        }
    }

    fn item(self, id: Uuid, now: i64) -> SyncItem {
        let timestamp = match self.ago_s {
            0 => 0,
            ago_s => now - ago_s * 1000,
        };
        SyncItem {
            timestamp,
            force: self.force,
            ..match self.title {
                Some(title) => put(id, self.base, &json!({"title": title})),
                None => delete(id, self.base),
            }
        }
    }
}

const P: &str = "phone";
const T: &str = "tablet";

/// Name, what happened before, the edit, and how it is settled as which version.
type Case = (&'static str, &'static [Edit], Edit, Resolution, i32);

#[rustfmt::skip] // one case, one or two lines
const CASES: &[Case] = &[
    ("2: new", &[], edit(P, "a", 0), Applied, 1),
    ("2: unknown, with a base", &[], edit(P, "a", 3), Resurrected, 4),
    ("2: delete of nothing", &[], gone(P, 0), Unchanged, 0),
    ("2: delete of nothing, with a base", &[], gone(P, 3), Unchanged, 3),

    ("3: put on the other's version", &[edit(T, "a", 0)], edit(P, "b", 1), Applied, 2),
    ("3: the same content on it", &[edit(T, "a", 0)], edit(P, "a", 1), Applied, 2),
    ("3: delete of the other's version", &[edit(T, "a", 0)], gone(P, 1), Applied, 2),
    ("3: put on a tombstone", &[edit(T, "a", 0), gone(T, 1)], edit(P, "b", 2), Resurrected, 3),
    ("3: delete of a tombstone", &[edit(T, "a", 0), gone(T, 1)], gone(P, 2), Unchanged, 2),

    ("4: the same content from none", &[edit(T, "a", 0)], edit(P, "a", 0), Unchanged, 1),
    ("4: the same content from behind", &[edit(P, "x", 0), edit(T, "a", 1)], edit(P, "a", 1), Unchanged, 2),
    ("4: the same content from ahead", &[edit(T, "a", 0)], edit(P, "a", 9), Unchanged, 1),
    ("4: the same content, forced", &[edit(T, "a", 0)], edit(P, "a", 0).forced(), Unchanged, 1),
    ("4: the same content, own", &[edit(P, "a", 0)], edit(P, "a", 0), Unchanged, 1),
    ("4: tombstone from behind", &[edit(P, "a", 0), gone(T, 1)], gone(P, 1), Unchanged, 2),
    ("4: tombstone from ahead", &[edit(P, "a", 0), gone(T, 1)], gone(P, 7), Unchanged, 2),
    ("4: tombstone, forced", &[edit(P, "a", 0), gone(T, 1)], gone(P, 1).forced(), Unchanged, 2),

    ("5: own chain from none", &[edit(P, "a", 0), edit(P, "b", 0)], edit(P, "c", 0), Applied, 3),
    ("5: own chain from behind", &[edit(P, "a", 0), edit(P, "b", 1)], edit(P, "c", 1), Applied, 3),
    ("5: delete in an own chain", &[edit(P, "a", 0), edit(P, "b", 1)], gone(P, 1), Applied, 3),
    ("5: put behind an own delete", &[edit(P, "a", 0), gone(P, 1)], edit(P, "b", 1), Resurrected, 3),
    ("5: on the other's base", &[edit(T, "a", 0), edit(P, "b", 1)], edit(P, "c", 1), Applied, 3),
    ("5: back from the other's", &[edit(P, "a", 0), edit(T, "b", 1), edit(P, "c", 2)], edit(P, "d", 2), Applied, 4),
    ("5: older edits settle too", &[edit(P, "a", 0).ago(10)], edit(P, "b", 0).ago(50), Applied, 2),

    ("6: forced put", &[edit(T, "a", 0)], edit(P, "b", 0).forced(), ClientWon, 2),
    ("6: forced delete", &[edit(T, "a", 0)], gone(P, 0).ago(99).forced(), ClientWon, 2),
    ("6: forced put on a tombstone", &[edit(P, "a", 0), gone(T, 1)], edit(P, "b", 1).ago(99).forced(), ClientWon, 3),
    ("6: forced from ahead", &[edit(T, "a", 0)], edit(P, "b", 9).forced(), ClientWon, 10),

    ("7: later than the deletion", &[edit(P, "a", 0), gone(T, 1).ago(100)], edit(P, "b", 1).ago(99), Resurrected, 3),
    ("7: earlier", &[edit(P, "a", 0), gone(T, 1).ago(100)], edit(P, "b", 1).ago(101), ServerWon, 2),
    ("7: at the same time", &[edit(P, "a", 0), gone(T, 1).ago(100)], edit(P, "b", 1).ago(100), ServerWon, 2),
    ("7: from ahead", &[edit(P, "a", 0), gone(T, 1).ago(100)], edit(P, "b", 9).ago(99), Resurrected, 10),

    ("8: later than the edit", &[edit(P, "a", 0), edit(T, "b", 1).ago(100)], gone(P, 1).ago(99), ClientWon, 3),
    ("8: earlier", &[edit(P, "a", 0), edit(T, "b", 1).ago(100)], gone(P, 1).ago(101), ServerWon, 2),
    ("8: at the same time", &[edit(P, "a", 0), edit(T, "b", 1).ago(100)], gone(P, 1).ago(100), ServerWon, 2),
    ("8: from ahead", &[edit(T, "a", 0).ago(100)], gone(P, 9).ago(99), ClientWon, 10),

    ("9: both created", &[edit(T, "a", 0)], edit(P, "b", 0), NeedsUser, 1),
    ("9: both edited", &[edit(P, "a", 0), edit(T, "b", 1)], edit(P, "c", 1), NeedsUser, 2),
    ("9: clocks do not decide", &[edit(P, "a", 0), edit(T, "b", 1).ago(100)], edit(P, "c", 1).ago(1), NeedsUser, 2),
    ("9: the other in between", &[edit(P, "a", 0), edit(T, "b", 1), edit(P, "c", 2)], edit(P, "d", 1), NeedsUser, 3),
    ("9: from ahead", &[edit(T, "a", 0)], edit(P, "b", 9), NeedsUser, 1),
    ("9: from ahead, own", &[edit(P, "a", 0)], edit(P, "b", 9), NeedsUser, 1),
];

#[tokio::test]
async fn every_row_of_the_table_is_answered_and_stored_as_written() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let now = now_ms();
    let mut phone = service.device("mia", P).await.called("Mia's phone");
    let mut tablet = service.device("mia", T).await.called("Mia's tablet");
    for (name, before, last, resolution, version) in CASES {
        let id = Uuid::new_v4();
        let mut stored = None;
        for earlier in *before {
            let device = if earlier.by == P {
                &mut phone
            } else {
                &mut tablet
            };
            let answer = device.sync_one(earlier.item(id, now)).await;
            assert_eq!(answer.status(), SyncStatus::Success, "{name}: {answer:?}");
            stored = Some((*earlier, answer));
        }
        let versions_before = versions(&sql, id).await;
        let item = last.item(id, now);
        let answer = phone.sync_one(item.clone()).await;
        assert_eq!(answer.resolution(), *resolution, "{name}: {answer:?}");
        assert_eq!(answer.server_version, *version, "{name}: {answer:?}");
        check_fields(name, &item, &answer, stored.as_ref(), now);
        let mut expected = versions_before;
        if matches!(resolution, Applied | ClientWon | Resurrected) {
            expected.push((*version, last.title.map(|title| json!({"title": title}))));
        }
        assert_eq!(versions(&sql, id).await, expected, "{name}");
    }
}

/// What every answer holds, by the comments in the proto. `stored`: the edit the entity held before
/// and its answer.
fn check_fields(
    name: &str,
    item: &SyncItem,
    answer: &SyncResult,
    stored: Option<&(Edit, SyncResult)>,
    now: i64,
) {
    assert_eq!(answer.entity_id, item.entity_id, "{name}");
    assert_eq!(answer.entity_type, item.entity_type, "{name}");
    assert_eq!(answer.mutation_id, item.mutation_id, "{name}");
    assert_eq!(answer.error_code(), ErrorCode::Unspecified, "{name}");
    assert_eq!(answer.error_message, "", "{name}");
    assert!(answer.violations.is_empty(), "{name}");
    let conflict = matches!(answer.resolution(), ServerWon | NeedsUser);
    if !conflict {
        assert_eq!(answer.status(), SyncStatus::Success, "{name}");
        assert!(answer.server_data.is_empty(), "{name}");
        assert!(!answer.server_deleted, "{name}");
        assert_eq!(answer.conflict, None, "{name}");
        match (answer.resolution(), stored) {
            (Unchanged, None) => assert_eq!(answer.server_timestamp, 0, "{name}"),
            (Unchanged, Some((_, stored))) => {
                assert_eq!(answer.server_timestamp, stored.server_timestamp, "{name}");
            }
            _ => assert!(answer.server_timestamp >= now, "{name}"),
        }
        return;
    }
    let (edit, stored) = stored.expect("a conflict needs a stored entity");
    assert_eq!(answer.status(), SyncStatus::Conflict, "{name}");
    assert_eq!(answer.server_timestamp, stored.server_timestamp, "{name}");
    assert_eq!(answer.server_deleted, edit.title.is_none(), "{name}");
    let data = match edit.title {
        Some(title) => format!("{{\"title\": \"{title}\"}}"),
        None => String::new(),
    };
    assert_eq!(answer.server_data, data.as_bytes(), "{name}");
    let detail = answer.conflict.as_ref().expect("details of the conflict");
    assert_eq!(detail.server_device_id, edit.by, "{name}");
    assert_eq!(
        detail.server_device_label,
        format!("Mia's {}", edit.by),
        "{name}"
    );
    let edited = match edit.ago_s {
        0 => stored.server_timestamp,
        ago_s => now - ago_s * 1000,
    };
    assert_eq!(detail.server_edit_time, edited, "{name}");
}

#[tokio::test]
async fn one_batch_settles_a_chain_in_the_order_sent() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", P).await;
    let id = Uuid::new_v4();
    let other = Uuid::new_v4();
    let items = vec![
        put(id, 0, &json!({"n": 1})),
        put(other, 0, &json!({"n": 1})),
        put(id, 0, &json!({"n": 2})),
        put(id, 0, &json!({"n": 2})),
        put(id, 2, &json!({"n": 3})),
        delete(id, 2),
        put(id, 2, &json!({"n": 4})),
        delete(other, 0),
    ];
    let answers = phone.sync(items).await;
    let settled: Vec<_> = answers
        .iter()
        .map(|answer| (answer.resolution(), answer.server_version))
        .collect();
    let expected = [
        (Applied, 1),
        (Applied, 1),
        (Applied, 2),
        (Unchanged, 2),
        (Applied, 3),
        (Applied, 4),
        (Resurrected, 5),
        (Applied, 2),
    ];
    assert_eq!(settled, expected);
    let n = |n: i32| Some(json!({ "n": n }));
    let history = [(1, n(1)), (2, n(2)), (3, n(3)), (4, None), (5, n(4))];
    assert_eq!(versions(&sql, id).await, history);
    assert_eq!(versions(&sql, other).await, [(1, n(1)), (2, None)]);
}

#[tokio::test]
async fn equal_content_is_recognised_however_it_is_written() {
    let service = TestService::start().await;
    let mut phone = service.device("mia", P).await;
    let mut tablet = service.device("mia", T).await;
    for (name, first, second, resolution) in [
        (
            "key order, space",
            r#"{"a":1,"b":[2]}"#,
            r#"{ "b": [2], "a": 1 }"#,
            Unchanged,
        ),
        ("numbers", r#"{"a":1.10}"#, r#"{"a":11e-1}"#, Unchanged),
        ("escapes", r#"{"a":"é/"}"#, r#"{"a":"\u00e9\/"}"#, Unchanged),
        (
            "beyond a double",
            r#"{"a":9007199254740993}"#,
            r#"{"a":9007199254740992}"#,
            NeedsUser,
        ),
        ("array order", r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, NeedsUser),
        ("null is not absence", r#"{"a":null}"#, "{}", NeedsUser),
    ] {
        let id = Uuid::new_v4();
        tablet.sync_one(put_bytes(id, 0, first)).await;
        let answer = phone.sync_one(put_bytes(id, 0, second)).await;
        assert_eq!(answer.resolution(), resolution, "{name}");
    }
}

#[tokio::test]
async fn no_version_passes_the_largest_int32() {
    let service = TestService::start().await;
    let sql = service.database.client().await;
    let mut phone = service.device("mia", P).await;
    let mut tablet = service.device("mia", T).await;
    let id = Uuid::new_v4();
    tablet.sync_one(put(id, i32::MAX - 1, &json!({}))).await;
    assert_eq!(versions(&sql, id).await, [(i32::MAX, Some(json!({})))]);
    let forced = SyncItem {
        force: true,
        ..put(id, 5, &json!({"a": 1}))
    };
    for (name, item) in [
        ("put", put(id, i32::MAX, &json!({"a": 1}))),
        ("delete", delete(id, i32::MAX)),
        ("forced", forced),
        ("unknown", put(Uuid::new_v4(), i32::MAX, &json!({}))),
    ] {
        check_overflow(name, &sql, &mut phone, item).await;
    }
    let gone = phone.sync_one(delete(Uuid::new_v4(), i32::MAX)).await;
    assert_eq!(
        (gone.resolution(), gone.server_version),
        (Unchanged, i32::MAX)
    );
}

async fn check_overflow(name: &str, sql: &Client, phone: &mut Device, item: SyncItem) {
    let id = item.entity_id.parse().expect("a UUID");
    let before = versions(sql, id).await;
    let answer = phone.sync_one(item).await;
    assert_eq!(answer.status(), SyncStatus::Error, "{name}");
    assert_eq!(answer.error_code(), ErrorCode::InvalidItem, "{name}");
    assert!(answer.error_message.starts_with("version: "), "{name}");
    assert_eq!(answer.resolution(), Resolution::Unspecified, "{name}");
    assert_eq!(versions(sql, id).await, before, "{name}");
}
