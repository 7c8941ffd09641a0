//! How a combination of the matrix is tried: from the wire to the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Table;
use crate::domain::answer::{Answer, Conflicting, Verdict};
use crate::domain::catalog::{Catalog, TypeRules};
use crate::domain::clock::Millis;
use crate::domain::entity::{Content, Document, EntityKey, EntityType, MutationId, Stored};
use crate::domain::item::{ItemRules, RawItem, RejectionCode, Sender, Submission};
use crate::domain::plan::{BatchContext, Plan, Snapshot, plan};
use crate::domain::policy::Policy;
use crate::domain::scope::UserId;
use crate::domain::testing::{NOW, device, document, version};
use crate::domain::version::Version;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    Absent,
    Live,
    Tombstone,
}

/// One combination, but for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub holds: Holds,
    /// As on the wire.
    pub operation: &'static str,
    pub base: &'static str,
    pub edited: &'static str,
}

const HELD: [(&str, Holds); 3] = [
    ("absent", Holds::Absent),
    ("live", Holds::Live),
    ("tombstone", Holds::Tombstone),
];
const OPERATIONS: [(&str, &[&str]); 2] = [("put", &["create", "update"]), ("delete", &["delete"])];
const BASES: [&str; 3] = ["equal", "behind", "ahead"];
const EDITED: [&str; 3] = ["older", "equal", "newer"];
const STORED_AT: i64 = NOW.0 - 60_000;

/// What a table expects in each place. Fails if it leaves one out or has one twice.
pub(super) fn cells(table: &Table) -> BTreeMap<Place, String> {
    let mut cells = BTreeMap::new();
    let rows = table.rows.iter().flat_map(|rows| rows.lines());
    for row in rows.filter(|row| !row.trim().is_empty()) {
        let (head, expected) = row.split_once('|').expect(row);
        let words: Vec<&str> = head.split_whitespace().collect();
        let expected: Vec<&str> = expected.split('|').map(str::trim).collect();
        let [held, operation, base] = words[..] else {
            panic!("{row}")
        };
        assert_eq!(expected.len(), EDITED.len(), "{row}");
        let (_, holds) = HELD.into_iter().find(|(name, _)| *name == held).expect(row);
        let operations = OPERATIONS.into_iter().find(|(name, _)| *name == operation);
        for operation in operations.expect(row).1 {
            for (edited, expected) in EDITED.into_iter().zip(&expected) {
                let place = Place {
                    holds,
                    operation,
                    base: BASES.into_iter().find(|name| *name == base).expect(row),
                    edited,
                };
                let double = cells.insert(place, (*expected).to_owned());
                assert_eq!(double, None, "{}: {row}", table.name);
            }
        }
    }
    // All are there: none is double, each is made of the words above, and they are as many as there can be.
    let operations: usize = OPERATIONS.iter().map(|(_, names)| names.len()).sum();
    let combinations = HELD.len() * operations * BASES.len() * EDITED.len();
    assert_eq!(cells.len(), combinations, "{}", table.name);
    for (place, expected) in &cells {
        let impossible = place.holds == Holds::Absent && place.base == "behind";
        assert_eq!(expected == "cannot be", impossible, "{place:?}");
    }
    cells
}

/// What the tests change about a place.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub from: &'static str,
    pub force: bool,
    /// What a put holds.
    pub data: &'static str,
}

pub(super) fn by_the_tablet(table: &Table) -> Sent {
    Sent {
        from: "tablet",
        force: false,
        data: table.sent,
    }
}

fn entity() -> EntityKey {
    EntityKey {
        entity_type: EntityType::new("thing").expect("a type"),
        entity_id: uuid::Uuid::from_u128(1),
    }
}

/// Takes one item the whole way: from the wire to the plan. What is not in the answer is checked here.
pub(super) fn answer(table: &Table, place: Place, sent: Sent) -> String {
    let rules = TypeRules {
        shared: table.policy == Policy::ServerAuthoritative,
        ..TypeRules::with(table.policy.clone())
    };
    let catalog = Arc::new(Catalog::new([("thing", rules)]));
    let submission = submission(&catalog, place, sent);
    let snapshot = snapshot(table, place.holds, &submission, &catalog);
    let context = BatchContext {
        device: device(sent.from),
        now: NOW,
        catalog,
        item_bytes_max: usize::MAX,
        copy_bytes_max: usize::MAX,
    };
    let plan = plan(&snapshot, std::slice::from_ref(&submission), &context);
    let sent = match place.operation {
        "delete" => None,
        _ => Some(document(sent.data)),
    };
    told(&plan, &snapshot, table, sent.as_ref())
}

fn submission(catalog: &Catalog, place: Place, sent: Sent) -> Submission {
    let raw = RawItem {
        entity_type: "thing".into(),
        entity_id: entity().entity_id.to_string(),
        operation: place.operation.into(),
        data: sent.data.as_bytes().to_vec(),
        version: match (place.base, place.holds) {
            ("equal", Holds::Absent) => 0,
            ("equal", Holds::Live | Holds::Tombstone) => 4,
            ("behind", _) => 2,
            _ => 9,
        },
        timestamp: match place.edited {
            "older" => STORED_AT - 1,
            "equal" => STORED_AT,
            _ => STORED_AT + 1,
        },
        force: sent.force,
        ..RawItem::default()
    };
    let sender = Sender {
        user: UserId::new("mia").expect("a user"),
        device: device(sent.from),
        client_time: NOW.0,
        received: NOW,
    };
    let rules = ItemRules {
        catalog,
        item_bytes_max: usize::MAX,
        operator: false,
    };
    Submission::parse(raw, &sender, &rules)
}

fn snapshot(table: &Table, holds: Holds, sent: &Submission, catalog: &Catalog) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let content = match holds {
        Holds::Absent => return snapshot,
        Holds::Live => Content::Live(document(table.server)),
        Holds::Tombstone => Content::Tombstone,
    };
    let stored = Stored {
        version: version(4),
        content,
        device: device("phone"),
        device_label: None,
        foreign_version: Version::NONE,
        base: None,
        mutation: MutationId(Uuid::from_u128(6)),
        merged: false,
        edit_time: Millis(STORED_AT),
        clock_offset_ms: 0,
        updated_at: Millis(STORED_AT),
    };
    snapshot.entities.insert(entity(), stored);
    let item = sent.item.as_ref().expect("a valid item");
    let wanted = snapshot.wanted(&[item], &device("tablet"), catalog).bases;
    let asked: Vec<Version> = wanted.iter().map(|(_, version)| *version).collect();
    for version in asked {
        let known = table.base.map(|text| Content::Live(document(text)));
        let known = known.filter(|_| version.number() == 2);
        let held = known.map(|content| ((entity(), version), content));
        snapshot.bases.extend(held);
    }
    snapshot
}

/// The answer in the words of the tables.
fn told(plan: &Plan, snapshot: &Snapshot, table: &Table, sent: Option<&Arc<Document>>) -> String {
    let written: Vec<_> = plan.writes.iter().flat_map(|w| &w.versions).collect();
    let [answer] = plan.answers.as_slice() else {
        panic!("one answer: {:?}", plan.answers)
    };
    let told = match answer {
        Answer::Written { written: now, .. } => {
            let [new] = written[..] else {
                panic!("one version: {written:?}")
            };
            assert_eq!((new.version, new.document.as_ref()), (now.version, sent));
            let name = now.resolution.name().to_uppercase();
            format!("{name} v{}", now.version.number())
        }
        Answer::Unchanged { version, .. } => format!("UNCHANGED {}", version.number()),
        Answer::Conflict(conflicting) => conflict(conflicting, plan, snapshot, table),
        Answer::Rejected(rejection) => match rejection.code {
            RejectionCode::ReadOnly => "READ_ONLY".to_owned(),
            other => panic!("{other:?}: {}", rejection.message),
        },
    };
    let writes = match answer {
        Answer::Written { .. } => 1,
        Answer::Conflict(conflicting) => usize::from(conflicting.verdict == Verdict::Merged),
        Answer::Unchanged { .. } | Answer::Rejected(_) => 0,
    };
    assert!(written.len() <= writes, "{told} wrote {written:?}");
    format!("{told}{}", kept(plan, sent))
}

fn conflict(conflicting: &Conflicting, plan: &Plan, snapshot: &Snapshot, table: &Table) -> String {
    let verdict = match conflicting.verdict {
        Verdict::Merged => "MERGED",
        Verdict::ServerWon => "SERVER_WON",
        Verdict::NeedsUser => "NEEDS_USER",
    };
    let copy = conflicting.copy.document.as_ref();
    let number = conflicting.copy.version.number();
    let mut versions = plan.writes.iter().flat_map(|write| &write.versions);
    let Some(new) = versions.next() else {
        let held = match &snapshot.entities[&entity()].content {
            Content::Live(document) => Some(document),
            Content::Tombstone | Content::NotLoaded | Content::Withheld => None,
        };
        assert_eq!((number, copy), (4, held), "the copy the server holds");
        return format!("{verdict} 4");
    };
    assert_eq!(
        (new.version.number(), new.document.as_ref()),
        (number, copy)
    );
    let copy = copy.expect("a merge is no deletion");
    let mut names = table.merges.iter();
    let name = names.find(|(_, text)| document(text).same_as(copy));
    let name = name.map_or(copy.text(), |(name, _)| name);
    format!("{verdict} v{number} {name}")
}

/// What has become of the inbox.
fn kept(plan: &Plan, sent: Option<&Arc<Document>>) -> &'static str {
    let inbox = &plan.inbox;
    match (inbox.conflicts.as_slice(), inbox.sides.as_slice()) {
        ([], []) => "",
        ([(_, conflict)], [side]) => {
            assert_eq!(side.document.as_ref(), sent);
            assert_eq!(
                (side.conflict, side.mutation),
                (conflict.id, conflict.mutation)
            );
            let open = conflict.settled.is_none();
            assert_eq!(inbox.opened, i32::from(open));
            match open {
                true => " open",
                false => " kept",
            }
        }
        (conflicts, sides) => panic!("{conflicts:?} {sides:?}"),
    }
}
