//! The tests.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::{env, fs, thread};

use tokio::runtime::Runtime;

use super::chaos::Tally;
use super::peer::Real;
use super::rig::Rig;
use crate::sim::history::History;
use crate::sim::trace::Trace;
use crate::sim::world::play;

/// Histories of a usual run.
const RUNS: u64 = 8;

/// Worlds at once, each with a Postgres of its own: mostly they wait for somebody to come back.
const WORLDS: usize = 4;

/// Histories in one world: its backups take room.
const RUNS_PER_WORLD: usize = 50;

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let read = text.parse().ok();
    assert!(read.is_some(), "{name}: expected a number, got {text}");
    read
}

/// A history, and what must hold in the end.
fn check(seed: u64, runtime: &Runtime, rig: &mut Rig, tally: &mut Tally) {
    tally.histories += 1;
    let history = History::of(seed);
    let peer = Real::new(runtime.handle().clone(), rig, tally, seed);
    let outcome = play(&history, peer, None, Trace::kept());
    if outcome.oracle.violations.is_empty() {
        return;
    }
    let wrong = outcome.oracle.violations.join("\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
    fs::create_dir_all(&folder).expect("a folder in target");
    let path = folder.join(format!("{seed}.txt"));
    let story = format!("{history}\n\n{}\n\n{wrong}\n", outcome.trace);
    fs::write(&path, story).expect("a file in target");
    panic!("history {seed} fails, see {}:\n{wrong}", path.display());
}

#[test]
fn every_history_over_a_broken_world_ends_with_all_equal_and_nothing_lost() {
    let runtime = Runtime::new().expect("a runtime");
    let first = setting("FAULT_SEED");
    let runs = setting("FAULT_RUNS").unwrap_or(if first.is_some() { 1 } else { RUNS });
    let seeds = first.unwrap_or_default()..first.unwrap_or_default() + runs;
    println!("seeds {seeds:?}");
    let next = Mutex::new(seeds.clone());
    let tallies = thread::scope(|scope| {
        let worlds: Vec<_> = (0..WORLDS)
            .map(|_| scope.spawn(|| play_in_worlds(&runtime, &next)))
            .collect();
        let tallies = worlds.into_iter().map(|world| world.join());
        tallies.collect::<Result<Vec<Tally>, _>>()
    });
    let tally: Tally = tallies.expect("every history holds").into_iter().sum();
    println!("{seeds:?}: {tally}");
    assert!(tally.kills > 0, "nothing was killed");
}

/// Plays one history after the other, as long as there are any.
fn play_in_worlds(runtime: &Runtime, next: &Mutex<Range<u64>>) -> Tally {
    let mut tally = Tally::default();
    loop {
        let mut rig = None;
        for _ in 0..RUNS_PER_WORLD {
            let Some(seed) = next.lock().expect("no history has failed").next() else {
                return tally;
            };
            let rig = rig.get_or_insert_with(|| runtime.block_on(Rig::start()));
            check(seed, runtime, rig, &mut tally);
        }
    }
}
