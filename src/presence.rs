//! Who was here: gathers the devices that pull and watch, and writes them to the registry now and
//! then, so that reading costs no writing. Pushes record their device themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::scope::{DeviceId, Scope};
use crate::store::Store;
use crate::store::device::Seen;

/// How often the gathered devices are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// Devices gathered between two writes. Those beyond it are remembered the next time they come.
const GATHERED_MAX: usize = 20_000;

/// Devices written in one statement.
const WRITE_CHUNK: usize = 1_000;

/// Gathers devices. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Presence {
    gathered: Arc<Mutex<HashMap<(Scope, DeviceId), Seen>>>,
    account_devices_max: usize,
}

impl Presence {
    /// Remembers so many devices of a user at most.
    pub fn new(account_devices_max: usize) -> Self {
        Self {
            gathered: Arc::default(),
            account_devices_max,
        }
    }

    /// A device was here. Never blocks.
    pub fn saw(&self, seen: Seen) {
        let mut gathered = self.lock();
        let full = gathered.len() >= GATHERED_MAX;
        match gathered.entry((seen.scope.clone(), seen.device.clone())) {
            Entry::Occupied(mut known) => {
                let pulled = seen.pulled.or(known.get().pulled);
                known.insert(Seen { pulled, ..seen });
            }
            Entry::Vacant(place) if !full => {
                place.insert(seen);
            }
            Entry::Vacant(_) => (),
        }
    }

    /// Writes what was gathered, now and then until `stop`, and once more then.
    pub async fn run(&self, store: &Store, stop: CancellationToken) {
        let mut stopped = false;
        while !stopped {
            tokio::select! {
                () = stop.cancelled() => stopped = true,
                () = tokio::time::sleep(WRITE_INTERVAL) => (),
            }
            self.write(store).await;
        }
    }

    /// Writes what was gathered. What cannot be written is forgotten: the devices will be back.
    pub async fn write(&self, store: &Store) {
        let mut seen: Vec<Seen> = self.lock().drain().map(|(_, seen)| seen).collect();
        // The same order everywhere, so that two instances cannot wait for each other.
        seen.sort_by(|a, b| {
            let key = |seen: &Seen| {
                (
                    seen.scope.as_str().to_owned(),
                    seen.device.as_str().to_owned(),
                )
            };
            key(a).cmp(&key(b))
        });
        for chunk in seen.chunks(WRITE_CHUNK) {
            if let Err(fault) = store.record_seen(chunk, self.account_devices_max).await {
                tracing::warn!(cause = %fault, "devices could not be remembered");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Scope, DeviceId), Seen>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
