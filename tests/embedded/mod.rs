//! The private Postgres, with real processes.
//!
//! Every test has a folder of its own and runs as whoever runs the tests, root
//! or not. Nothing waits by the clock: `eventually` watches a condition, with a
//! bound.

mod home;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use ironflow_sync::postgres::{Cluster, StartError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getpgid};

use home::{
    Home, PATIENCE, ask, config, count_rows, eventually, lives, make_rows, mode, query, query_at,
    setting, tcp_listeners,
};

/// Tells the re-executed test binary, as the victim, which folder to use.
const VICTIM_FOLDER: &str = "IRONFLOW_TEST_VICTIM_FOLDER";

#[test]
fn a_fresh_folder_gets_a_server_that_answers_and_has_no_tcp_port() {
    let home = Home::new();
    let mut config = home.config();
    config.durable = true;
    config.settings = vec![
        setting("max_connections", "17"),
        setting("listen_addresses", "127.0.0.1"),
        setting("fsync", "off"),
    ];
    let cluster = Cluster::start(config).expect("started");

    assert_eq!(
        ask(&cluster, "select current_user || '@' || current_database()"),
        "ironflow@ironflow"
    );
    assert_eq!(
        ask(&cluster, "show server_version").split(' ').next(),
        Some(cluster.server_version())
    );
    assert_eq!(ask(&cluster, "show server_encoding"), "UTF8");
    assert_eq!(ask(&cluster, "show max_connections"), "17");
    assert_eq!(
        ask(&cluster, "show listen_addresses"),
        "",
        "a setting undid a promise"
    );
    assert_eq!(
        ask(&cluster, "show fsync"),
        "on",
        "a setting undid a promise"
    );
    assert_eq!(mode(cluster.socket_dir()), 0o700);

    // In the group of the test, a Ctrl-C for the service would stop the server.
    let server = home.postmaster();
    assert_eq!(getpgid(Some(server)), Ok(server));

    let sockets = home.sockets();
    assert!(
        !sockets.is_empty(),
        "a server without any socket is not looked at rightly"
    );
    let listening = tcp_listeners();
    assert!(sockets.iter().all(|socket| !listening.contains(socket)));
}

#[test]
fn rows_are_kept_when_the_server_is_stopped_and_started_again() {
    let home = Home::new();
    let cluster = home.start();
    make_rows(&cluster);
    let socket_dir = cluster.socket_dir().to_owned();
    let first = home.postmaster();
    cluster.stop();
    assert!(!lives(first));
    assert!(
        !home.pid_file().exists(),
        "the server was not stopped properly"
    );
    assert!(!socket_dir.exists());

    let cluster = home.start();
    assert_eq!(count_rows(&cluster), "1000");
}

#[test]
fn a_second_start_on_the_folder_is_refused_and_told_who_is_first() {
    let home = Home::new();
    let cluster = home.start();
    let refused = Cluster::start(home.config()).expect_err("the folder is taken");
    let expected = format!("is in use by the test, pid {}.", std::process::id());
    assert!(refused.to_string().contains(&expected), "{refused}");
    assert!(matches!(refused, StartError::InUse { .. }));

    assert_eq!(
        ask(&cluster, "select 1"),
        "1",
        "the first one must not notice"
    );
    drop(cluster);
    home.start();
}

#[test]
fn a_killed_server_is_started_again_with_its_committed_rows() {
    let home = Home::new();
    let mut config = home.config();
    config.durable = true;
    let cluster = Cluster::start(config).expect("started");
    make_rows(&cluster);
    let first = home.postmaster();
    kill(first, Signal::SIGKILL).expect("killed");

    eventually("the server is back", || query(&cluster, "select 1").is_ok());
    assert_ne!(home.postmaster(), first);
    assert_eq!(count_rows(&cluster), "1000");
    cluster.stop();
    assert!(
        !home.pid_file().exists(),
        "the second server was not stopped properly"
    );
}

#[test]
fn a_backend_too_busy_to_notice_that_its_server_was_killed_is_ended() {
    let home = Home::new();
    let cluster = home.start();
    let busy = cluster.connection();
    let busy = thread::spawn(move || {
        query_at(
            &busy,
            "select sum(n) from generate_series(1, 1e15::bigint) as series (n)",
        )
    });
    let mut backend = String::new();
    eventually("the backend is busy", || {
        backend = ask(
            &cluster,
            "select coalesce(max(pid), 0) from pg_stat_activity where query like 'select sum%'",
        );
        backend != "0"
    });
    kill(home.postmaster(), Signal::SIGKILL).expect("killed");

    eventually("the server is back", || query(&cluster, "select 1").is_ok());
    assert!(!lives(Pid::from_raw(backend.parse().expect("a pid"))));
    assert!(busy.join().expect("joined").is_err());
}

#[test]
fn a_server_that_fails_to_start_again_is_tried_until_it_does_or_is_stopped() {
    let home = Home::new();
    let cluster = home.start();
    let settings = home.data_dir().join("pg/postgresql.conf");
    let working = fs::read(&settings).expect("settings");
    let log = home.data_dir().join("postgres.log");
    let failures = || {
        let log = fs::read_to_string(&log).expect("a log");
        log.matches("postgresql.conf\" line 1").count()
    };
    let break_and_kill = || {
        let failures_before = failures();
        fs::write(&settings, "this is = not = a setting\n").expect("written");
        kill(home.postmaster(), Signal::SIGKILL).expect("killed");
        eventually("it failed twice", || failures() >= failures_before + 2);
    };
    break_and_kill();
    fs::write(&settings, working).expect("written");
    eventually("the server is back", || query(&cluster, "select 1").is_ok());

    break_and_kill();
    let begin = Instant::now();
    cluster.stop();
    assert!(begin.elapsed() < PATIENCE, "a stop waited for a restart");
}

#[test]
fn a_service_killed_at_once_leaves_no_server_behind() {
    if let Some(folder) = std::env::var_os(VICTIM_FOLDER) {
        return be_victim(&folder);
    }
    let home = Home::new();
    let mut victim = start_victim(&home);
    let server = home.postmaster();
    assert!(lives(server));
    victim.kill().expect("killed");
    victim.wait().expect("reaped");

    eventually("the server is gone", || !lives(server));
    eventually("it was stopped properly", || !home.pid_file().exists());
    assert_eq!(ask(&home.start(), "select 1"), "1");
}

/// The service that the test above kills, in a process of its own.
fn be_victim(folder: &OsStr) {
    let cluster = Cluster::start(config(Path::new(folder))).expect("started");
    println!("\nready on {}", cluster.socket_dir().display());
    // Ends when the other process does, however it does.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn an_orphan_of_an_earlier_service_is_stopped_first() {
    let home = Home::new();
    let cluster = home.start();
    make_rows(&cluster);
    let program = home.program();
    cluster.stop();
    let mut orphan = home.start_by_hand(&program);

    let cluster = home.start();
    assert!(
        orphan.try_wait().expect("waited").is_some(),
        "two servers on one cluster"
    );
    assert_eq!(count_rows(&cluster), "1000");
}

#[test]
fn a_pid_file_that_names_a_stranger_is_removed_and_the_stranger_left_alone() {
    let home = Home::new();
    home.start().stop();
    // Of the same user, or Postgres would know by itself that it is a stranger.
    let mut stranger = home
        .as_owner_of_cluster("sleep")
        .arg("1000")
        .spawn()
        .expect("a stranger");
    home.write_pid_file(stranger.id());

    let cluster = home.start();
    assert_eq!(ask(&cluster, "select 1"), "1");
    assert!(
        stranger.try_wait().expect("waited").is_none(),
        "a stranger was killed"
    );
    stranger.kill().expect("killed");
    stranger.wait().expect("reaped");
}

#[test]
fn a_pid_file_that_names_the_server_of_another_folder_leaves_that_server_alone() {
    let other_home = Home::new();
    let other = other_home.start();
    let other_server = other_home.postmaster();
    let home = Home::new();
    home.start().stop();
    home.write_pid_file(other_server.as_raw().unsigned_abs());

    let cluster = home.start();
    assert_eq!(ask(&cluster, "select 1"), "1");
    assert_eq!(ask(&other, "select 1"), "1");
    assert_eq!(
        other_home.postmaster(),
        other_server,
        "another service's server was stopped"
    );
}

#[test]
fn an_initdb_that_was_killed_half_way_is_begun_again() {
    let home = Home::new();
    let unfinished = home.data_dir().join("pg.new");
    fs::create_dir_all(unfinished.join("base")).expect("a folder");
    home.let_pass(&home.data_dir());
    fs::write(unfinished.join("PG_VERSION"), "15\n").expect("a file");

    let cluster = home.start();
    assert_eq!(ask(&cluster, "select 1"), "1");
    assert!(!unfinished.exists());
}

#[test]
fn a_folder_that_can_not_be_reached_is_refused_before_initdb_and_named() {
    let home = Home::new();
    let parent = home.path().join("closed");
    fs::create_dir(&parent).expect("a folder");
    let mut config = home.config();
    config.data_dir = parent.join("data");
    let named = |refused: &StartError, cure: &str| {
        let text = refused.to_string();
        assert!(
            text.contains(&format!("Run: {cure} {}  (or", parent.display())),
            "{text}"
        );
    };
    if geteuid().is_root() {
        // Root passes everywhere, but the account it runs Postgres as does not.
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o700)).expect("closed");
        let refused = Cluster::start(config).expect_err("unreachable");
        assert!(
            matches!(refused, StartError::Unreachable { .. }),
            "{refused}"
        );
        named(&refused, "chmod o+x");
        assert!(!parent.join("data/pg.new").exists() && !parent.join("data/pg").exists());
    } else {
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o500)).expect("closed");
        let refused = Cluster::start(config).expect_err("not writable");
        assert!(
            matches!(refused, StartError::NotWritable { .. }),
            "{refused}"
        );
        let user = nix::unistd::User::from_uid(geteuid())
            .expect("looked up")
            .expect("a user");
        named(&refused, &format!("chown {}", user.name));
        assert!(!parent.join("data").exists());
    }
}

#[test]
fn a_cluster_of_a_missing_major_is_refused_and_the_package_named() {
    let home = Home::new();
    home.start().stop();
    fs::write(home.data_dir().join("pg/PG_VERSION"), "99\n").expect("written");
    let refused = Cluster::start(home.config()).expect_err("no such major");
    assert!(
        matches!(refused, StartError::MissingMajor { major: 99, .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .ends_with("apt-get install -y postgresql-99"),
        "{refused}"
    );
}

#[test]
fn binaries_of_another_major_are_refused_even_when_asked_for() {
    let home = Home::new();
    let cluster = home.start();
    let bin_dir = home.program().parent().expect("a folder").to_owned();
    cluster.stop();
    let mut config = home.config();
    config.bin_dir = Some(bin_dir);
    Cluster::start(config.clone())
        .expect("the right major")
        .stop();

    fs::write(home.data_dir().join("pg/PG_VERSION"), "99\n").expect("written");
    let refused = Cluster::start(config).expect_err("another major");
    assert!(
        matches!(refused, StartError::WrongMajor { wanted: 99, .. }),
        "{refused}"
    );
}

#[test]
fn a_broken_configuration_is_shown_from_the_log() {
    let home = Home::new();
    home.start().stop();
    let broken = home.data_dir().join("pg/postgresql.conf");
    fs::write(&broken, "this is = not = a setting\n").expect("written");
    let refused = Cluster::start(home.config()).expect_err("broken");
    assert!(matches!(refused, StartError::Exited { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("postgresql.conf\" line 1"), "{text}");
    assert!(
        !text.contains("ready to accept connections"),
        "lines of an earlier run:\n{text}"
    );
}

#[test]
fn a_failed_initdb_says_what_it_printed_and_leaves_no_cluster() {
    let home = Home::new();
    let bin_dir = home.path().join("bin");
    fs::create_dir(&bin_dir).expect("a folder");
    home.let_pass(&bin_dir);
    for program in ["postgres", "initdb"] {
        let program = bin_dir.join(program);
        fs::write(
            &program,
            "#!/bin/sh\necho no space left on the moon >&2; exit 1\n",
        )
        .expect("a program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    let mut config = home.config();
    config.bin_dir = Some(bin_dir);
    let refused = Cluster::start(config).expect_err("no cluster");
    assert!(matches!(refused, StartError::Initdb { .. }), "{refused}");
    assert!(
        refused.to_string().ends_with("no space left on the moon"),
        "{refused}"
    );
    assert!(!home.data_dir().join("pg").exists());
    home.start();
}

#[test]
fn a_path_too_long_for_a_socket_gets_a_short_private_folder_that_is_removed() {
    let home = Home::new();
    let mut config = home.config();
    config.data_dir = home.path().join("x".repeat(60)).join("y".repeat(60));
    let cluster = Cluster::start(config).expect("started");
    assert_eq!(ask(&cluster, "select 1"), "1");
    let socket_dir = cluster.socket_dir().to_owned();
    assert!(!socket_dir.starts_with(home.path()));
    assert_eq!(mode(&socket_dir), 0o700);
    cluster.stop();
    assert!(!socket_dir.exists());
}

#[test]
fn no_value_a_client_sent_is_written_to_the_log() {
    let home = Home::new();
    let cluster = home.start();
    make_rows(&cluster);
    // Each of these fails, and Postgres' defaults would log row and statement.
    for sql in [
        "insert into sets (weight) select 987654321 from generate_series(1, 2)",
        "insert into sets (weight) values (987654321, 'too many columns')",
    ] {
        query(
            &cluster,
            "create unique index if not exists sets_weight on sets (weight)",
        )
        .expect("an index");
        query(&cluster, sql).expect_err("refused");
    }
    cluster.stop();
    let log = fs::read_to_string(home.data_dir().join("postgres.log")).expect("a log");
    assert!(
        log.contains("duplicate key"),
        "the failure itself is logged:\n{log}"
    );
    assert!(!log.contains("987654321"), "{log}");
}

/// Runs the calling test again, as a service that can be killed.
fn start_victim(home: &Home) -> Child {
    let (_, module) = module_path!()
        .split_once("::")
        .expect("a module of the test binary");
    let mut victim = Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            &format!("{module}::a_service_killed_at_once_leaves_no_server_behind"),
            "--nocapture",
        ])
        .env(VICTIM_FOLDER, home.data_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the victim");
    let mut stdout = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    assert!(
        stdout.any(|line| line.expect("a line").starts_with("ready on")),
        "the victim did not start"
    );
    victim
}
