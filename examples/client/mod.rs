//! What every client of the service needs: where it is, who calls, and patience while it is away.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// Where the service is, and who calls.
#[derive(Args, Clone)]
pub struct Account {
    /// Where the service listens
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    pub endpoint: String,
    /// Who you are, for example from `ironflow-sync token --user lifter`
    #[arg(long, env = "IRONFLOW_TOKEN", hide_env_values = true)]
    pub token: String,
}

/// A connection to the service. It is made again by itself when it breaks.
pub struct Connection {
    client: SyncServiceClient<Channel>,
    authorization: MetadataValue<Ascii>,
}

impl Connection {
    /// Connects, and says what to do if nothing is there.
    pub async fn open(account: &Account) -> Result<Self, Box<dyn Error>> {
        let endpoint = &account.endpoint;
        let channel = Endpoint::from_shared(endpoint.clone())?
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .connect()
            .await
            .map_err(|_| format!("nothing answers at {endpoint}; start the service: cargo run"))?;
        Ok(Self {
            client: SyncServiceClient::new(channel),
            authorization: format!("Bearer {}", account.token).parse()?,
        })
    }

    /// To call with.
    pub fn client(&self) -> SyncServiceClient<Channel> {
        self.client.clone()
    }

    /// A message, in the name of the account.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let authorization = self.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);
        request
    }
}

/// How often in a row the service was away.
#[derive(Default)]
pub struct Patience {
    waits: u32,
}

impl Patience {
    /// Waits as long as the service asks for, within reason; a second if it is away and did not say. Gives
    /// up on a status that waiting does not change, and on a service that stays away.
    pub async fn wait(&mut self, status: Status) -> Result<(), Status> {
        const WAITS_MAX: u32 = 10;
        const DEFAULT: Duration = Duration::from_secs(1);
        const MAX: Duration = Duration::from_secs(10);
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let of_use = asked.is_some() || away(&status);
        if !of_use || self.waits == WAITS_MAX {
            return Err(status);
        }
        self.waits += 1;
        tokio::time::sleep(asked.unwrap_or(DEFAULT).min(MAX)).await;
        Ok(())
    }
}

/// Whether the service said that it is away, or the connection broke, which has a cause on our side.
fn away(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// A status, for people.
pub fn described(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
