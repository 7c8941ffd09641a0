//! What the program does: serve, and what an operator does beside it.

mod account;
mod ask;
mod catalog;
mod compact;
mod demo;
mod device;
mod doctor;
mod explain;
mod health;
mod library;
mod secret;
mod status;
mod table;
mod user;
mod welcome;
mod words;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error as ThisError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Command, Config};
use crate::domain::clock::Millis;
use crate::domain::scope::{USER_ID_BYTES_MAX, UserId};
use crate::keyring::Keyring;
use crate::postgres::{Cluster, ClusterConfig};
use crate::server::{self, Service};
use crate::store::Store;
use crate::store::address::Address;
use crate::store::migrations::migrate;
use crate::telemetry::Telemetry;
use crate::tls::Certificates;

use welcome::{SignIn, Welcome};

/// What the token of the start-up message is good for, and how long.
const TRIAL_USER: &str = "demo";
const TRIAL_TOKEN_HOURS: u32 = 30 * 24;

/// Why a command failed, for people.
#[derive(Debug, ThisError)]
enum CommandError {
    #[error(
        "{address} cannot be listened on ({error}): {}",
        advice(option, address, error)
    )]
    Listen {
        /// What of the command line says where.
        option: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
    #[error("{0}: expected a user id of 1-{USER_ID_BYTES_MAX} bytes without NUL")]
    User(&'static str),
}

/// Runs the command the configuration names.
pub async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::start(&config)?;
    let done = command(&config).await;
    telemetry.end().await;
    done
}

async fn command(config: &Config) -> Result<(), Box<dyn Error>> {
    match config.command.clone().unwrap_or(Command::Serve) {
        Command::Serve => serve(config).await,
        Command::Demo(demo) => demo::run(config, &demo).await,
        Command::Migrate => migrate_only(config).await,
        Command::NewEpoch => new_epoch(config).await,
        Command::Catalog { command } => catalog::run(config, command),
        Command::Library { command } => library::run(config, command).await,
        Command::Account { command } => account::run(config, command).await,
        Command::Device { command } => device::run(config, command).await,
        Command::Compact { dry_run } => compact::run(config, dry_run).await,
        Command::Doctor { json } => doctor::run(config, json).await,
        Command::Health => health::run(config).await,
        Command::Status(asked) => status::run(config, &asked).await,
        Command::User { command } => user::run(config, command).await,
        Command::Explain(explain) => explain::run(config, &explain).await,
        Command::Token { user, hours } => token(config, &user, hours),
    }
}

async fn serve(config: &Config) -> Result<(), Box<dyn Error>> {
    let catalog = catalog::in_effect(config)?;
    let listener = listen("--listen", config.listen.listen).await?;
    let address = listener.local_addr()?;
    let metrics = match config.listen.metrics_listen {
        Some(address) => Some(listen("--metrics-listen", address).await?),
        None => None,
    };
    // Listen to signals from here on: none may kill a half-started service.
    let shutdown = shutdown_signal()?;
    secret::check(config)?;
    let certificates = Certificates::load(&config.tls)?;
    if certificates.is_none() && !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "IRONFLOW_TLS_CERT is not set: tokens and data travel in the clear, unless a proxy in front \
             does TLS"
        );
    }
    let for_development = secret::is_for_development(config);
    let data_dir = config.database.data_dir();

    let database = Database::open(config, &format!("ironflow-sync on {address}")).await?;
    migrate(&database.store).await?;
    if for_development {
        secret::make(&data_dir)?;
    }
    let keyring = secret::keyring(config)?;
    let sign_in = if for_development {
        SignIn::Trial(sign(config, &keyring, &trial_user()?, TRIAL_TOKEN_HOURS)?)
    } else {
        SignIn::of(&config.auth)
    };
    let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    let welcome = Welcome {
        address,
        metrics: metrics_address,
        database: &database,
        data_dir: &data_dir,
        sign_in,
        certificates: certificates.as_ref(),
    };
    print(&welcome.to_string());

    let service = Service {
        store: database.store.clone(),
        keyring,
        catalog,
        certificates,
        metrics,
    };
    let served = server::serve(service, config, listener, shutdown).await;
    database.close().await;
    Ok(served?)
}

async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, CommandError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| CommandError::Listen {
        option,
        address,
        error,
    })
}

async fn migrate_only(config: &Config) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config, "ironflow-sync migrate").await?;
    let migrated = migrate(&database.store).await;
    database.close().await;
    match migrated?.as_slice() {
        [] => print("The tables are up to date.\n"),
        applied => print(&format!("Applied {}.\n", applied.join(", "))),
    }
    Ok(())
}

async fn new_epoch(config: &Config) -> Result<(), Box<dyn Error>> {
    let database = Database::open(config, "ironflow-sync new-epoch").await?;
    let begun = async {
        migrate(&database.store).await?;
        Ok::<_, Box<dyn Error>>(database.store.new_epoch().await?)
    };
    let begun = begun.await;
    database.close().await;
    print(&format!(
        "A new epoch has begun: {}. Every device starts again with an empty cursor.\n",
        begun?
    ));
    Ok(())
}

fn token(config: &Config, user: &str, hours: u32) -> Result<(), Box<dyn Error>> {
    let user = user_id("--user", user)?;
    let token = sign(config, &secret::keyring(config)?, &user, hours)?;
    print(&format!("{token}\n"));
    Ok(())
}

/// A token that the service takes: it keeps the rules of `keyring`.
fn sign(
    config: &Config,
    keyring: &Keyring,
    user: &UserId,
    hours: u32,
) -> Result<String, Box<dyn Error>> {
    let secret = secret::signing(config)?;
    Ok(secret.sign(keyring.rules(), user, hours_from_now(hours))?)
}

/// The database of a command: one that was given, or a private one that ends with the command.
struct Database {
    store: Store,
    cluster: Option<Cluster>,
}

impl Database {
    async fn open(config: &Config, holder: &str) -> Result<Self, Box<dyn Error>> {
        let settings = &config.database;
        let connections_max = usize::from(settings.database_connections_max);
        if let Some(url) = &settings.database_url {
            let address = Address::parse(url)?;
            let store = Store::new(address, connections_max)?;
            store.reach().await?;
            return Ok(Self {
                store,
                cluster: None,
            });
        }
        /// For psql, a migration beside the service, and what Postgres reserves for itself.
        const CONNECTIONS_SPARE: usize = 20;
        let cluster_config = ClusterConfig {
            data_dir: settings.data_dir(),
            bin_dir: settings.postgres_bin.clone(),
            search_path: settings.search_path.clone().unwrap_or_default().into(),
            holder: holder.to_owned(),
            durable: true,
            settings: vec![(
                "max_connections".to_owned(),
                (connections_max + CONNECTIONS_SPARE).to_string(),
            )],
        };
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(cluster_config)).await??;
        Ok(Self {
            store: Store::new(cluster.connection(), connections_max)?,
            cluster: Some(cluster),
        })
    }

    async fn close(self) {
        self.store.close();
        if let Some(cluster) = self.cluster {
            // Waits for Postgres to end, at most until it is made to.
            let _ = tokio::task::spawn_blocking(|| cluster.stop()).await;
        }
    }
}

/// Ends with the first SIGTERM or SIGINT.
fn shutdown_signal() -> Result<impl Future<Output = ()>, io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// Why an address cannot be listened on, and what to type.
fn advice(option: &str, address: &SocketAddr, error: &io::Error) -> String {
    let (ip, port) = (address.ip(), address.port());
    let free = SocketAddr::new(ip, 0);
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program does, maybe another ironflow-sync. To see which: ss -ltnp 'sport = :{port}'  \
             Or take a free port: {option} {free}"
        ),
        ErrorKind::PermissionDenied => {
            format!("ports below 1024 are for root alone. Take a free one above: {option} {free}")
        }
        ErrorKind::AddrNotAvailable => format!(
            "this machine does not have the address {ip}. Take one it has: {option} 127.0.0.1:{port}, or \
             {option} 0.0.0.0:{port} for all of them"
        ),
        _ => format!("choose another with {option}"),
    }
}

fn trial_user() -> Result<UserId, CommandError> {
    user_id("the user of the trial token", TRIAL_USER)
}

/// The user that an argument names.
fn user_id(argument: &'static str, text: &str) -> Result<UserId, CommandError> {
    UserId::new(text).ok_or(CommandError::User(argument))
}

fn now() -> Millis {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(since_epoch.as_millis() as i64)
}

fn hours_from_now(hours: u32) -> Millis {
    const HOUR_MS: i64 = 3_600_000;
    Millis(now().0 + i64::from(hours) * HOUR_MS)
}

/// Prints for people or pipes; nobody reading is no error.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
