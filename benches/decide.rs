//! What the pure core costs: one rule, whole batches, reading JSON; and checking a token.

#[allow(dead_code)] // nobody signs wrongly here
#[path = "../tests/tokens/signer.rs"]
mod signer;
mod workout;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use clap::Parser;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use ironflow_sync::auth::{Algorithm, KeySet, Keys, Rules, SECRET_BYTES_MIN, Secret, verify};
use ironflow_sync::config::Config;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::decide::{self, decide};
use ironflow_sync::domain::entity::{Content, Document, MutationId, Stored};
use ironflow_sync::domain::item::{Item, ItemRules, RawItem, Sender, Submission};
use ironflow_sync::domain::json::Json;
use ironflow_sync::domain::plan::{BatchContext, Snapshot, plan};
use ironflow_sync::domain::policy::Policy;
use ironflow_sync::domain::scope::{DeviceId, UserId};
use ironflow_sync::domain::version::Version;
use ironflow_sync::keyring::Keyring;
use signer::{Signer, key_set, name, now_s};
use uuid::Uuid;
use workout::workout;

const KIB: usize = 1024;
const NOW: Millis = Millis(1_760_000_000_000);
/// What the store holds of every entity.
const STORED_VERSION: i32 = 3;

/// What a batch meets.
#[derive(Clone, Copy)]
enum Case {
    /// Every item is based on the stored version.
    Applied,
    /// Every item is based on an older version, and another device wrote the stored one.
    Conflicting,
    /// Every item edits the same entity, all from the stored version.
    Chain,
}

const CASES: [(&str, Case); 3] = [
    ("applied", Case::Applied),
    ("conflicting", Case::Conflicting),
    ("chain", Case::Chain),
];

fn one_item(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    let phone = device("phone");
    for (name, case) in [CASES[0], CASES[1]] {
        let batch = batch(case, 1);
        let item = batch[0].item.as_ref().expect("valid");
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || stored(case, item),
                |stored| {
                    decide(&decide::Case {
                        item: black_box(item),
                        device: &phone,
                        stored: Some(stored),
                        written: None,
                        kept: None,
                        base: None,
                        own_side: None,
                        policy: &Policy::Ask,
                    })
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn whole_batches(c: &mut Criterion) {
    let context = BatchContext {
        device: device("phone"),
        now: NOW,
        catalog: Arc::new(Catalog::builtin()),
        item_bytes_max: 256 * KIB,
        copy_bytes_max: 4 * KIB * KIB,
    };
    for (name, case) in CASES {
        let mut group = c.benchmark_group(format!("plan/{name}"));
        for size in [1, 10, 100] {
            let batch = batch(case, size);
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                // Made anew each time: a document is read at most once, when it is compared.
                b.iter_batched_ref(
                    || snapshot(case, &batch),
                    |snapshot| plan(snapshot, black_box(&batch), &context),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json");
    for (name, bytes) in [("1 KiB", KIB), ("256 KiB", 256 * KIB)] {
        let text = workout(1, bytes);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| Json::from_device(black_box(text.as_bytes())))
        });
    }
    group.finish();
}

/// A batch of the phone's, of documents of about 1 KiB.
fn batch(case: Case, size: usize) -> Vec<Submission> {
    let sender = Sender {
        user: UserId::new("mia").expect("a user id"),
        device: device("phone"),
        client_time: 0,
        received: NOW,
    };
    let rules = ItemRules {
        catalog: &Catalog::builtin(),
        item_bytes_max: 2 * KIB,
        operator: false,
    };
    let items = (0..size).map(|i| RawItem {
        entity_type: "workout".to_owned(),
        entity_id: match case {
            Case::Applied | Case::Conflicting => Uuid::from_u128(i as u128).to_string(),
            Case::Chain => Uuid::nil().to_string(),
        },
        operation: "update".to_owned(),
        data: workout(i, KIB).into_bytes(),
        version: match case {
            Case::Applied | Case::Chain => STORED_VERSION,
            Case::Conflicting => STORED_VERSION - 1,
        },
        mutation_id: Uuid::from_u128(i as u128).to_string(),
        ..RawItem::default()
    });
    items
        .map(|item| Submission::parse(item, &sender, &rules))
        .collect()
}

/// The entities of the batch as the store hands them out.
fn snapshot(case: Case, batch: &[Submission]) -> Snapshot {
    let items = batch.iter().map(|s| s.item.as_ref().expect("valid"));
    Snapshot {
        entities: items
            .map(|item| (item.key.clone(), stored(case, item)))
            .collect(),
        written: HashMap::new(),
        ..Snapshot::default()
    }
}

fn stored(case: Case, item: &Item) -> Stored {
    let theirs = || Content::Live(Arc::new(Document::from_store(workout(usize::MAX, KIB))));
    let version = |number| Version::new(number).expect("not negative");
    Stored {
        version: version(STORED_VERSION),
        content: match case {
            Case::Applied | Case::Chain => Content::NotLoaded,
            Case::Conflicting => theirs(),
        },
        device: device("tablet"),
        device_label: Some("Mia's tablet".to_owned()),
        foreign_version: version(STORED_VERSION - 1),
        base: None,
        mutation: MutationId(Uuid::from_u128(6)),
        merged: false,
        edit_time: item.edit_time,
        clock_offset_ms: 0,
        updated_at: NOW,
    }
}

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).expect("a device id")
}

/// What a token costs that is new, and one that came before.
fn tokens(c: &mut Criterion) {
    let mut group = c.benchmark_group("token");
    let rules = Rules::default();
    let now = Millis(now_s() * 1000);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let signer = Signer::new(algorithm, "key");
        let set = KeySet::parse(key_set(&[&signer]).as_bytes(), &[algorithm]);
        let keys = Keys::new(None, set.expect("a set"));
        let token = signer.token("mia");
        group.bench_function(name(algorithm), |b| {
            b.iter(|| verify(black_box(&token), &keys, &rules, now).expect("valid"));
        });
    }
    let secret = Secret::new(&"s".repeat(SECRET_BYTES_MIN)).expect("long enough");
    let mia = UserId::new("mia").expect("a user id");
    let expires = Millis(now.0 + 3_600_000);
    let token = secret.sign(&rules, &mia, expires).expect("signs");
    let keys = Keys::new(Some(&secret), KeySet::default());
    group.bench_function("HS256", |b| {
        b.iter(|| verify(black_box(&token), &keys, &rules, now).expect("valid"));
    });
    let config = Config::try_parse_from(["ironflow-sync"]).expect("defaults");
    let keyring = Keyring::new(&config.auth, Some(&secret)).expect("a keyring");
    group.bench_function("came before", |b| {
        b.iter(|| keyring.verify(black_box(&token), now).now_or_never());
    });
}

criterion_group!(benches, one_item, whole_batches, json, tokens);
criterion_main!(benches);
