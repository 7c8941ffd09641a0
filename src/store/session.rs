//! On whose behalf a session works: the second wall between users (promise 10).
//!
//! Every statement names its scope. A session says it again, to Postgres: each transaction works as a role
//! that owns nothing, confined to one scope by row-level security (`migrations/0004_isolation.sql`). What
//! confines it ends with the transaction, so a pooled connection carries nothing over.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::future::{try_join, try_join3, try_join4};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::Store;
use crate::domain::scope::Scope;
use crate::error::Fault;

/// Values of a statement's parameters.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// On whose behalf a transaction works.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behalf<'a> {
    /// Of one scope: it sees the rows of that and of the library.
    Scope(&'a Scope),
    /// Of the login itself, which owns the tables, and one scope: an operator's word about an account.
    Owner(&'a Scope),
    /// Of the service itself: it sees how far all scopes have got and when devices were here, no data.
    Keeper,
}

/// A connection from the pool. One with a transaction that has not ended well is closed, so none goes back
/// in a state somebody would have to think about.
pub(super) struct Session {
    /// Taken out only to close it.
    client: Option<Object>,
    /// A transaction is open, or may be.
    open: AtomicBool,
}

impl Store {
    /// A session from the pool.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        Ok(Session {
            client: Some(self.pool.get().await?),
            open: AtomicBool::new(false),
        })
    }

    /// Asks one thing, in a transaction of its own that writes nothing.
    pub(super) async fn ask(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        self.session().await?.ask(behalf, sql, parameters).await
    }

    /// Asks two things, one after the other, likewise.
    pub(super) async fn ask_both(
        &self,
        behalf: impl Into<Behalf<'_>>,
        questions: [(&str, Parameters<'_>); 2],
    ) -> Result<[Vec<Row>; 2], Fault> {
        self.session().await?.ask_both(behalf, questions).await
    }

    /// Asks for one row at most, likewise.
    pub(super) async fn ask_opt(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Fault> {
        Ok(self.ask(behalf, sql, parameters).await?.into_iter().next())
    }

    /// Writes one thing, in a transaction of its own; how many rows it touched.
    pub(super) async fn tell(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Fault> {
        let session = self.session().await?;
        session.start(behalf).await?;
        let touched = session.execute(sql, parameters).await?;
        session.commit().await?;
        Ok(touched)
    }

    /// A session of the login itself, which owns the tables: for migrations and an operator's commands. It
    /// ends when it is dropped.
    pub(super) async fn owner(&self) -> Result<ClientWrapper, Fault> {
        Ok(Object::take(self.pool.get().await?))
    }
}

impl Session {
    /// Asks one thing, in a transaction of its own that writes nothing. One round trip: what begins and
    /// ends the transaction is sent along.
    pub(super) async fn ask(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        let begin = behalf.into().begin("begin read only");
        // Polled in this order, each sends what it has to say at once: whoever stops waiting has sent the
        // end of the transaction too.
        let asked = try_join3(
            client.batch_execute(&begin),
            client.query(&statement, parameters),
            client.batch_execute("commit"),
        );
        let (_, rows, _) = asked
            .await
            .inspect_err(|_| self.open.store(true, Ordering::Relaxed))?;
        Ok(rows)
    }

    /// Asks two things, one after the other, likewise in one round trip.
    async fn ask_both(
        &self,
        behalf: impl Into<Behalf<'_>>,
        [(first, of_first), (second, of_second)]: [(&str, Parameters<'_>); 2],
    ) -> Result<[Vec<Row>; 2], Fault> {
        let client = self.client()?;
        let first = client.prepare_cached(first).await?;
        let second = client.prepare_cached(second).await?;
        let begin = behalf.into().begin("begin read only");
        let asked = try_join4(
            client.batch_execute(&begin),
            client.query(&first, of_first),
            client.query(&second, of_second),
            client.batch_execute("commit"),
        );
        let (_, first, second, _) = asked
            .await
            .inspect_err(|_| self.open.store(true, Ordering::Relaxed))?;
        Ok([first, second])
    }

    /// Begins a transaction.
    pub(super) async fn start(&self, behalf: impl Into<Behalf<'_>>) -> Result<(), Fault> {
        self.open.store(true, Ordering::Relaxed);
        let begin = behalf.into().begin("begin");
        Ok(self.client()?.batch_execute(&begin).await?)
    }

    /// Begins a transaction with its first statement, in one round trip.
    pub(super) async fn start_with(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let client = self.client()?;
        let statement = client.prepare_cached(sql).await?;
        self.open.store(true, Ordering::Relaxed);
        let begin = behalf.into().begin("begin");
        let begun = try_join(
            client.batch_execute(&begin),
            client.query(&statement, parameters),
        );
        let (_, rows) = begun.await?;
        Ok(rows)
    }

    /// Begins a transaction with its first two statements, in one round trip. The second sees what was
    /// committed while the first waited.
    pub(super) async fn start_with_both(
        &self,
        behalf: impl Into<Behalf<'_>>,
        [first, second]: [&str; 2],
        parameters: Parameters<'_>,
    ) -> Result<[Vec<Row>; 2], Fault> {
        let client = self.client()?;
        let first = client.prepare_cached(first).await?;
        let second = client.prepare_cached(second).await?;
        self.open.store(true, Ordering::Relaxed);
        let begin = behalf.into().begin("begin");
        let begun = try_join3(
            client.batch_execute(&begin),
            client.query(&first, parameters),
            client.query(&second, parameters),
        );
        let (_, first, second) = begun.await?;
        Ok([first, second])
    }

    /// Reads, in the transaction that is open.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.query(&statement, parameters).await?)
    }

    /// Writes, in the transaction that is open; how many rows it touched.
    pub(super) async fn execute(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Fault> {
        let statement = self.prepare(sql).await?;
        Ok(self.client()?.execute(&statement, parameters).await?)
    }

    /// Ends the transaction: all of it counts.
    pub(super) async fn commit(&self) -> Result<(), Fault> {
        self.end("commit").await
    }

    /// Ends the transaction: it leaves no trace.
    pub(super) async fn rollback(&self) -> Result<(), Fault> {
        self.end("rollback").await
    }

    async fn end(&self, how: &'static str) -> Result<(), Fault> {
        self.client()?.batch_execute(how).await?;
        self.open.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        Ok(self.client()?.prepare_cached(sql).await?)
    }

    fn client(&self) -> Result<&Object, Fault> {
        let used_up = || Fault::Defect("the session was used up".into(), None);
        self.client.as_ref().ok_or_else(used_up)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open.load(Ordering::Relaxed)
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

impl<'a> From<&'a Scope> for Behalf<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self::Scope(scope)
    }
}

impl Behalf<'_> {
    /// What begins a transaction and confines it. In hex there is nothing to quote.
    fn begin(self, begin: &str) -> String {
        match self {
            Self::Keeper => format!("{begin}; set local role ironflow_sync_keeper"),
            Self::Owner(scope) => confined(begin, scope),
            Self::Scope(scope) => {
                let begin = format!("{begin}; set local role ironflow_sync_service");
                confined(&begin, scope)
            }
        }
    }
}

fn confined(begin: &str, scope: &Scope) -> String {
    let mut text = format!("{begin}; set local ironflow.scope = '");
    for byte in scope.as_str().bytes() {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}
