//! TLS to Postgres: `sslmode` and `sslrootcert`, as libpq means them.

use std::error::Error;
use std::sync::Arc;

use ironflow_sync::store::Store;
use ironflow_sync::store::address::Address;
use ironflow_sync::store::feed::Signals;
use tokio::sync::Notify;

use super::authority::{Authority, Files};
use super::cluster::{PASSWORD, TlsCluster};
use super::patiently;
use crate::support::program::program;
use crate::support::service::SECRET;
use crate::support::serving::stderr;

/// What came of connecting.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    /// A session without TLS.
    Clear,
    /// One with TLS.
    Encrypted,
    /// None, and why.
    Refused(String),
}

/// Connects with these parameters, by URL and by pairs, and says what came of it.
async fn meet(cluster: &TlsCluster, host: &str, parameters: &[(&str, &str)]) -> Met {
    let port = cluster.port;
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let url = format!("postgres://ironflow:{PASSWORD}@{host}:{port}/ironflow?");
    let url = url + &pairs.join("&");
    let text = format!("host={host} port={port} user=ironflow password={PASSWORD} ");
    let text = text + "dbname=ironflow " + &pairs.join(" ");
    let by_url = meet_at(cluster, &url).await;
    assert_eq!(by_url, meet_at(cluster, &text).await, "{text}");
    by_url
}

async fn meet_at(cluster: &TlsCluster, address: &str) -> Met {
    let address = match Address::parse(address) {
        Ok(address) => address,
        Err(error) => return Met::Refused(error.to_string()),
    };
    let store = Store::new(address, 1).expect("a pool");
    let met = match store.ping().await {
        Ok(()) => cluster.sessions().await,
        Err(fault) => {
            let cause = fault.source().map(ToString::to_string);
            let below = fault.source().and_then(Error::source);
            let below = below.map(ToString::to_string).unwrap_or_default();
            Met::Refused(format!("{}: {below}", cause.unwrap_or_default()))
        }
    };
    store.close();
    drop(store);
    patiently("the session ends", async {
        while cluster.session_count().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    met
}

impl TlsCluster {
    /// What the sessions of the service are: all alike.
    async fn sessions(&self) -> Met {
        let read = "select bool_and(ssl), bool_or(ssl) from pg_stat_ssl \
                    join pg_stat_activity using (pid) where application_name = 'ironflow-sync'";
        let row = self.admin.query_one(read, &[]).await.expect("a row");
        match (row.get(0), row.get(1)) {
            (true, true) => Met::Encrypted,
            (false, false) => Met::Clear,
            mixed => panic!("some with and some without: {mixed:?}"),
        }
    }

    async fn session_count(&self) -> i64 {
        let read = "select count(*) from pg_stat_activity where application_name = 'ironflow-sync'";
        let row = self.admin.query_one(read, &[]).await;
        row.expect("a row").get(0)
    }
}

/// Refused for a reason that has this in it.
fn refused(met: &Met, reason: &str) -> bool {
    matches!(met, Met::Refused(text) if text.contains(reason))
}

#[tokio::test]
async fn a_server_without_tls_is_spoken_to_only_by_modes_that_do_not_insist() {
    let cluster = TlsCluster::start().await;
    let files = Files::with(&Authority::new().sign("localhost"));
    let ca = files.write("ca.pem", &Authority::new().pem());
    assert_eq!(meet(&cluster, "localhost", &[]).await, Met::Clear);
    for mode in ["disable", "allow", "prefer"] {
        let met = meet(&cluster, "localhost", &[("sslmode", mode)]).await;
        assert_eq!(met, Met::Clear, "{mode}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let parameters = [("sslmode", mode), ("sslrootcert", ca.as_str())];
        let met = meet(&cluster, "localhost", &parameters).await;
        assert!(
            refused(&met, "server does not support TLS"),
            "{mode}: {met:?}"
        );
    }
}

#[tokio::test]
async fn each_mode_checks_what_libpq_checks_and_a_refusal_says_host_and_reason() {
    let cluster = TlsCluster::start().await;
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    let files = Files::with(&identity);
    let right = files.write("ca.pem", &authority.pem());
    let wrong = files.write("wrong.pem", &Authority::new().pem());
    cluster.show(&identity).await;

    const UNKNOWN: &str = "wrong.pem signed it";
    const OTHER_NAME: &str = "the certificate of 127.0.0.1 was refused: it is for another name";
    let (no, right, wrong) = (None, Some(&right), Some(&wrong));
    for (mode, roots, host, reason) in [
        ("allow", no, "localhost", None),
        ("prefer", no, "localhost", None),
        ("prefer", wrong, "127.0.0.1", None),
        ("require", no, "127.0.0.1", None),
        ("require", right, "127.0.0.1", None),
        ("require", wrong, "localhost", Some(UNKNOWN)),
        ("verify-ca", right, "localhost", None),
        ("verify-ca", right, "127.0.0.1", None),
        ("verify-ca", wrong, "localhost", Some(UNKNOWN)),
        ("verify-full", right, "localhost", None),
        ("verify-full", right, "127.0.0.1", Some(OTHER_NAME)),
        ("verify-full", wrong, "localhost", Some(UNKNOWN)),
        // Nobody this machine trusts has signed it; it may trust nobody at all.
        ("verify-ca", no, "localhost", Some("root certificates")),
        ("verify-full", no, "localhost", Some("root certificates")),
    ] {
        let mut parameters = vec![("sslmode", mode)];
        parameters.extend(roots.map(|file| ("sslrootcert", file.as_str())));
        let met = meet(&cluster, host, &parameters).await;
        match reason {
            None => assert_eq!(met, Met::Encrypted, "{mode} {roots:?} {host}"),
            Some(reason) => assert!(refused(&met, reason), "{mode} {roots:?} {host}: {met:?}"),
        }
    }
    assert_eq!(meet(&cluster, "localhost", &[]).await, Met::Encrypted);
    let disable = meet(&cluster, "localhost", &[("sslmode", "disable")]).await;
    assert_eq!(disable, Met::Clear);
    let system = meet(&cluster, "localhost", &[("sslrootcert", "system")]).await;
    assert!(refused(&system, "root certificates"), "{system:?}");

    cluster.show(&authority.own()).await;
    let ca = right.expect("a file").as_str();
    let strict = [("sslmode", "verify-full"), ("sslrootcert", ca)];
    let met = meet(&cluster, "localhost", &strict).await;
    assert!(refused(&met, "it is an authority's own"), "{met:?}");

    cluster.show(&authority.sign_expired("localhost")).await;
    let strict = [("sslmode", "verify-ca"), ("sslrootcert", ca)];
    let met = meet(&cluster, "localhost", &strict).await;
    assert!(refused(&met, "it has expired"), "{met:?}");
    let met = meet(&cluster, "localhost", &[("sslmode", "require")]).await;
    assert_eq!(met, Met::Encrypted);
}

#[tokio::test]
async fn a_password_exchange_is_bound_to_the_connection() {
    let cluster = TlsCluster::start().await;
    let bound = [("sslmode", "require"), ("channel_binding", "require")];
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ] {
        let authority = Authority::signing_by(algorithm);
        cluster.show(&authority.sign("localhost")).await;
        let met = meet(&cluster, "localhost", &bound).await;
        assert_eq!(met, Met::Encrypted, "{algorithm:?}");
    }
    // Signed in a way that has no hash to bind to.
    let authority = Authority::signing_by(&rcgen::PKCS_ED25519);
    cluster.show(&authority.sign("localhost")).await;
    let met = meet(&cluster, "localhost", &bound).await;
    assert!(matches!(met, Met::Refused(_)), "{met:?}");
    let met = meet(&cluster, "localhost", &bound[..1]).await;
    assert_eq!(met, Met::Encrypted);
}

/// Says when the session for signals is up.
struct Connected(Arc<Notify>);

impl Signals for Connected {
    fn connected(&self) {
        self.0.notify_one();
    }

    fn heard(&self, _: &str) {}

    async fn next(&self) -> String {
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_session_for_signals_is_encrypted_and_checked_too() {
    let cluster = TlsCluster::start().await;
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    let files = Files::with(&identity);
    let right = files.write("ca.pem", &authority.pem());
    let wrong = files.write("wrong.pem", &Authority::new().pem());
    cluster.show(&identity).await;
    let store = |file: &str| {
        let port = cluster.port;
        let address = Address::parse(&format!(
            "postgres://ironflow:{PASSWORD}@localhost:{port}/ironflow?sslmode=verify-full&\
             sslrootcert={file}"
        ));
        Store::new(address.expect("an address"), 1).expect("a pool")
    };
    let up = Arc::new(Notify::new());
    let trusting = store(&right);
    let signals = Connected(up.clone());
    let exchange = tokio::spawn(async move { trusting.exchange(&signals).await });
    patiently("the session for signals", up.notified()).await;
    assert_eq!(cluster.session_count().await, 1);
    assert_eq!(cluster.sessions().await, Met::Encrypted);
    exchange.abort();
    let signals = Connected(up);
    let fault = patiently("a refusal", store(&wrong).exchange(&signals)).await;
    let cause = fault.source().expect("a cause").to_string();
    assert!(cause.contains("wrong.pem signed it"), "{cause}");
}

#[tokio::test]
async fn the_program_says_in_plain_words_whose_certificate_it_refuses() {
    let cluster = TlsCluster::start().await;
    let identity = Authority::new().sign("localhost");
    let files = Files::with(&identity);
    let wrong = files.write("wrong.pem", &Authority::new().pem());
    cluster.show(&identity).await;
    let port = cluster.port;
    let url = format!(
        "postgres://ironflow:{PASSWORD}@localhost:{port}/ironflow?sslmode=verify-full&\
         sslrootcert={wrong}"
    );
    let mut migrate = program(&["migrate", "--database-url", &url, "--jwt-secret", SECRET]);
    let refused = migrate.output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    let text = stderr(&refused);
    let expected = format!(
        "DATABASE_URL: the certificate of localhost was refused: none of the authorities in \
         sslrootcert={wrong} signed it (checked as sslmode=verify-full says)"
    );
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}
