//! How an account is doing, as one of its devices sees it.

use crate::domain::clock::Millis;
use crate::domain::scope::{DeviceId, Scope};
use crate::domain::standing::{Gate, SubscriptionState, Wanted, admit};
use crate::error::{CallError, Refusal};
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
    /// How the subscription stands.
    pub subscription: SubscriptionState,
}

/// Asks the store.
pub async fn status(
    store: &Store,
    scope: &Scope,
    device: &DeviceId,
    gate: &Gate,
    now: Millis,
) -> Result<Status, CallError> {
    let standing = store.read_standing(scope, device).await?;
    let subscription = admit(&standing, Wanted::Ask, gate, now).map_err(Refusal::from)?;
    let (waiting, devices) = tokio::try_join!(
        store.count_waiting(scope, device, WAITING_MAX),
        store.read_devices(scope, DEVICES_MAX),
    )?;
    Ok(Status {
        waiting,
        devices,
        subscription,
    })
}
