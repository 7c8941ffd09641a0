//! The real service on a free port, in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use ironflow_sync::auth::{Rules, Secret};
use ironflow_sync::config::Config;
use ironflow_sync::domain::catalog::Catalog;
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::domain::scope::UserId;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::keyring::Keyring;
use ironflow_sync::server::{ServeError, Service, serve};
use ironflow_sync::store::Store;
use ironflow_sync::tls::Certificates;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::{Device, TestDatabase};

/// The secret of every test service.
pub const SECRET: &str = "a secret for tests, of enough bytes";

/// Arguments of a service that asks Postgres for nothing but what its callers want.
pub const QUIET: [&str; 6] = [
    "--notify",
    "false",
    "--poll-interval-ms",
    "3600000",
    "--compact-interval-s",
    "0",
];

/// Lifts the rates of users: what a test does in a second takes people a day.
pub const UNHURRIED: [&str; 4] = [
    "--user-calls-per-s",
    "1000000",
    "--user-calls-burst",
    "1000000",
];

/// A service on a database of its own.
pub struct TestService {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it tells its metrics, if its arguments say so.
    pub metrics: Option<SocketAddr>,
    /// What it stores its data in.
    pub database: Arc<TestDatabase>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Result<(), ServeError>>>,
}

impl TestService {
    /// A service with the defaults.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A service with arguments, as on its command line.
    pub async fn with(arguments: &[&str]) -> Self {
        Self::on(TestDatabase::new().await, arguments).await
    }

    /// A service on a database.
    pub async fn on(database: impl Into<Arc<TestDatabase>>, arguments: &[&str]) -> Self {
        Self::knowing(database, arguments, Catalog::builtin()).await
    }

    /// A service with a catalog.
    pub async fn knowing(
        database: impl Into<Arc<TestDatabase>>,
        arguments: &[&str],
        catalog: Catalog,
    ) -> Self {
        let database = database.into();
        Self::run(database.store(), database, arguments, catalog).await
    }

    /// Another instance on the same database.
    pub async fn beside(&self, arguments: &[&str]) -> Self {
        let database = self.database.clone();
        Self::run(database.store(), database, arguments, Catalog::builtin()).await
    }

    /// A service that reaches its database through a store of its own.
    pub async fn over(
        store: Store,
        database: impl Into<Arc<TestDatabase>>,
        arguments: &[&str],
    ) -> Self {
        Self::run(store, database.into(), arguments, Catalog::builtin()).await
    }

    async fn run(
        store: Store,
        database: Arc<TestDatabase>,
        arguments: &[&str],
        catalog: Catalog,
    ) -> Self {
        let line = ["ironflow-sync"]
            .iter()
            .chain(unhurried(arguments))
            .chain(arguments);
        let config = Config::try_parse_from(line).expect("arguments");
        let keyring = keyring(&config);
        let certificates = Certificates::load(&config.tls).expect("files");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let metrics = match config.listen.metrics_listen {
            Some(address) => Some(TcpListener::bind(address).await.expect("a port")),
            None => None,
        };
        let told = metrics.as_ref().map(TcpListener::local_addr).transpose();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let service = Service {
                store,
                keyring,
                catalog,
                certificates,
                metrics,
            };
            serve(service, &config, listener, shutdown).await
        });
        Self {
            address,
            metrics: told.expect("an address"),
            database,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// A connection to it.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint
            .expect("an address")
            .connect()
            .await
            .expect("the service listens")
    }

    /// A client without a token.
    pub async fn client(&self) -> SyncServiceClient<Channel> {
        self.plain_client()
            .await
            .max_decoding_message_size(usize::MAX)
    }

    /// A client without a token and with the limits of its library.
    pub async fn plain_client(&self) -> SyncServiceClient<Channel> {
        SyncServiceClient::new(self.channel().await)
    }

    /// A device of a user, with a valid token.
    pub async fn device(&self, user: &str, device: &str) -> Device {
        Device::new(self.client().await, token(user), device)
    }

    /// Asks it to stop, and does not wait.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it and waits until it has.
    pub async fn stop(&mut self) -> Result<(), ServeError> {
        drop(self.stop.take());
        let served = self.served.take().expect("stopped once");
        served.await.expect("no panic")
    }
}

/// Rates far beyond what tests do, unless their arguments speak of rates: most of them are in a hurry.
fn unhurried(arguments: &[&str]) -> &'static [&'static str] {
    let speaks_of_rates = arguments
        .iter()
        .any(|argument| UNHURRIED.contains(argument));
    if speaks_of_rates { &[] } else { &UNHURRIED }
}

/// What the arguments say of tokens; without a word of it, the secret of the tests.
fn keyring(config: &Config) -> Keyring {
    let auth = &config.auth;
    let has_keys = auth.jwt_keys.is_some() || auth.jwt_preset.is_some();
    let own = (!has_keys).then_some(SECRET);
    let secret = auth.jwt_secret.as_deref().or(own);
    let secret = secret.map(|secret| Secret::new(secret).expect("long enough"));
    Keyring::new(auth, secret.as_ref()).expect("settings")
}

/// A token for a user that is valid for an hour.
pub fn token(user: &str) -> String {
    token_until(user, Duration::from_secs(3600))
}

/// A token for a user that is valid for so long.
pub fn token_until(user: &str, valid: Duration) -> String {
    token_expiring(user, SystemTime::now() + valid)
}

/// A token for a user that expires at a certain time.
pub fn token_expiring(user: &str, expires: SystemTime) -> String {
    let secret = Secret::new(SECRET).expect("long enough");
    let user = UserId::new(user).expect("a user id");
    let since_epoch = expires.duration_since(UNIX_EPOCH).expect("after 1970");
    let expires = Millis(since_epoch.as_millis() as i64);
    secret
        .sign(&Rules::default(), &user, expires)
        .expect("signs")
}
