//! The image and the compose file, as far as files tell: what they name is there. They are run by hand, see
//! docs/testing.md.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::program::program;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a file that are no comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
}

/// The lines of a service, or of another block that is indented by two.
fn block<'a>(compose: &'a str, name: &str) -> Vec<&'a str> {
    let head = format!("  {name}:");
    let block: Vec<&str> = lines(compose)
        .skip_while(|line| *line != head)
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(str::trim)
        .collect();
    assert!(!block.is_empty(), "{name} is not in it");
    block
}

#[test]
fn every_setting_they_name_is_one_of_the_program() {
    let help = program(&["--help"])
        .output()
        .expect("the program runs")
        .stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let mut named = 0;
    for file in ["Dockerfile", "compose.yaml"] {
        for word in read(file).split(|c: char| !is_name(c)) {
            if word.starts_with("IRONFLOW_") || word == "DATABASE_URL" {
                assert!(
                    help.contains(&format!("[env: {word}")),
                    "{file}: nobody reads {word}"
                );
                named += 1;
            }
        }
    }
    assert!(named >= 4, "{named}");
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody_and_looks_after_itself() {
    let dockerfile = read("Dockerfile");
    let stages: Vec<&str> = dockerfile.split("\nFROM ").collect();
    let [_, build, run] = stages.as_slice() else {
        panic!("two stages: {dockerfile}")
    };
    assert!(build.contains(" AS build\n") && build.contains("--locked"));
    let copied: Vec<&str> = lines(&dockerfile)
        .filter(|line| line.starts_with("COPY "))
        .flat_map(|line| {
            let names: Vec<&str> = line.split_whitespace().skip(1).collect();
            let is_from_stage = names.first().is_some_and(|name| name.starts_with("--from"));
            let sources = names.len() - 1;
            let sources = if is_from_stage { 0 } else { sources };
            names.into_iter().take(sources)
        })
        .collect();
    assert!(!copied.is_empty());
    for source in copied {
        assert!(root().join(source).exists(), "{source} is not there");
    }
    let user = lines(run).find_map(|line| line.strip_prefix("USER "));
    let user = user.and_then(|user| user.split(':').next());
    assert!(
        user.is_some_and(|user| user.parse::<u32>().is_ok_and(|id| id > 0)),
        "{user:?}"
    );
    assert!(run.contains("CMD [\"ironflow-sync\", \"health\"]"));
    assert!(lines(run).any(|line| line == "ENTRYPOINT [\"ironflow-sync\"]"));
    let toolchain = build
        .split("rust:")
        .nth(1)
        .and_then(|tag| tag.split('-').next());
    let manifest = read("Cargo.toml");
    let needed = manifest
        .split("rust-version = \"")
        .nth(1)
        .and_then(|it| it.split('"').next());
    let minor = |version: Option<&str>| version?.split('.').nth(1)?.parse::<u32>().ok();
    assert!(
        minor(toolchain) >= minor(needed),
        "{toolchain:?} is older than {needed:?}"
    );
    let ignored = read(".dockerignore");
    assert!(
        ignored.lines().any(|line| line == "target"),
        "gigabytes would be sent"
    );
}

#[test]
fn the_services_wait_for_each_other_keep_their_data_and_give_calls_time_to_end() {
    let compose = read("compose.yaml");
    let service = block(&compose, "ironflow-sync");
    let db = block(&compose, "db");
    assert!(service.contains(&"condition: service_healthy"));
    assert!(db.iter().any(|line| line.contains("pg_isready")));
    assert!(db.iter().any(|line| line.starts_with("- db:")));
    assert!(compose.contains("\nvolumes:\n  db:\n"));
    for (watching, mounted) in [("prometheus", 1), ("grafana", 2)] {
        let from_here = block(&compose, watching);
        let from_here = from_here
            .iter()
            .filter(|line| line.starts_with("- ./deploy/"));
        assert_eq!(from_here.count(), mounted, "{watching}");
    }
    let grace = service
        .iter()
        .find_map(|line| line.strip_prefix("stop_grace_period: "));
    let grace = grace.and_then(|text| text.strip_suffix('s')?.parse::<u32>().ok());
    assert!(grace > Some(10), "longer than IRONFLOW_DRAIN_TIMEOUT_S");
    for secret in [
        "${POSTGRES_PASSWORD:?",
        "${IRONFLOW_JWT_SECRET:?",
        "${GRAFANA_PASSWORD:?",
    ] {
        assert!(
            compose.contains(secret),
            "{secret}: no default may stand in for it"
        );
    }
    for line in lines(&compose) {
        let mounted = line
            .trim()
            .strip_prefix("- ./")
            .and_then(|rest| rest.split(':').next());
        if let Some(source) = mounted {
            assert!(
                root().join(Path::new(source)).exists(),
                "{source} is not there"
            );
        }
    }
}
