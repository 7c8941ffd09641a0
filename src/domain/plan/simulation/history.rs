//! What may happen in a simulation: few entities, few values, and whatever devices and people do.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::decisions::{Choosing, Picked, any_choosing, any_picked};
use crate::domain::catalog::{Catalog, DuplicateRule, TypeRules};
use crate::domain::entity::{Document, EntityKey, EntityType};
use crate::domain::policy::{OnOverlap, Policy};
use crate::domain::testing::{NOW, document};

pub(super) const DEVICES: [&str; 3] = ["phone", "tablet", "watch"];

/// The type of each entity there is: one of each policy, of the library one that is loaded and one that is
/// not, and three that are watched for duplicates.
pub(super) const ENTITIES: [&str; 11] = [
    "asked", "latest", "fields", "strict", "largest", "days", "library", "library", "workout",
    "workout", "workout",
];
pub(super) const LOADED: usize = 6;
pub(super) const WORKOUTS: [usize; 3] = [8, 9, 10];

pub(super) fn catalog() -> Catalog {
    let fields = |on_overlap| TypeRules::with(Policy::MergeFields { on_overlap });
    let library = TypeRules {
        shared: true,
        ..TypeRules::with(Policy::ServerAuthoritative)
    };
    let workout = TypeRules {
        duplicates: Some(DuplicateRule {
            time_keys: vec!["date".into()],
            tolerance_ms: 1,
        }),
        ..TypeRules::with(Policy::Ask)
    };
    let key = "days".into();
    Catalog::new([
        ("asked", TypeRules::with(Policy::Ask)),
        ("latest", TypeRules::with(Policy::LastWriteWins)),
        ("fields", fields(OnOverlap::Latest)),
        ("strict", fields(OnOverlap::Ask)),
        ("largest", TypeRules::with(Policy::MergeMax)),
        ("days", TypeRules::with(Policy::LatestPerKey { key })),
        ("library", library),
        ("workout", workout),
    ])
}

pub(super) fn entity(number: usize) -> EntityKey {
    EntityKey {
        entity_type: EntityType::new(ENTITIES[number]).expect("a type"),
        entity_id: Uuid::from_u128(number as u128),
    }
}

/// What an edit leaves: a few fields with a few values each, so that histories meet.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    title: u8,
    sets: u8,
    note: Option<u8>,
    monday: Option<(u8, i64)>,
    date: i64,
}

impl Fields {
    pub fn document(&self) -> Arc<Document> {
        let Self {
            title, sets, date, ..
        } = self;
        let note = self.note.map(|note| format!(",\"note\":\"{note}\""));
        let monday = self.monday.map(|(sleep, at)| {
            let at = NOW.0 + at;
            format!("\"mon\":{{\"sleep\":{sleep},\"updatedAt\":{at}}}")
        });
        document(&format!(
            "{{\"title\":\"{title}\",\"sets\":{sets},\"date\":{date},\"days\":{{{}}}{}}}",
            monday.unwrap_or_default(),
            note.unwrap_or_default()
        ))
    }
}

/// One edit, as a person makes it on a device.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// Which of the history's entities.
    pub entity: usize,
    /// `None` deletes.
    pub fields: Option<Fields>,
    pub force: bool,
    pub group: Option<&'static str>,
    /// How long ago, in milliseconds.
    pub ago: i64,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Queues an edit, based on what the device knows.
    Edit(usize, Made),
    /// Sends the first items of the queue. If the answer is not heard, they stay in it.
    Push {
        device: usize,
        items: usize,
        heard: bool,
    },
    /// Learns what the server holds.
    Pull(usize),
    /// Items that were sent once come again, in any order; some with the person's word that they shall win.
    Late {
        device: usize,
        items: Vec<usize>,
        group: Option<&'static str>,
        force: bool,
    },
    /// A batch of an app that is wrong about versions, or of a server that was restored.
    Odd(usize, Vec<(Made, i32)>),
    Resolve(usize, Picked, Choosing, Fields),
    Restore(usize, Picked),
}

pub(super) fn any_fields() -> impl Strategy<Value = Fields> {
    let monday = prop::option::of((0u8..3, -5i64..20));
    (0u8..3, 0u8..4, prop::option::of(0u8..2), monday, 0i64..4).prop_map(
        |(title, sets, note, monday, date)| Fields {
            title,
            sets,
            note,
            monday,
            date,
        },
    )
}

fn any_made() -> impl Strategy<Value = Made> {
    let group = prop_oneof![
        6 => Just(None),
        1 => Just(Some("g")),
        1 => Just(Some("h")),
    ];
    let edit = prop::option::weighted(0.8, any_fields());
    (
        0..ENTITIES.len(),
        edit,
        prop::bool::weighted(0.1),
        group,
        0i64..20,
    )
        .prop_map(|(entity, fields, force, group, ago)| Made {
            entity,
            fields,
            force,
            group,
            ago,
        })
}

fn any_step() -> impl Strategy<Value = Step> {
    let device = 0..DEVICES.len();
    let late = prop::collection::vec(0usize..1000, 1..5);
    let odd = prop::collection::vec((any_made(), 0i32..9), 1..5);
    prop_oneof![
        8 => (device.clone(), any_made()).prop_map(|(device, made)| Step::Edit(device, made)),
        6 => (device.clone(), 1usize..6, prop::bool::weighted(0.7))
            .prop_map(|(device, items, heard)| Step::Push { device, items, heard }),
        1 => device.clone().prop_map(Step::Pull),
        4 => (device.clone(), late, prop::option::of(Just("late")), prop::bool::weighted(0.15))
            .prop_map(|(device, items, group, force)| Step::Late { device, items, group, force }),
        1 => (device.clone(), odd).prop_map(|(device, items)| Step::Odd(device, items)),
        3 => (device.clone(), any_picked(), any_choosing(), any_fields())
            .prop_map(|(device, picked, choosing, fields)| {
                Step::Resolve(device, picked, choosing, fields)
            }),
        1 => (device, any_picked()).prop_map(|(device, picked)| Step::Restore(device, picked)),
    ]
}

/// A history: few entities, so that devices meet, and many steps.
pub(super) fn any_history() -> impl Strategy<Value = (Vec<usize>, Vec<Step>)> {
    let focus = prop_oneof![
        3 => prop::collection::vec(0..ENTITIES.len(), 1..4),
        1 => Just(WORKOUTS.to_vec()),
    ];
    (focus, prop::collection::vec(any_step(), 1..40))
}
