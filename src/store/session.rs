//! On whose behalf a session works: the second wall between users (promise 10).
//!
//! Every statement names its scope. A session says it again, to Postgres: each transaction works as a role
//! that owns nothing, confined to one scope by row-level security (`migrations/0004_isolation.sql`). What
//! confines it ends with the transaction, so a pooled connection carries nothing over.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::TryStreamExt;
use futures_util::future::{
    BoxFuture, FutureExt, MaybeDone, maybe_done, try_join, try_join_all, try_join3, try_join4,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::Store;
use super::fault::ErrorTally;
use crate::domain::scope::Scope;
use crate::error::Fault;

/// Values of a statement's parameters.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement and the values of its parameters.
pub(super) type Question<'a> = (&'a str, Parameters<'a>);

/// On whose behalf a transaction works.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behalf<'a> {
    /// Of one scope: it sees the rows of that and of the library.
    Scope(&'a Scope),
    /// Of the login itself, which owns the tables, and one scope: an operator's word about an account.
    Owner(&'a Scope),
    /// Of one scope after the other: each statement is a function that confines itself.
    Each,
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
    errors: Arc<ErrorTally>,
}

/// A transaction on its way to be committed.
pub(super) struct Commit<'s>(MaybeDone<BoxFuture<'s, Result<(), Fault>>>);

impl Commit<'_> {
    /// Waits until it is.
    pub(super) async fn done(mut self) -> Result<(), Fault> {
        (&mut self.0).await;
        let unknown = || Fault::Defect("a commit ended twice".into(), None);
        Pin::new(&mut self.0).take_output().ok_or_else(unknown)?
    }
}

impl Store {
    /// A session from the pool.
    pub(super) async fn session(&self) -> Result<Session, Fault> {
        let client = self.pool.get().await;
        Ok(Session {
            client: Some(client.map_err(|error| self.errors.pool_fault(error))?),
            open: AtomicBool::new(false),
            errors: self.errors.clone(),
        })
    }

    /// Asks one thing, in a transaction of its own that writes nothing.
    pub(super) async fn ask(
        &self,
        behalf: impl Into<Behalf<'_>>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let session = self.session().await?;
        let [rows] = session.ask(behalf, [(sql, parameters)]).await?;
        Ok(rows)
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
        session.start(behalf, []).await?;
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
    /// Asks some things, one after the other, in a transaction of its own that writes nothing. One round
    /// trip: what begins and ends the transaction is sent along.
    pub(super) async fn ask<const N: usize>(
        &self,
        behalf: impl Into<Behalf<'_>>,
        questions: [Question<'_>; N],
    ) -> Result<[Vec<Row>; N], Fault> {
        let begin = behalf.into().begin("begin read only");
        let statements = self.statements(&questions).await?;
        let answers = self.send(&begin, &statements, &questions, Some("commit"));
        let answers = answers.await;
        let answers = answers.inspect_err(|_| self.open.store(true, Ordering::Relaxed));
        all(answers?)
    }

    /// Asks one thing whose rows are taken one by one, while Postgres makes the next, and then another, in a
    /// transaction of its own that writes nothing. One round trip.
    pub(super) async fn ask_along(
        &self,
        behalf: impl Into<Behalf<'_>>,
        (first, parameters): Question<'_>,
        mut take: impl FnMut(Row) -> Result<(), Fault>,
        (second, then): Question<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let begin = behalf.into().begin("begin read only");
        let client = self.client()?;
        let statements = (self.prepare(first).await?, self.prepare(second).await?);
        let fault = |error| self.errors.fault(error);
        let along = async {
            let rows = client.query_raw(&statements.0, parameters.iter().copied());
            let mut rows = pin!(rows.await.map_err(fault)?);
            while let Some(row) = rows.try_next().await.map_err(fault)? {
                take(row)?;
            }
            Ok(())
        };
        let begun = async { client.batch_execute(&begin).await.map_err(fault) };
        let second = async { client.query(&statements.1, then).await.map_err(fault) };
        let ended = async { client.batch_execute("commit").await.map_err(fault) };
        let answers = try_join4(begun, along, second, ended).await;
        let (_, (), rows, _) = answers.inspect_err(|_| self.open.store(true, Ordering::Relaxed))?;
        Ok(rows)
    }

    /// Begins a transaction with its first statements, in one round trip. Each sees what was committed while
    /// the one before it waited.
    pub(super) async fn start<const N: usize>(
        &self,
        behalf: impl Into<Behalf<'_>>,
        questions: [Question<'_>; N],
    ) -> Result<[Vec<Row>; N], Fault> {
        self.open.store(true, Ordering::Relaxed);
        let begin = behalf.into().begin("begin");
        let statements = self.statements(&questions).await?;
        all(self.send(&begin, &statements, &questions, None).await?)
    }

    /// Writes some things, one after the other, in a transaction of its own: all of it, or nothing, which shows when it
    /// is committed. The next may be written before; it waits for that in Postgres. One round trip. Once nothing is
    /// left to be committed: [`Session::close`].
    pub(super) async fn tell_ahead(
        &self,
        behalf: impl Into<Behalf<'_>>,
        questions: &[Question<'_>],
    ) -> Result<(Vec<Vec<Row>>, Commit<'_>), Fault> {
        let statements = self.statements(questions).await?;
        self.open.store(true, Ordering::Relaxed);
        let begin = behalf.into().begin("begin");
        let client = self.client()?;
        let commit = async {
            let ended = client.batch_execute("commit").await;
            ended.map_err(|error| self.errors.fault(error))
        };
        let mut commit = Commit(maybe_done(commit.boxed()));
        // Behind them: both are sent by their first poll.
        let sent = poll_fn(|context| {
            let _ = Pin::new(&mut commit.0).poll(context);
            Poll::Ready(Ok(()))
        });
        let (answers, ()) = try_join(self.send(&begin, &statements, questions, None), sent).await?;
        Ok((answers, commit))
    }

    /// All that was begun has ended well.
    pub(super) fn close(self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// Sends statements together. What is sent is sent by the first poll, in this order and to its end: so
    /// whoever stops waiting has ended the transaction too.
    async fn send(
        &self,
        begin: &str,
        statements: &[Statement],
        questions: &[Question<'_>],
        end: Option<&str>,
    ) -> Result<Vec<Vec<Row>>, Fault> {
        let client = self.client()?;
        let queries = statements.iter().zip(questions);
        let queries =
            queries.map(|(statement, (_, parameters))| client.query(statement, parameters));
        let end = async {
            match end {
                Some(end) => client.batch_execute(end).await,
                None => Ok(()),
            }
        };
        let answers = try_join3(client.batch_execute(begin), try_join_all(queries), end).await;
        let (_, rows, _) = answers.map_err(|error| self.errors.fault(error))?;
        Ok(rows)
    }

    /// Reads, in the transaction that is open.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(sql).await?;
        let rows = self.client()?.query(&statement, parameters).await;
        rows.map_err(|error| self.errors.fault(error))
    }

    /// Writes, in the transaction that is open; how many rows it touched.
    pub(super) async fn execute(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Fault> {
        let statement = self.prepare(sql).await?;
        let touched = self.client()?.execute(&statement, parameters).await;
        touched.map_err(|error| self.errors.fault(error))
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
        let ended = self.client()?.batch_execute(how).await;
        ended.map_err(|error| self.errors.fault(error))?;
        self.open.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Prepares statements that are about to be sent together: each is sent by its first poll then.
    pub(super) async fn prepare_all(&self, statements: &[&str]) -> Result<(), Fault> {
        for sql in statements {
            self.prepare(sql).await?;
        }
        Ok(())
    }

    async fn statements(&self, questions: &[Question<'_>]) -> Result<Vec<Statement>, Fault> {
        let mut statements = Vec::with_capacity(questions.len());
        for (sql, _) in questions {
            statements.push(self.prepare(sql).await?);
        }
        Ok(statements)
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        let statement = self.client()?.prepare_cached(sql).await;
        statement.map_err(|error| self.errors.fault(error))
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
    /// What begins a transaction and confines it.
    fn begin(self, begin: &str) -> String {
        match self {
            Self::Keeper => format!("{begin}; set local role ironflow_sync_keeper"),
            Self::Each => format!("{begin}; set local role ironflow_sync_service"),
            Self::Owner(scope) => confined(begin, scope),
            Self::Scope(scope) => {
                let begin = format!("{begin}; set local role ironflow_sync_service");
                confined(&begin, scope)
            }
        }
    }
}

/// The answers to so many questions.
fn all<const N: usize>(answers: Vec<Vec<Row>>) -> Result<[Vec<Row>; N], Fault> {
    let short = |_| Fault::Defect("a statement has no answer".into(), None);
    answers.try_into().map_err(short)
}

/// In letters, digits and escapes there is nothing to quote.
fn confined(begin: &str, scope: &Scope) -> String {
    let mut text = format!("{begin}; set local ironflow.scope = E'");
    for letter in scope.as_str().chars() {
        if letter.is_ascii_alphanumeric() || letter == '/' || letter == '-' {
            text.push(letter);
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "\\U{:08X}", u32::from(letter));
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::UserId;

    #[test]
    fn whatever_a_user_is_called_it_ends_no_quotes() {
        let user = UserId::new("Mia-7'\\;ü🏋").expect("an id");
        assert_eq!(
            confined("begin", &Scope::of(&user)),
            "begin; set local ironflow.scope = \
             E'user/Mia-7\\U00000027\\U0000005C\\U0000003B\\U000000FC\\U0001F3CB'"
        );
    }
}
