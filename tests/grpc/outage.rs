//! Postgres away: at the start, later, and killed in the middle of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironflow_sync::grpc::proto::Resolution::Applied;
use ironflow_sync::grpc::proto::watch_response::Event;
use ironflow_sync::grpc::proto::{SyncItem, SyncRequest};
use ironflow_sync::postgres::{Cluster, ClusterConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use super::{PATIENCE, check_unavailable, count};
use crate::support::{Device, LocalStore, TestDatabase, TestService, adopt, put};

/// A folder for a private Postgres that can be stopped and killed without harm to other tests.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        let folder = tempfile::Builder::new().permissions(mode).tempdir();
        Self(folder.expect("a folder"))
    }

    async fn start(&self) -> Cluster {
        let data_dir = self.0.path().to_owned();
        let start = move || {
            Cluster::start(ClusterConfig {
                data_dir,
                bin_dir: None,
                search_path: std::env::var_os("PATH").unwrap_or_default(),
                holder: "the outage test".to_owned(),
                durable: false,
                settings: vec![],
            })
        };
        let started = tokio::task::spawn_blocking(start).await;
        started.expect("no panic").expect("Postgres starts")
    }

    fn postmaster(&self) -> Pid {
        let file: PathBuf = self.0.path().join("pg/postmaster.pid");
        let text = fs::read_to_string(Path::new(&file)).expect("a pid file");
        let pid = text.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(pid.expect("a pid"))
    }
}

async fn stop(cluster: Cluster) {
    let stopped = tokio::task::spawn_blocking(|| cluster.stop()).await;
    stopped.expect("no panic");
}

fn item() -> SyncItem {
    put(Uuid::new_v4(), 0, &json!({}))
}

async fn push(device: &mut Device, item: &SyncItem) -> Result<(), Status> {
    let request = SyncRequest {
        items: vec![item.clone()],
        ..device.request()
    };
    let response = device.send(request).await?;
    assert_eq!(response.results[0].resolution(), Applied);
    assert_eq!(response.results[0].server_version, 1);
    Ok(())
}

/// Follows the health of the service until it is as expected.
async fn health(
    statuses: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
    expected: ServingStatus,
) {
    let reached = async {
        while let Some(status) = statuses.message().await.expect("goes on") {
            if status.status() == expected {
                return;
            }
        }
        panic!("the health watch ended");
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("waited in vain for {expected:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_waits_for_postgres_and_outlives_its_deaths() {
    let home = Home::new();
    let cluster = home.start().await;
    let database = TestDatabase::on_server(&cluster.connection()).await;
    let store = database.store();
    stop(cluster).await;

    // Away from the start.
    let service = TestService::over(store, database, &[]).await;
    let mut phone = service.device("mia", "phone").await;
    let mut watch = HealthClient::new(service.channel().await);
    let request = HealthCheckRequest {
        service: "ironflow.sync.v1.SyncService".to_owned(),
    };
    let mut statuses = watch.watch(request).await.expect("watches").into_inner();
    health(&mut statuses, ServingStatus::NotServing).await;
    let first = item();
    check_unavailable("away", &push(&mut phone, &first).await.expect_err("away"));

    // There, away again, and back, under the same service.
    for _ in 0..2 {
        let cluster = home.start().await;
        health(&mut statuses, ServingStatus::Serving).await;
        push(&mut phone, &first).await.expect("back");
        stop(cluster).await;
        check_unavailable("away", &push(&mut phone, &first).await.expect_err("away"));
        health(&mut statuses, ServingStatus::NotServing).await;
    }

    let cluster = home.start().await;
    health(&mut statuses, ServingStatus::Serving).await;
    let mut tablet = service.device("mia", "tablet").await;
    let request = tablet.page_after("");
    let mut changes = tablet.watch(request).await.expect("a stream");
    let acknowledged = kill_while_pushing(&home, &service).await;
    // The watch that was open all along has it all.
    let mut seen = LocalStore::new();
    let follow = async {
        while (seen.len() as i64) < acknowledged + 1 {
            let message = changes.message().await.expect("no error").expect("no end");
            if let Some(Event::Changes(page)) = message.event {
                adopt(&mut seen, &page.entities);
            }
        }
    };
    tokio::time::timeout(PATIENCE, follow)
        .await
        .expect("every change arrives");
    let sql = service.database.client().await;
    let stored = count(&sql, "select count(*) from entities where version = 1").await;
    let revision = count(&sql, "select max(revision) from scopes").await;
    assert_eq!(
        stored,
        acknowledged + 1,
        "acknowledged writes are there, each once"
    );
    assert_eq!(revision, stored);
    drop(service); // with its database, while there is a server to drop it on
    stop(cluster).await;
}

/// Kills Postgres while four devices push, each retrying until it is answered. Returns how many
/// pushes were acknowledged.
async fn kill_while_pushing(home: &Home, service: &TestService) -> i64 {
    const DEVICES: usize = 4;
    let killed = Arc::new(AtomicBool::new(false));
    let mut devices = tokio::task::JoinSet::new();
    for n in 0..DEVICES {
        let mut device = service.device("mia", &format!("device {n}")).await;
        let killed = killed.clone();
        devices.spawn(async move {
            let begun = Instant::now();
            let mut acknowledged: i64 = 0;
            let mut refusals = 0;
            // Until it has felt the outage and five pushes behind it have passed.
            let mut behind = 0;
            while behind < 5 {
                let item = item();
                while let Err(refused) = push(&mut device, &item).await {
                    check_unavailable("away", &refused);
                    assert!(killed.load(Ordering::SeqCst), "refused before the kill");
                    assert!(begun.elapsed() < PATIENCE, "it never came back");
                    refusals += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await; // as a client would
                }
                acknowledged += 1;
                behind += i32::from(refusals > 0);
            }
            acknowledged
        });
    }
    killed.store(true, Ordering::SeqCst);
    kill(home.postmaster(), Signal::SIGKILL).expect("killed");
    devices.join_all().await.iter().sum()
}
