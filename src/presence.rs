//! Who was here, and what they were told is wrong: gathers the devices that pull and watch, and the errors of all,
//! and writes them to the registry now and then, so that neither costs a write. Pushes record their device
//! themselves.

mod troubles;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use troubles::Troubles;

use crate::domain::scope::{DeviceId, Scope};
use crate::store::Store;
use crate::store::device::{LastError, Seen};

/// How often the gathered devices are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// Devices gathered between two writes. Those beyond it are remembered the next time they come.
const GATHERED_MAX: usize = 20_000;

/// Devices written in one statement.
const WRITE_CHUNK: usize = 1_000;

/// Gathers devices. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Presence {
    gathered: Arc<Mutex<Gathered>>,
    account_devices_max: usize,
}

/// What was gathered since it was last written.
#[derive(Default)]
struct Gathered {
    seen: HashMap<(Scope, DeviceId), Seen>,
    troubles: Troubles,
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
        let seen_by_now = &mut self.lock().seen;
        let full = seen_by_now.len() >= GATHERED_MAX;
        match seen_by_now.entry((seen.scope.clone(), seen.device.clone())) {
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

    /// A device was told of errors, in this order. Never blocks.
    pub fn told(
        &self,
        scope: &Scope,
        device: &DeviceId,
        errors: impl IntoIterator<Item = LastError>,
    ) {
        for error in errors {
            self.lock().troubles.add(scope, device, error);
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

    /// Writes what was gathered. What cannot be written is forgotten: the devices will be back, and the errors are
    /// in the log.
    pub async fn write(&self, store: &Store) {
        let (seen, mut troubles) = {
            let mut gathered = self.lock();
            (std::mem::take(&mut gathered.seen), gathered.troubles.take())
        };
        let mut seen: Vec<Seen> = seen.into_values().collect();
        seen.sort_by(|a, b| in_order((&a.scope, &a.device), (&b.scope, &b.device)));
        for chunk in seen.chunks(WRITE_CHUNK) {
            match store.record_seen(chunk, self.account_devices_max).await {
                Ok(left) => self.put_back(left),
                Err(fault) => {
                    tracing::warn!(cause = %fault, "devices could not be remembered");
                }
            }
        }
        // Behind them: of a device that was not known until now they count, too.
        troubles.sort_by(|((a, a_device), _), ((b, b_device), _)| {
            in_order((a, a_device), (b, b_device))
        });
        if let Err(fault) = store.record_errors(&troubles).await {
            tracing::warn!(cause = %fault, "the errors of devices could not be remembered");
        }
    }

    /// For the next time. They may have been here again meanwhile.
    fn put_back(&self, left: Vec<Seen>) {
        let seen_by_now = &mut self.lock().seen;
        for left in left {
            let place = (left.scope.clone(), left.device.clone());
            let known = seen_by_now.entry(place).or_insert_with(|| left.clone());
            known.pulled = known.pulled.or(left.pulled);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same order everywhere, so that two instances cannot wait for each other.
fn in_order(a: (&Scope, &DeviceId), b: (&Scope, &DeviceId)) -> Ordering {
    let [a, b] = [a, b].map(|(scope, device)| (scope.as_str(), device.as_str()));
    a.cmp(&b)
}
