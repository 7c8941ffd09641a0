//! What is looked at.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::super::ask::{self, NoAnswer};
use super::super::{catalog, now, secret};
use super::Check;
use crate::config::Config;
use crate::domain::moment::rfc3339;
use crate::domain::scope::Scope;
use crate::postgres;
use crate::store::Store;
use crate::store::migrations::missing;
use crate::tls;

const DAY_MS: i64 = 86_400_000;
const MIB: u64 = 1024 * 1024;

/// Postgres needs room for its log of changes alone: below the first it stops soon, below the other somebody
/// should know.
const DISK_FAIL_MIB: u64 = 512;
const DISK_WARN_MIB: u64 = 5 * 1024;

/// Clocks further apart make the last minutes' edits win, or lose, against what the person did.
const CLOCK_WARN_MS: i64 = 2_000;
const CLOCK_FAIL_MS: i64 = 60_000;

/// What renews certificates does so a month before their end.
const CERTIFICATE_WARN_DAYS: i64 = 21;

/// What needs no database.
pub(super) fn of_this_machine(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.database.database_url.is_none() {
        let data_dir = config.database.data_dir();
        checks.push(programs(config));
        checks.push(folder(&data_dir));
        checks.push(disk(&data_dir));
    }
    checks.push(certificates(config));
    checks.push(match catalog::in_effect(config) {
        Ok(catalog) => Check::ok(
            "catalog",
            format!("{} entity types", catalog.types().count()),
        ),
        Err(error) => Check::failed("catalog", &error),
    });
    checks
}

fn programs(config: &Config) -> Check {
    const NAME: &str = "postgres programs";
    let settings = &config.database;
    let found = postgres::programs(
        &settings.data_dir(),
        settings.postgres_bin.as_deref(),
        settings.search_path.as_deref().unwrap_or_default().as_ref(),
    );
    match found {
        Ok(folder) => Check::ok(NAME, folder.display().to_string()),
        Err(error) => Check::failed(NAME, &error),
    }
}

/// The nearest folder that is there: the data folder, or where it would be made.
fn nearest(data_dir: &Path) -> PathBuf {
    let there = data_dir.ancestors().find(|folder| folder.exists());
    match there {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn folder(data_dir: &Path) -> Check {
    const NAME: &str = "data folder";
    let there = nearest(data_dir);
    let may = access(
        &there,
        AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK,
    );
    let path = data_dir.display();
    match (may, there == data_dir) {
        (Ok(()), true) if there.is_dir() => Check::ok(NAME, path.to_string()),
        (Ok(()), false) if there.is_dir() => {
            Check::ok(NAME, format!("{path}, which the first start makes"))
        }
        (Ok(()), _) => Check::fail(
            NAME,
            format!("{} is no folder", there.display()),
            "name another with --data-dir",
        ),
        (Err(error), _) => Check::fail(
            NAME,
            format!("this account may not write to {}: {error}", there.display()),
            "run as the account that owns it, or name another with --data-dir",
        ),
    }
}

fn disk(data_dir: &Path) -> Check {
    const NAME: &str = "disk";
    let free = match statvfs(&nearest(data_dir)) {
        Ok(disk) => disk.blocks_available().saturating_mul(disk.fragment_size()) / MIB,
        Err(error) => return Check::failed(NAME, &error),
    };
    let found = format!("{free} MiB free for {}", data_dir.display());
    let look = format!(
        "make room, or see what takes it: du -xh {} | sort -h | tail",
        data_dir.display()
    );
    match free {
        ..DISK_FAIL_MIB => Check::fail(NAME, found, look),
        DISK_FAIL_MIB..DISK_WARN_MIB => Check::warn(NAME, found, look),
        _ => Check::ok(NAME, found),
    }
}

fn certificates(config: &Config) -> Check {
    const NAME: &str = "tls";
    let renew = "renew it; the service takes the new one from the same file by itself";
    let ends = match tls::expiry(&config.tls) {
        Err(error) => return Check::failed(NAME, &error),
        Ok(Some(ends)) => ends,
        Ok(None) if config.listen.listen.ip().to_canonical().is_loopback() => {
            return Check::ok(NAME, "off, and nobody but this machine can call");
        }
        Ok(None) => {
            return Check::warn(
                NAME,
                "off: tokens and data travel in the clear, unless a proxy in front does TLS",
                "set IRONFLOW_TLS_CERT and IRONFLOW_TLS_KEY",
            );
        }
    };
    let found = format!("the certificate is valid until {}", rfc3339(ends));
    match ends.0 - now().0 {
        ..=0 => {
            let found = format!("the certificate has expired, {}", rfc3339(ends));
            Check::fail(NAME, found, renew)
        }
        left if left < CERTIFICATE_WARN_DAYS * DAY_MS => Check::warn(NAME, found, renew),
        _ => Check::ok(NAME, found),
    }
}

/// Whether there is a database, and whether it is as the service needs it.
pub(super) async fn of_the_database(config: &Config) -> Vec<Check> {
    const NAME: &str = "database";
    let database = match ask::reachable(config, "ironflow-sync doctor").await {
        Ok(database) => database,
        Err(error) => {
            let is_new = matches!(error.downcast_ref(), Some(NoAnswer::NoDatabase(_)));
            return vec![match is_new {
                true => Check::ok(NAME, "none yet: the first start makes a private one"),
                false => Check::failed(NAME, error.as_ref()),
            }];
        }
    };
    let checks = look(config, &database.store).await;
    database.close().await;
    checks
}

async fn look(config: &Config, store: &Store) -> Vec<Check> {
    let asked = now();
    let (server, sessions) = match store.read_server().await {
        Ok(found) => found,
        Err(error) => return vec![Check::failed("database", &error)],
    };
    // Of the time in between, the middle: so a slow network is no wrong clock.
    let middle = asked.0 + (now().0 - asked.0) / 2;
    let connections: i64 = sessions.iter().map(|sessions| sessions.connections).sum();
    let needed = i64::from(config.database.database_connections_max) + 1;
    let found = format!("Postgres {}, {connections} connections", server.version);
    let mut checks = vec![if server.in_recovery {
        Check::fail(
            "database",
            format!("{found}, a standby: nothing can be written"),
            "name the primary in DATABASE_URL",
        )
    } else if needed > i64::from(server.connections_max) {
        Check::warn(
            "database",
            format!(
                "{found}; an instance may need {needed}, the server takes {}",
                server.connections_max
            ),
            "raise max_connections, or lower IRONFLOW_DATABASE_CONNECTIONS_MAX",
        )
    } else {
        Check::ok("database", found)
    }];
    let apart = (server.now.0 - middle).abs();
    let found = format!("{apart} ms apart from the database's");
    let sync = "set this machine's clock and the database's by NTP: timedatectl set-ntp true";
    checks.push(match apart {
        CLOCK_FAIL_MS.. => Check::fail("clock", found, sync),
        CLOCK_WARN_MS.. => Check::warn("clock", found, sync),
        _ => Check::ok("clock", found),
    });
    match missing(store).await {
        Ok(lacking) if lacking.is_empty() => {
            checks.push(Check::ok("tables", "up to date"));
            checks.push(rights(store).await);
        }
        Ok(lacking) => checks.push(Check::warn(
            "tables",
            format!("they lack {}", lacking.join(", ")),
            "the next start brings them up to date, or type: ironflow-sync migrate",
        )),
        Err(error) => checks.push(Check::failed("tables", &error)),
    }
    checks
}

/// Whether the login may work as the two roles of the service.
async fn rights(store: &Store) -> Check {
    const NAME: &str = "rights";
    let as_service = store.is_erased(&Scope::library()).await;
    let as_keeper = store.count_scopes().await;
    match (as_service, as_keeper) {
        (Ok(_), Ok(_)) => Check::ok(NAME, "the login works as both roles of the service"),
        (Err(error), _) | (Ok(_), Err(error)) => Check::fail(
            NAME,
            error.to_string(),
            "as a superuser: grant ironflow_sync_service, ironflow_sync_keeper to LOGIN",
        ),
    }
}

/// Whether anybody can sign in.
pub(super) async fn tokens(config: &Config) -> Check {
    const NAME: &str = "tokens";
    if let Err(error) = secret::check(config) {
        return Check::failed(NAME, &error);
    }
    if secret::is_for_development(config) {
        return Check::ok(NAME, "by the development secret of the data folder");
    }
    let keyring = match secret::keyring(config) {
        Ok(keyring) => keyring,
        Err(error) => return Check::failed(NAME, &error),
    };
    match keyring.look().await {
        Ok(None) => Check::ok(NAME, "by the secret that was set"),
        Ok(Some(0)) => Check::fail(
            NAME,
            "IRONFLOW_JWT_KEYS: the key set has no key that can be used",
            "look at its kty, alg and use; RS256, PS256, ES256 and EdDSA can be used",
        ),
        Ok(Some(keys)) => Check::ok(NAME, format!("{keys} keys of IRONFLOW_JWT_KEYS")),
        Err(error) => Check {
            advice: Some(
                "until it can be read, who signs in with these keys is told UNAVAILABLE".to_owned(),
            ),
            ..Check::failed(NAME, &error)
        },
    }
}
