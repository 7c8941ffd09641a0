//! The checks of the fuzz targets, without a fuzzer: the corpora that fuzzing found, and pseudo-random
//! bytes, the same in every run. How to fuzz: docs/testing.md.

mod bytes;
mod checks;
mod merges;

use std::fs;
use std::path::Path;

use fastrand::Rng;

/// Pseudo-random inputs per target: about a second of them.
const RANDOM_RUNS: usize = 3_000;

/// Replays a target's corpus whole, cut and changed, then tries bytes of no plan.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = fs::read_dir(&folder).expect("a corpus");
    let mut corpus: Vec<Vec<u8>> = files
        .map(|file| fs::read(file.expect("an entry").path()).expect("a file"))
        .collect();
    assert!(corpus.len() >= 20, "{target}: {} inputs", corpus.len());
    corpus.iter().for_each(|input| check(input));
    corpus.sort();
    let mut random = Rng::with_seed(0x1f0d_5f6c);
    for _ in 0..RANDOM_RUNS {
        let mut input = corpus[random.usize(..corpus.len())].clone();
        match random.u8(..4) {
            0 => input = (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
            1 => input.truncate(random.usize(..=input.len())),
            2 => {
                let other = &corpus[random.usize(..corpus.len())];
                input.truncate(random.usize(..=input.len()));
                input.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
            _ => {
                for _ in 0..random.usize(1..5) {
                    let at = random.usize(..=input.len());
                    match input.get_mut(at) {
                        Some(byte) => *byte = random.u8(..),
                        None => input.push(random.u8(..)),
                    }
                }
            }
        }
        check(&input);
    }
}

#[test]
fn items_are_parsed_into_what_was_sent_or_refused_by_the_name_of_a_field() {
    replay("item", checks::item);
}

#[test]
fn json_is_read_as_others_read_it() {
    replay("json", checks::json);
}

#[test]
fn cursors_are_read_as_written_and_refused_after_any_change() {
    replay("cursor", checks::cursor);
}

#[test]
fn merges_keep_their_laws() {
    replay("merge", checks::merge);
}
