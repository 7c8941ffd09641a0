//! Who may call, by the settings: a secret that was set or made for development, keys, or both.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use crate::auth::{SECRET_BYTES_MIN, Secret, WeakSecret};
use crate::config::Config;
use crate::keyring::{Keyring, SettingError};

/// The name of the development secret in the data folder.
const FILE: &str = "jwt_secret";

/// Why there is no secret.
#[derive(Debug, Error)]
pub(super) enum SecretError {
    #[error(
        "DATABASE_URL is set but neither IRONFLOW_JWT_SECRET nor IRONFLOW_JWT_KEYS is: without them \
         nobody could sign in. Set the key set your tokens are signed with, or their secret of at \
         least 32 bytes, for example: export IRONFLOW_JWT_SECRET=$(openssl rand -hex 32)"
    )]
    NotSet,
    #[error("IRONFLOW_JWT_SECRET")]
    Weak(#[from] WeakSecret),
    #[error(
        "IRONFLOW_JWT_SECRET is not set: only whoever holds the keys of IRONFLOW_JWT_KEYS can sign \
         tokens; get one by signing in where your users do"
    )]
    KeysOnly,
    #[error(
        "there is no secret yet at {0}: start the service once with the same data folder, or set \
         IRONFLOW_JWT_SECRET"
    )]
    NotMade(PathBuf),
    #[error("the development secret {path} cannot be used")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Whether the data folder has to provide a secret: nothing else says who may call.
pub(super) fn is_for_development(config: &Config) -> bool {
    config.auth.jwt_secret.is_none() && !has_keys(config)
}

fn has_keys(config: &Config) -> bool {
    config.auth.jwt_keys.is_some() || config.auth.jwt_preset.is_some()
}

/// Refuses settings under which nobody could sign in, before anything is started.
pub(super) fn check(config: &Config) -> Result<(), SecretError> {
    if !is_for_development(config) {
        return keyring(config).map(drop);
    }
    if config.database.database_url.is_some() {
        return Err(SecretError::NotSet);
    }
    // Any secret tells whether the settings go together.
    let any = Secret::new(&"any".repeat(SECRET_BYTES_MIN))?;
    Ok(Keyring::new(&config.auth, Some(&any)).map(drop)?)
}

/// The keyring of the settings.
pub(super) fn keyring(config: &Config) -> Result<Keyring, SecretError> {
    let secret = secret(config)?;
    Ok(Keyring::new(&config.auth, secret.as_ref())?)
}

/// The secret to sign tokens with.
pub(super) fn signing(config: &Config) -> Result<Secret, SecretError> {
    secret(config)?.ok_or(SecretError::KeysOnly)
}

/// The secret that was set, or the development secret of the data folder; `None` with keys only.
fn secret(config: &Config) -> Result<Option<Secret>, SecretError> {
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(Some(Secret::new(secret)?));
    }
    if has_keys(config) {
        return Ok(None);
    }
    if config.database.database_url.is_some() {
        return Err(SecretError::NotSet);
    }
    let path = config.database.data_dir().join(FILE);
    let secret = fs::read_to_string(&path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => SecretError::NotMade(path.clone()),
        _ => SecretError::File { path, source },
    })?;
    Ok(Some(Secret::new(secret.trim())?))
}

/// Makes the development secret of a data folder if there is none, readable for its owner only, whole or
/// not at all. The caller holds the folder's lock.
pub(super) fn make(data_dir: &Path) -> Result<(), SecretError> {
    let path = data_dir.join(FILE);
    if path.exists() {
        return Ok(());
    }
    let unfinished = data_dir.join(format!("{FILE}.new"));
    // 244 random bits.
    let halves = [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string());
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(halves.concat().as_bytes()))
        .and_then(|()| fs::rename(&unfinished, &path))
        .map_err(|source| SecretError::File { path, source })
}
