//! Somebody who watches all the time, through every fault, as an app in the foreground would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ironflow_sync::grpc::proto::PullRequest;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use ironflow_sync::grpc::proto::watch_response::Event;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use super::rig::Addresses;
use crate::support::Device;
use crate::support::service::token;

/// How long a connection may be silent before the watcher takes it for dead.
const SILENCE: Duration = Duration::from_millis(500);

/// Pause before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What somebody who watches holds of each entity that is not deleted: its version and data.
pub type Held = BTreeMap<(String, String), (i32, Vec<u8>)>;

/// A stream that is opened again as often as it ends.
pub struct Watcher {
    pub held: watch::Receiver<Held>,
    cursor: Arc<Mutex<String>>,
    _following: AbortOnDropHandle<()>,
}

impl Watcher {
    pub fn start(user: &str, addresses: Addresses) -> Self {
        let (holds, held) = watch::channel(Held::new());
        let user = user.to_owned();
        let cursor = Arc::new(Mutex::new(String::new()));
        let place = cursor.clone();
        let following = tokio::spawn(async move {
            for round in 0.. {
                let ended = follow(&user, &addresses, round, &holds, &place).await;
                let reset = ended
                    .get_details_error_info()
                    .is_some_and(|info| info.reason == "CURSOR_RESET");
                if reset {
                    place.lock().expect("no panic").clear();
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        });
        Self {
            held,
            cursor,
            _following: AbortOnDropHandle::new(following),
        }
    }

    /// The cursor it was given last; empty before the first.
    pub fn cursor(&self) -> String {
        self.cursor.lock().expect("no panic").clone()
    }
}

/// Follows one stream to its end.
async fn follow(
    user: &str,
    addresses: &Addresses,
    round: usize,
    holds: &watch::Sender<Held>,
    cursor: &Mutex<String>,
) -> Status {
    let address = {
        let addresses = addresses.lock().expect("no panic");
        match addresses.len() {
            0 => return Status::unavailable("nobody serves"),
            count => addresses[round % count],
        }
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .keep_alive_while_idle(true);
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(error) => return Status::unavailable(error.to_string()),
    };
    let mut device = Device::new(SyncServiceClient::new(channel), token(user), "watcher");
    let from = cursor.lock().expect("no panic").clone();
    if from.is_empty() {
        // What has gone is not told to those who begin.
        holds.send_modify(Held::clear);
    }
    let request = PullRequest {
        device_id: "watcher".to_owned(),
        cursor: from,
        ..PullRequest::default()
    };
    let mut stream = match device.watch(request).await {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Status::unavailable("the stream ended"),
            Err(status) => return status,
        };
        if let Some(Event::Changes(changes)) = message.event {
            holds.send_modify(|held| {
                for entity in changes.entities {
                    let key = (entity.entity_type, entity.entity_id);
                    match entity.deleted {
                        true => held.remove(&key),
                        false => held.insert(key, (entity.version, entity.data)),
                    };
                }
            });
            *cursor.lock().expect("no panic") = changes.cursor;
        }
    }
}
