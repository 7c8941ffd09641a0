//! How an account is doing, as one of its devices sees it.

use crate::domain::scope::{DeviceId, Scope};
use crate::error::Fault;
use crate::store::Store;
use crate::store::device::{KnownDevice, Waiting};

/// Devices told of at most.
const DEVICES_MAX: i64 = 100;

/// Changes are counted up to here; nobody reads a number beyond it.
const WAITING_MAX: i64 = 10_000;

/// How an account is doing.
#[derive(Debug)]
pub struct Status {
    /// What waits for the device that asks.
    pub waiting: Waiting,
    /// The devices of the account, the one seen last first.
    pub devices: Vec<KnownDevice>,
}

/// Asks the store.
pub async fn status(store: &Store, scope: &Scope, device: &DeviceId) -> Result<Status, Fault> {
    let (waiting, devices) = tokio::try_join!(
        store.count_waiting(scope, device, WAITING_MAX),
        store.read_devices(scope, DEVICES_MAX),
    )?;
    Ok(Status { waiting, devices })
}
