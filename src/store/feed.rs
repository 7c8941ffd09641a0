//! What the feed asks of Postgres: how far scopes have got, and a session for signals between
//! instances.

use std::future::poll_fn;

use tokio_postgres::AsyncMessage;

use super::Store;
use super::address::Address;
use super::columns::{parsed, revision};
use super::session::Behalf;
use crate::domain::scope::Scope;
use crate::domain::version::Revision;
use crate::error::Fault;

const READ_REVISIONS: &str = include_str!("sql/read_revisions.sql");
const LISTEN: &str = include_str!("sql/listen.sql");
const NOTIFY: &str = include_str!("sql/notify.sql");

/// Who speaks and listens on a session for signals.
pub trait Signals {
    /// The session is up; what was signalled before may have been missed.
    fn connected(&self);
    /// Another instance (or this one) said this.
    fn heard(&self, payload: &str);
    /// Waits for something to say, at most 7,999 bytes.
    fn next(&self) -> impl Future<Output = String> + Send;
}

impl Store {
    /// How far these scopes have got. A scope that was never written is left out.
    pub async fn read_revisions(&self, scopes: &[Scope]) -> Result<Vec<(Scope, Revision)>, Fault> {
        let names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        let rows = self.ask(Behalf::Keeper, READ_REVISIONS, &[&names]).await?;
        rows.iter()
            .map(|row| {
                let scope = parsed(row, "scope", Scope::from_store)?;
                Ok((scope, revision(row, "revision")?))
            })
            .collect()
    }

    /// Exchanges signals over a session of its own until that breaks, and says why it did.
    pub async fn exchange(&self, signals: &impl Signals) -> Fault {
        let Address { config, tls } = &self.address;
        let (client, mut connection) = match config.connect(tls.clone()).await {
            Ok(connected) => connected,
            Err(error) => return error.into(),
        };
        let listen = async {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(said))) => signals.heard(said.payload()),
                    Some(Ok(_)) => (),
                    Some(Err(error)) => return error.into(),
                    None => return Fault::Unavailable("the session for signals ended".into()),
                }
            }
        };
        let speak = async {
            client.batch_execute(LISTEN).await?;
            signals.connected();
            let notify = client.prepare(NOTIFY).await?;
            loop {
                client.execute(&notify, &[&signals.next().await]).await?;
            }
        };
        tokio::select! {
            broken = listen => broken,
            broken = speak => match broken {
                Ok(never) => never,
                Err(fault) => fault,
            },
        }
    }
}
