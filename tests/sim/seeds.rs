//! The tests: many seeds, the histories that once failed, and the checks of the checks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, panic};

use super::history::History;
use super::plants::Plant;
use super::shrink::shrink;
use super::trace::Trace;
use super::world::run;

/// Seeds of a usual run, and those a planted bug is caught within.
const SEEDS: u64 = 2_000;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What is wrong with a history; nothing if all is well. A panic is wrong too: the tables refused.
fn violations(history: &History, plant: Option<Plant>) -> Vec<String> {
    let ran = panic::catch_unwind(|| run(history, plant, Trace::none()));
    match ran {
        Ok(outcome) => outcome.oracle.violations,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            vec![format!("panicked: {}", text.unwrap_or_default())]
        }
    }
}

/// Runs a history, and if it fails, shrinks it and saves it as text.
fn check(name: &str, history: &History) {
    if violations(history, None).is_empty() {
        return;
    }
    let shrunk = shrink(history, |shorter| !violations(shorter, None).is_empty());
    let wrong = violations(&shrunk, None).join("\n");
    let folder = Path::new(ROOT).join("target/sim");
    let path = folder.join(format!("{name}.txt"));
    let comment: String = wrong.lines().map(|line| format!("# {line}\n")).collect();
    fs::create_dir_all(&folder).expect("a folder in target");
    fs::write(&path, format!("{comment}{shrunk}")).expect("a file in target");
    let story = panic::catch_unwind(|| run(&shrunk, None, Trace::kept()).trace);
    panic!(
        "{name} fails, shrunk to {path} (SIM_HISTORY={path} replays it):\n{story}\n{wrong}",
        path = path.display(),
        story = story.unwrap_or_else(|_| shrunk.to_string()),
    );
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let read = text.parse().ok();
    assert!(read.is_some(), "{name}: expected a number, got {text}");
    read
}

#[test]
fn every_history_ends_with_all_devices_equal_to_the_server_and_nothing_lost() {
    if let Ok(path) = env::var("SIM_HISTORY") {
        let text = fs::read_to_string(&path).expect("the history named by SIM_HISTORY");
        return check("replayed", &text.parse().expect("a history"));
    }
    let seeds = match setting("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SIM_SEEDS").unwrap_or(SEEDS),
    };
    println!("seeds {seeds:?}");
    for seed in seeds {
        check(&seed.to_string(), &History::of(seed));
    }
}

#[test]
fn histories_that_failed_once_hold() {
    for path in kept() {
        let text = fs::read_to_string(&path).expect("a history");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        check(&name, &text.parse().expect("a history"));
    }
}

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("tests/sim/histories");
    let found = fs::read_dir(folder).expect("the kept histories");
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no history is kept");
    paths
}

/// What each kept history failed by.
#[test]
fn kept_histories_still_show_what_they_failed_by() {
    for (name, plant) in [
        ("two-copies-with-one-queue", Plant::RepeatsDecidedAfresh),
        (
            "late-copy-of-an-answered-batch",
            Plant::RepeatsDecidedAfresh,
        ),
        (
            "deleted-while-the-reply-was-lost",
            Plant::ReadsBeforePushing,
        ),
    ] {
        let path = Path::new(ROOT).join(format!("tests/sim/histories/{name}.txt"));
        let history = fs::read_to_string(path).expect("a kept history");
        let history = history.parse().expect("a history");
        assert!(!violations(&history, Some(plant)).is_empty(), "{name}");
    }
}

#[test]
fn a_seed_gives_the_same_history_and_the_same_run_every_time() {
    for seed in 0..100 {
        let history = History::of(seed);
        assert_eq!(history.to_string(), History::of(seed).to_string());
        let [once, again] = [(); 2].map(|()| run(&history, None, Trace::kept()).trace);
        assert!(!once.is_empty() && once == again, "seed {seed}");
    }
}

#[test]
fn a_history_reads_back_from_its_text() {
    for seed in 0..200 {
        let history = History::of(seed);
        assert_eq!(history.to_string().parse(), Ok(history), "seed {seed}");
    }
    let nonsense = "device 0 true false 5 5\nfly 1".parse::<History>();
    assert_eq!(nonsense, Err("no step: fly 1".to_owned()));
}

/// The first seed that shows a bug.
fn first_seed(plant: Plant) -> Option<u64> {
    (0..SEEDS).find(|seed| !violations(&History::of(*seed), Some(plant)).is_empty())
}

/// The seed that docs/testing.md names for a bug, if that does show it.
fn documented_seed(docs: &str, plant: Plant, what: &str) -> Option<u64> {
    let row = docs.lines().find_map(|line| {
        let line = line.strip_prefix(&format!("| {what} | "))?;
        line.strip_suffix(" |")
    });
    let seed = row?.parse().ok().filter(|seed| *seed < SEEDS)?;
    let caught = !violations(&History::of(seed), Some(plant)).is_empty();
    caught.then_some(seed)
}

/// A checker that never fails checks nothing.
#[test]
fn every_planted_bug_is_caught_by_the_seed_the_docs_name() {
    let docs = Path::new(ROOT).join("docs/testing.md");
    let docs = fs::read_to_string(docs).expect("docs/testing.md");
    let mut table = String::new();
    let mut stale = false;
    for (plant, what) in Plant::ALL {
        let what = what.trim();
        let documented = documented_seed(&docs, *plant, what);
        stale |= documented.is_none();
        let seed = documented.or_else(|| first_seed(*plant));
        let seed = seed.unwrap_or_else(|| panic!("{SEEDS} seeds do not show: {what}"));
        table += &format!("| {what} | {seed} |\n");
    }
    assert!(!stale, "docs/testing.md: expected the table\n{table}");
}

#[test]
fn a_failing_history_is_shrunk_to_what_it_takes() {
    let plant = Some(Plant::TombstonesLost);
    let seed = first_seed(Plant::TombstonesLost).expect("it is caught");
    let history = History::of(seed);
    let fails = |shorter: &History| !violations(shorter, plant).is_empty();
    let shrunk = shrink(&history, fails);
    assert!(fails(&shrunk) && shrunk.0.len() < 10, "{shrunk}");
}

/// So that the checks are known to have something to check.
#[test]
fn histories_reach_every_kind_of_answer() {
    let mut reached = BTreeSet::new();
    for seed in 0..300 {
        let outcome = run(&History::of(seed), None, Trace::none());
        reached.extend(outcome.oracle.reached);
    }
    for kind in [
        "RESOLUTION_APPLIED",
        "RESOLUTION_UNCHANGED",
        "RESOLUTION_CLIENT_WON",
        "RESOLUTION_RESURRECTED",
        "RESOLUTION_MERGED",
        "RESOLUTION_SERVER_WON",
        "RESOLUTION_NEEDS_USER",
        "ERROR_CODE_GROUP_ABORTED",
        "ERROR_CODE_RETRY_LATER",
        "RESOLVE_STATUS_RESOLVED CHOICE_KEEP_SERVER",
        "RESOLVE_STATUS_RESOLVED CHOICE_KEEP_CLIENT",
        "RESOLVE_STATUS_RESOLVED CHOICE_USE_DATA",
        "RESOLVE_STATUS_RESOLVED CHOICE_KEEP_BOTH",
        "RESOLVE_STATUS_MOVED CHOICE_USE_DATA",
        "RESOLVE_STATUS_SETTLED_BEFORE CHOICE_KEEP_CLIENT",
        "CURSOR_RESET",
        "DEVICE_ID_REUSED",
        "asked again",
        "server restored",
    ] {
        assert!(
            reached.contains(kind),
            "{kind} is never reached: {reached:?}"
        );
    }
}
