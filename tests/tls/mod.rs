//! Encryption. `callers`: the service over TLS; `reload`: certificates that change; `program`: the program
//! with its settings; `postgres`: TLS to a Postgres. Certificates are made for each test.

mod authority;
mod callers;
mod client;
pub mod cluster;
mod postgres;
mod program;
mod reload;

use std::time::Duration;

/// More than anything that is waited for takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(50);

/// Waits for what is going to happen.
async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
