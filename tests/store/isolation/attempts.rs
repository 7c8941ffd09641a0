//! Every statement of the store, with arguments that reach for another user's rows, and without its scope.

use std::fs;

/// Statements about no scope, or about scopes as such: the keeper and the login itself run them. And two that are
/// functions, which are tried by themselves.
pub const NOT_OF_A_SCOPE: [&str; 28] = [
    "begin_migration",
    "claim_compaction",
    "count_scopes",
    "create_migrations",
    "find_erasure",
    "find_stuck",
    "forget_erasure",
    "list_erasures",
    "list_scopes",
    "list_sessions",
    "listen",
    "lock_devices",
    "lock_migrations",
    "look_for_news",
    "measure_conflicts",
    "new_epoch",
    "notify",
    "own_registry",
    "read_cursor_key",
    "read_migrations",
    "read_revisions",
    "read_server",
    "record_errors",
    "record_migration",
    "record_seen",
    "remember_erasures",
    "share_registry",
    "write_batches",
];

/// Statements that read or change what is there, with arguments that name leo's rows. `$1` is mia's scope.
pub const SEEKING: [(&str, &str); 52] = [
    ("advance_scope", "{revision}, 1 + {revision}, 0, 0, true"),
    ("allow_device", "'leo-phone'"),
    ("count_account", ""),
    ("count_open", ""),
    ("count_waiting", "'leo-phone', 999"),
    ("delete_conflicts", "'{{settled}}', array[{settled_at}]"),
    ("delete_sides", "'{{settled}}', array[{settled_at}], 99"),
    ("empty_versions", "'{workout}', '{{deleted}}', '{1}'"),
    ("erase_rows", "99"),
    ("erase_scope", ""),
    ("explain_conflicts", "'workout', '{contested}', 99"),
    ("explain_sides", "'workout', '{contested}', 99"),
    ("explain_types", "'{{settings,workout}}', '{contested}'"),
    ("explain_versions", "'workout', '{contested}', 99"),
    ("export_conflicts", "'00000000-0000-0000-0000-000000000000', 99"),
    ("export_devices", "'', 99"),
    (
        "export_entities",
        "'', '00000000-0000-0000-0000-000000000000', 99, 9999",
    ),
    (
        "export_sides",
        "'', '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', 99, 9999",
    ),
    (
        "export_versions",
        "'', '00000000-0000-0000-0000-000000000000', 0, 99, 9999",
    ),
    ("find_conflict", "'{open}'"),
    ("follow_conflicts", "0, 999, 0, 99"),
    ("keep_superseded", "'{workout}', '{{contested}}', '{2}'"),
    ("list_conflicts", "true, null, 9223372036854775807, 99"),
    ("list_deleted", "null, null, 99, 9999, 99"),
    ("list_entities", "'workout'"),
    (
        "list_versions",
        "'user/mia', 'workout', '{contested}', null, null, 99, 9999",
    ),
    ("lock_scope", ""),
    ("read_bases", "'{workout}', '{{contested}}', '{1}', 9999"),
    ("read_conflict", "'{open}'"),
    ("read_devices", "99"),
    ("read_erasure", ""),
    ("read_entities", "'{workout}', '{{contested}}', '{-1}', 9999"),
    ("read_account", ""),
    ("read_standing", "'leo-phone'"),
    ("revoke_device", "'leo-phone', now()"),
    (
        "read_kept",
        "'{workout}', '{{contested}}', '{{contested_side}}', '{{open}}'",
    ),
    (
        "read_neighbours",
        "'{workout}', '{00000000-0000-0000-0000-000000000000}', '{2000-01-01}', '{2100-01-01}',
         '{2100-01-02}'",
    ),
    (
        "read_old_conflicts",
        "'epoch', '00000000-0000-0000-0000-000000000000', 'infinity', 99, '{}', '{}', 'infinity'",
    ),
    (
        "read_old_versions",
        "'epoch', '', '00000000-0000-0000-0000-000000000000', 0, 'infinity', 99, '{}', '{}', '{}', '{}',
         'infinity', 0, 'infinity'",
    ),
    ("read_open", "'{workout}', '{{contested}}', 'leo-tablet'"),
    (
        "read_own_sides",
        "'{workout}', '{{contested}}', '{{contested_side}}', 9999",
    ),
    (
        "read_page",
        "'{0}', '{null}', '{null}', '{false}', null, null, '{}', '{}', 99, 99, 9999",
    ),
    ("read_side", "'workout', '{contested}', '{contested_side}'"),
    ("read_sides", "'{open}', '{contested_side}', 9, 9999"),
    ("read_version", "'workout', '{contested}', 1"),
    (
        "read_written",
        "'{workout}', '{{contested}}', '{{contested_mutation}}', 9999",
    ),
    (
        "update_entities",
        "'mia-phone', now(), '{workout}', '{{contested}}', '{3}', '{999}', array['{\"stolen\": 1}'],
         '{applied}', array[gen_random_uuid()], '{now}', '{push}', '{3}', '{null}', '{0}', '{0}', '{null}',
         '{2}', '{2}'",
    ),
    // Their writing half is tried below.
    ("create_scope", ""),
    ("set_account", "'premium', null, now()"),
    ("record_device", "'mia-phone', 'x', 'x', 'x', 0, now(), 100, null, null"),
    ("reopen_scope", "{revision}"),
    (
        "write_conflicts",
        "'{{open}}', '{edit}', '{workout}', '{{contested}}', '{null}', '{mia-phone}', array[gen_random_uuid()],
         '{1}', '{2}', '{9}', '{ask}', '{true}', '{999}', '{now}', '{null}', '{null}', '{null}', '{null}'",
    ),
];

/// Statements that find nothing by a `where`: they only write rows of the scope they are given.
pub const WRITING: [&str; 5] = [
    "create_scope",
    "record_device",
    "set_account",
    "reopen_scope",
    "write_conflicts",
];

/// The others that only write, with arguments.
pub const INSERTS: [(&str, &str); 4] = [
    (
        "insert_entities",
        "'mia-phone', now(), '{workout}', array[gen_random_uuid()], '{1}', '{999}', array['{}'], '{applied}',
         array[gen_random_uuid()], '{now}', '{push}', '{2}', '{null}', '{0}', '{0}', '{null}', '{0}'",
    ),
    (
        "insert_versions",
        "'mia-phone', now(), '{workout}', array[gen_random_uuid()], '{1}', '{999}', array['{}'], '{applied}',
         array[gen_random_uuid()], '{now}', '{push}', '{2}', '{null}'",
    ),
    (
        "keep_sides",
        "'mia-phone', now(), '{workout}', array[gen_random_uuid()], array[gen_random_uuid()],
         array[gen_random_uuid()], '{1}', '{2}', array['{}'], array[gen_random_uuid()], '{now}'",
    ),
    ("mark_erased", "now(), 1"),
];

/// A statement, as the service sends it.
pub fn source(name: &str) -> String {
    let path = format!("{}/src/store/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = fs::read_to_string(path).expect("a statement");
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A statement that has forgotten whose rows it is about.
pub fn without_its_scope(name: &str) -> String {
    let mut sql = source(name);
    let whole = sql.clone();
    for (scoped, unscoped) in [
        // One row of many would be an error.
        (
            "(select open_conflicts from scopes where scope = $1)",
            "(select sum(open_conflicts) from scopes)",
        ),
        (
            "(select revision from scopes where scope = $1)",
            "(select sum(revision) from scopes)",
        ),
        ("conflict.scope = $1", "$1::text is not null"),
        ("entity.scope = $1", "$1::text is not null"),
        ("device.scope = $1", "$1::text is not null"),
        ("old.scope = $1", "$1::text is not null"),
        ("side.scope = $1", "$1::text is not null"),
        ("side.scope is not distinct from $1", "$1::text is not null"),
        (
            "device.scope is not distinct from $1",
            "$1::text is not null",
        ),
        (
            "entity.scope is not distinct from $1",
            "$1::text is not null",
        ),
        ("old.scope is not distinct from $1", "$1::text is not null"),
        (
            "conflict.scope is not distinct from $1",
            "$1::text is not null",
        ),
        ("(old.scope, old.version)", "($1::text, old.version)"),
        (
            "(entity.scope, entity.version)",
            "($1::text, entity.version)",
        ),
        ("account.scope = $1", "$1::text is not null"),
        ("scope = lane.scope", "true"),
        (
            "scope = case when page.losing_side then $2 else $1 end",
            "$2::text is not null",
        ),
        (
            "scope_digest = sha256(convert_to($1, 'UTF8'))",
            "$1::text is not null",
        ),
        ("scope = $1", "$1::text is not null"),
        ("scope = $2", "$2::text is not null"),
    ] {
        sql = sql.replace(scoped, unscoped);
    }
    assert!(
        sql != whole || WRITING.contains(&name),
        "{name} names no scope"
    );
    for left in [
        "scope = $",
        "scope = lane",
        "scope = any",
        "scope is not distinct",
        "scope, old",
        "scope, entity.v",
    ] {
        assert!(!sql.contains(left), "{name} still names a scope:\n{sql}");
    }
    sql
}

/// The function that writes batches at once, without a word of whose rows they are.
pub fn writing_without_its_scope() -> String {
    function_without(
        "0012_batches",
        "write_batches",
        &[
            ("scope = own_scope", "true"),
            (
                "scope_digest = sha256(convert_to(own_scope, 'UTF8'))",
                "false",
            ),
        ],
    )
}

/// The function that looks for news, likewise.
pub fn looking_without_its_scope() -> String {
    function_without(
        "0011_news",
        "look_for_news",
        &[
            ("scope.scope = own_scope", "scope.scope <> 'library'"),
            ("device.scope = own_scope", "true"),
            ("account.scope = own_scope", "true"),
            (
                "scope_digest = sha256(convert_to(own_scope, 'UTF8'))",
                "true",
            ),
        ],
    )
}

/// The function that measures pages, likewise.
pub fn measuring_without_its_scope() -> String {
    function_without(
        "0013_pages",
        "measure_page",
        &[
            (
                "stands.scope = measure_page.scope",
                "stands.scope <> 'library'",
            ),
            ("entity.scope = measure_page.scope", "true"),
        ],
    )
}

fn function_without(migration: &str, name: &str, scoped: &[(&str, &str)]) -> String {
    let path = format!("{}/migrations/{migration}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = fs::read_to_string(path).expect("a migration");
    let function = sql.split_once(&format!("create function {name}"));
    let (_, function) = function.expect("the function");
    let mut function = format!("create or replace function {name}{function}");
    for (scoped, unscoped) in scoped {
        assert!(function.contains(scoped), "{scoped}");
        function = function.replace(scoped, unscoped);
    }
    function
}
