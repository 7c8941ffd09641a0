//! Certificates that change while the service runs. SIGHUP is in `program`: it is for the process.

use std::fs;
use std::os::unix::fs::symlink;

use ironflow_sync::grpc::proto::Resolution;
use ironflow_sync::grpc::proto::watch_response::Event;
use rustls::version::TLS13;
use serde_json::json;
use uuid::Uuid;

use super::authority::{Authority, Files, Identity};
use super::callers::service;
use super::client::Caller;
use super::patiently;
use crate::support::{TestService, put};

/// Waits until new connections are shown a certificate.
pub async fn shows(caller: &Caller, address: std::net::SocketAddr, identity: &Identity) {
    patiently("another certificate", async {
        while caller.shown(address).await.ok().as_ref() != Some(&identity.der) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The way Kubernetes replaces a mounted secret: files are links through a link that is renamed over.
#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let authority = Authority::new();
    let [old, new] = [(); 2].map(|()| authority.sign("localhost"));
    let files = Files::with(&old);
    let mount = |version: &str, identity: &Identity| {
        let folder = files.path(version);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("cert.pem"), &identity.pem).expect("written");
        fs::write(folder.join("key.pem"), &identity.key_pem).expect("written");
        symlink(version, files.path("data.new")).expect("a link");
        fs::rename(files.path("data.new"), files.path("data")).expect("renamed");
    };
    mount("1", &old);
    let (cert, key) = (files.name("data/cert.pem"), files.name("data/key.pem"));
    let service = TestService::with(&["--tls-cert", &cert, "--tls-key", &key]).await;
    let caller = Caller::trusting(&authority);
    assert_eq!(caller.shown(service.address).await.expect("shown"), old.der);
    let connect = || caller.device(service.address, "phone");
    let mut phone = connect().await.expect("connects");
    let mut tablet = caller
        .device(service.address, "tablet")
        .await
        .expect("connects");
    let from_the_beginning = tablet.page_after("");
    let mut watch = tablet.watch(from_the_beginning).await.expect("watches");

    mount("2", &new);
    shows(&caller, service.address, &new).await;
    let entity_id = Uuid::new_v4();
    let answer = phone.sync_one(put(entity_id, 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Resolution::Applied, "the old goes on");
    let seen = patiently("the change", async {
        loop {
            let event = watch.message().await.expect("no end").expect("no end");
            if let Some(Event::Changes(changes)) = event.event
                && let Some(entity) = changes.entities.first()
            {
                return entity.entity_id.clone();
            }
        }
    })
    .await;
    assert_eq!(seen, entity_id.to_string());
    let mut phone = connect().await.expect("connects");
    let answer = phone.sync_one(put(Uuid::new_v4(), 0, &json!({}))).await;
    assert_eq!(answer.resolution(), Resolution::Applied);
}

#[tokio::test]
async fn who_may_come_in_changes_with_the_authorities_and_nobody_resumes_a_session_from_before() {
    let authority = Authority::new();
    let (before, after) = (Authority::new(), Authority::new());
    let files = Files::with(&authority.sign("localhost"));
    let client_ca = files.write("friends.pem", &before.pem());
    let service = service(&files, &["--tls-client-ca", &client_ca]).await;
    // Each keeps tickets to resume its sessions with.
    let old = Caller::identified(&authority, &before.sign("friend"), &TLS13);
    let new = Caller::identified(&authority, &after.sign("friend"), &TLS13);
    assert!(old.gets_through(service.address).await);
    assert!(old.gets_through(service.address).await, "resumed");
    assert!(!new.gets_through(service.address).await);
    files.write("friends.pem", &after.pem());
    patiently("the other authority", async {
        while !new.gets_through(service.address).await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!old.gets_through(service.address).await);
}
