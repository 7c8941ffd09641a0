//! The secret that tokens are signed with: the one that was set, or one made for development.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use crate::auth::{Keys, WeakSecret};
use crate::config::Config;

/// The name of the development secret in the data folder.
const FILE: &str = "jwt_secret";

/// Why there is no secret.
#[derive(Debug, Error)]
pub(super) enum SecretError {
    #[error(
        "DATABASE_URL is set but IRONFLOW_JWT_SECRET is not: without it nobody could sign in. \
         Set it to the secret your tokens are signed with, at least 32 bytes, for example: \
         export IRONFLOW_JWT_SECRET=$(openssl rand -hex 32)"
    )]
    NotSet,
    #[error("IRONFLOW_JWT_SECRET")]
    Weak(#[from] WeakSecret),
    #[error(
        "there is no secret yet at {0}: start the service once with the same data folder, or set \
         IRONFLOW_JWT_SECRET"
    )]
    NotMade(PathBuf),
    #[error("the development secret {path} can not be used")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Refuses settings under which nobody could sign in, before anything is started.
pub(super) fn check(config: &Config) -> Result<(), SecretError> {
    match (&config.auth.jwt_secret, &config.database.database_url) {
        (Some(secret), _) => Keys::from_secret(secret)
            .map(drop)
            .map_err(SecretError::Weak),
        (None, Some(_)) => Err(SecretError::NotSet),
        (None, None) => Ok(()),
    }
}

/// The keys of the secret that was set, or of the development secret of the data folder.
pub(super) fn keys(config: &Config) -> Result<Keys, SecretError> {
    check(config)?;
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(Keys::from_secret(secret)?);
    }
    let path = config.database.data_dir().join(FILE);
    let secret = fs::read_to_string(&path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => SecretError::NotMade(path.clone()),
        _ => SecretError::File { path, source },
    })?;
    Ok(Keys::from_secret(secret.trim())?)
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
