//! The Postgres server of a test run: `TEST_DATABASE_URL`, or a container if
//! `TEST_POSTGRES=container`, or else a private one. Never `DATABASE_URL`: tests drop databases.
//! Where none can be had the tests fail; they never skip.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ironflow_sync::postgres::{Cluster, ClusterConfig};
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio_postgres::Config;

/// The image of the container, unless `TEST_POSTGRES_IMAGE` names another (`name:tag`).
const IMAGE: &str = "postgres:17";

/// Room for races with many connections in several tests at once.
const CONNECTIONS_MAX: &str = "300";

/// What keeps a bench from measuring checkpoints and vacuums, which come when they come: memory for all of it,
/// and neither of them while it runs. Commits are as durable as ever.
const STEADY: [(&str, &str); 4] = [
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
];

/// How to connect as an administrator to the one server of this process.
pub fn admin() -> &'static Config {
    static SERVER: OnceLock<Config> = OnceLock::new();
    SERVER.get_or_init(|| {
        let url = env::var("TEST_DATABASE_URL").ok();
        match (url, env::var("TEST_POSTGRES").as_deref()) {
            (Some(url), _) => url.parse().expect("TEST_DATABASE_URL is a Postgres URL"),
            (None, Ok("container")) => container(),
            (None, Ok("private") | Err(_)) => private(false),
            (None, Ok(other)) => {
                panic!("TEST_POSTGRES: expected container or private, got {other}")
            }
        }
    })
}

/// A private server that ends with this process, and its folder with it. `durable`: with fsync,
/// for benches.
pub fn private(durable: bool) -> Config {
    let folder = tempfile::Builder::new()
        .prefix("ironflow-test-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .tempdir()
        .expect("a folder")
        .keep();
    let mut settings = vec![("max_connections", CONNECTIONS_MAX)];
    if durable {
        settings.extend(STEADY);
    }
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let cluster = Cluster::start(ClusterConfig {
        data_dir: folder.clone(),
        bin_dir: None,
        search_path: env::var_os("PATH").unwrap_or_default(),
        holder: "tests".to_owned(),
        durable,
        settings: settings.collect(),
    });
    let cluster = cluster.unwrap_or_else(|error| panic!("no Postgres for the tests: {error}"));
    // When this process ends, however it does, the server follows by its parent-death signal.
    at_exit(&format!(
        "for i in $(seq 100); do [ -e {0}/pg/postmaster.pid ] || break; sleep 0.1; done; rm -rf {0}",
        quoted(&folder)
    ));
    let config = cluster.connection();
    std::mem::forget(cluster);
    config
}

fn container() -> Config {
    const PASSWORD: &str = "tests";
    let image = env::var("TEST_POSTGRES_IMAGE").unwrap_or_else(|_| IMAGE.to_owned());
    let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    let image = GenericImage::new(name, tag)
        .with_exposed_port(ContainerPort::Tcp(5432))
        .with_wait_for(WaitFor::message_on_stderr("ready to accept connections"))
        .with_env_var("POSTGRES_PASSWORD", PASSWORD)
        .with_cmd([
            "-c",
            "fsync=off",
            "-c",
            &format!("max_connections={CONNECTIONS_MAX}"),
        ]);
    let (host, port, id) = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let container = image
                .start()
                .await
                .expect("a container engine and its image");
            let host = container.get_host().await.expect("a host").to_string();
            let port = container.get_host_port_ipv4(5432).await.expect("a port");
            let id = container.id().to_owned();
            std::mem::forget(container);
            (host, port, id)
        })
    })
    .join()
    .expect("the container starts");
    at_exit(&format!("docker rm -f -v {id}"));
    let mut config = Config::new();
    config
        .host(&host)
        .port(port)
        .user("postgres")
        .password(PASSWORD)
        .dbname("postgres");
    config
}

/// Runs a shell script once this process is gone, even if it was killed: the script waits for the
/// end of a pipe that only this process holds.
#[allow(clippy::zombie_processes)] // it outlives whoever could wait for it
fn at_exit(script: &str) {
    let mut reaper = Command::new("setsid")
        .args(["sh", "-c", &format!("cat >/dev/null; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setsid and sh");
    std::mem::forget(reaper.stdin.take());
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
