//! The onlys of the house, checked: who may import whom, who may read the clock, who may speak SQL.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Longest file, in lines before its tests: beyond that it holds two things.
const FILE_LINES_MAX: usize = 400;

/// Which modules of the crate each module may name. Everybody may name `domain` and `error`;
/// `domain` names nobody.
const IMPORTS: [(&str, &[&str]); 30] = [
    ("admission", &[]),
    ("places", &[]),
    ("domain", &[]),
    ("error", &[]),
    ("erasure", &["feed", "store", "turns"]),
    ("auth", &[]),
    ("config", &[]),
    ("connections", &[]),
    ("der", &[]),
    ("keyring", &["auth", "config"]),
    ("telemetry", &["config", "trace"]),
    ("tls", &["config", "der"]),
    ("postgres", &[]),
    ("store", &["der"]),
    ("feed", &["store"]),
    ("presence", &["store"]),
    ("status", &["store"]),
    ("export", &["places", "store"]),
    ("history", &["store"]),
    ("inbox", &["store"]),
    ("retention", &["store"]),
    ("trace", &[]),
    ("turns", &[]),
    (
        "metrics",
        &[
            "admission",
            "connections",
            "feed",
            "places",
            "retention",
            "store",
        ],
    ),
    (
        "push",
        &["feed", "metrics", "places", "store", "trace", "turns"],
    ),
    ("pull", &["metrics", "places", "presence", "store", "trace"]),
    ("watch", &["feed", "metrics", "pull", "store", "trace"]),
    (
        "grpc",
        &[
            "admission",
            "auth",
            "config",
            "erasure",
            "export",
            "history",
            "inbox",
            "keyring",
            "metrics",
            "places",
            "presence",
            "pull",
            "push",
            "status",
            "store",
            "trace",
            "watch",
        ],
    ),
    (
        "server",
        &[
            "admission",
            "config",
            "connections",
            "erasure",
            "feed",
            "grpc",
            "keyring",
            "metrics",
            "places",
            "presence",
            "pull",
            "push",
            "retention",
            "store",
            "tls",
            "watch",
        ],
    ),
    (
        "commands",
        &[
            "auth",
            "config",
            "erasure",
            "export",
            "feed",
            "grpc",
            "keyring",
            "metrics",
            "places",
            "postgres",
            "push",
            "retention",
            "server",
            "store",
            "telemetry",
            "tls",
        ],
    ),
];

/// Words that only some files may hold: the word, where, and why.
const ONLYS: [(&str, &[&str], &str); 25] = [
    (
        "tonic",
        &[
            "grpc",
            "server",
            "connections",
            "commands/demo/device",
            "trace/otlp",
            "commands/health",
        ],
        "only grpc, server and connections know gRPC, the app of the demo and who asks for health; spans travel by it",
    ),
    ("prost", &["grpc"], "only grpc knows protobuf"),
    (
        "deadpool_postgres",
        &["store"],
        "only store speaks to Postgres",
    ),
    (
        "tokio_postgres",
        &["store", "postgres", "commands"],
        "only store speaks to Postgres",
    ),
    ("include_str!(\"sql/", &["store"], "only store has SQL"),
    ("::env::", &["config"], "only config reads the environment"),
    (
        "clap",
        &["config", "main"],
        "only config reads the command line",
    ),
    (
        "SystemTime::now",
        &["grpc/edge", "commands"],
        "only the edge reads the clock",
    ),
    (
        "Instant::now",
        &[
            "push",
            "pull",
            "watch",
            "export",
            "metrics",
            "retention",
            "postgres",
            "keyring",
        ],
        "durations, never times",
    ),
    (
        "jiff",
        &["domain/moment"],
        "a time is milliseconds, dates are only read",
    ),
    (
        "jsonwebtoken",
        &["auth"],
        "only auth knows how tokens are made",
    ),
    (
        "hyper",
        &["keyring/source", "metrics/port", "commands/health"],
        "only key sets are fetched, only metrics told beside gRPC, and health is asked over a connection of its own",
    ),
    (
        "opentelemetry",
        &["trace/otlp", "telemetry"],
        "spans are exported in one place",
    ),
    (
        "prometheus_client",
        &["metrics"],
        "names of metrics are in one place",
    ),
    (
        "rustls",
        &["tls", "store/tls", "store/address", "keyring/source"],
        "whom to trust is decided in few places",
    ),
    (
        "dangerous()",
        &["store/tls", "tls/probe"],
        "only of Postgres, and of oneself, is anything less than name and chain ever checked",
    ),
    ("toml::", &["domain/catalog"], "only the catalog is TOML"),
    (
        "jsonschema::",
        &["domain/schema"],
        "only one place knows how data is checked",
    ),
    ("Uuid::new_v4", &["commands"], "randomness is an argument"),
    (
        "tokio::spawn",
        &["server", "places"],
        "only server spawns long-lived tasks, places a read",
    ),
    (
        "thread::",
        &["postgres", "server", "commands/demo/question"],
        "only server, the private Postgres and whoever waits for a person run on their own",
    ),
    ("store::batch", &["push"], "only push writes entities"),
    (
        "async ",
        &[
            "store",
            "push",
            "pull",
            "watch",
            "feed",
            "presence",
            "turns",
            "places",
            "connections",
            "admission",
            "metrics",
            "status",
            "history",
            "inbox",
            "export",
            "erasure",
            "retention",
            "grpc",
            "server",
            "commands",
            "main",
            "postgres",
            "keyring",
            "telemetry",
            "tls",
        ],
        "a pure core",
    ),
    ("unbounded", &[], "every queue has a bound"),
    (
        "batch_execute",
        &[
            "store/migrations",
            "store/feed",
            "store/session",
            "postgres",
        ],
        "statements take parameters",
    ),
];

/// Source files below `folder`, with their module path: `store/batch`.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((module(&path, folder), code(&path)));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn module(path: &Path, folder: &str) -> String {
    let relative = path
        .strip_prefix(Path::new(ROOT).join(folder))
        .expect("below it");
    relative.with_extension("").display().to_string()
}

/// The code of a file: without its tests and without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source");
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(module: &str) -> bool {
    module.ends_with("/tests") || module.ends_with("/testing")
}

fn is_in(module: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        module
            .strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[test]
fn modules_name_only_those_below_them() {
    for (module, code) in sources("src") {
        let top = module.split('/').next().unwrap_or_default();
        if ["lib", "main"].contains(&top) {
            continue;
        }
        let allowed = IMPORTS.iter().find(|(name, _)| *name == top);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{top} is missing in IMPORTS"));
        for named in code.split("crate::").skip(1) {
            let group = named
                .strip_prefix('{')
                .and_then(|group| group.split('}').next());
            for named in group
                .unwrap_or(named)
                .split(',')
                .take(group.map_or(1, |_| usize::MAX))
            {
                let named: String = named
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let everybodys = top != "domain" && ["domain", "error"].contains(&named.as_str());
                let fine = everybodys || named == top || allowed.contains(&named.as_str());
                assert!(fine, "{module} names crate::{named}");
            }
        }
    }
}

#[test]
fn words_that_only_some_may_hold_are_nowhere_else() {
    for (module, code) in sources("src") {
        if is_test(&module) {
            continue;
        }
        for (word, places, why) in ONLYS {
            assert!(
                is_in(&module, places) || !code.contains(word),
                "{module} has {word}: {why}"
            );
        }
    }
}

#[test]
fn the_core_has_no_way_out() {
    for (module, code) in sources("src") {
        if !module.starts_with("domain") || is_test(&module) {
            continue;
        }
        for word in [
            "std::fs",
            "std::net",
            "std::time",
            "std::env",
            "tokio",
            "tracing",
            "SystemTime",
        ] {
            assert!(!code.contains(word), "{module} has {word}");
        }
    }
}

#[test]
fn only_push_has_entities_written() {
    /// Retention writes no version and no entity: it empties versions that were superseded.
    const EMPTIES: (&str, &str) = ("empty_versions.sql", "store/retention");
    /// Of an account that is deleted all rows go.
    const ERASES: (&str, &str) = ("erase_rows.sql", "store/erasure");
    for folder in ["src/store/sql"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).expect("statements") {
            let path = entry.expect("an entry").path();
            let sql = fs::read_to_string(&path).expect("a statement");
            let writes = ["insert into entit", "update entit", "delete from entit"];
            if writes.iter().any(|write| sql.contains(write)) {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let empties = sql.contains("update entity_versions as old\nset data = null\nfrom ");
                assert_eq!(empties, name == EMPTIES.0, "{name}");
                for (module, code) in sources("src") {
                    let uses = code.contains(&format!("sql/{name}"));
                    let fine = is_in(&module, &["store/batch"])
                        || [EMPTIES, ERASES].contains(&(name.as_str(), &*module));
                    assert!(!uses || fine, "{module} runs {name}");
                }
            }
        }
    }
}

#[test]
fn a_file_holds_one_thing() {
    for (module, code) in sources("src") {
        let lines = code.lines().count();
        assert!(
            is_test(&module) || lines <= FILE_LINES_MAX,
            "{module} has {lines} lines"
        );
    }
}

#[test]
fn every_statement_is_alone_in_its_file_and_names_its_scope() {
    /// Statements about the whole database, or about scopes as such.
    const SCOPELESS: [&str; 20] = [
        "claim_compaction.sql",
        "count_scopes.sql",
        "find_stuck.sql",
        "list_sessions.sql",
        "read_server.sql",
        "list_erasures.sql",
        "list_scopes.sql",
        "listen.sql",
        "measure_conflicts.sql",
        "own_registry.sql",
        "remember_erasures.sql",
        "share_registry.sql",
        "new_epoch.sql",
        "notify.sql",
        "read_cursor_key.sql",
        "begin_migration.sql",
        "create_migrations.sql",
        "lock_migrations.sql",
        "read_migrations.sql",
        "record_migration.sql",
    ];
    for entry in fs::read_dir(Path::new(ROOT).join("src/store/sql")).expect("statements") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let sql = fs::read_to_string(&path).expect("a statement");
        if SCOPELESS.contains(&name.as_str()) {
            continue;
        }
        let statement: String = sql.lines().filter(|line| !line.starts_with("--")).collect();
        assert!(
            !statement.contains(';'),
            "{name} holds more than one statement"
        );
        assert!(
            !sql.contains("select *"),
            "{name} selects what it does not name"
        );
        assert!(
            sql.contains("-- $1 scope text"),
            "{name} takes its scope first"
        );
    }
}
