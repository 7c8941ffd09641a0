//! The plainest service there can be in front of Postgres: tonic, tokio-postgres, and the raw statement. It knows no
//! users, cursors, limits or logs, so what it loses beside the raw statement any service like it loses.

use std::convert::Infallible;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request as HttpRequest, Response as HttpResponse};
use ironflow_sync::grpc::proto::Entity;
use prost::Message;
use tokio::net::TcpListener;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use crate::bench::prepared;
use crate::lanes::Lane;
use crate::process::Process;
use crate::pull::{Page, RAW_PULL};
use crate::support::frames::message;
use crate::wire::Wire;

/// The argument that makes this program the plain server. Behind it: the address of its database, and how many
/// connections it has.
pub const PLAIN: &str = "--plain-server";

/// Its method.
const PULL: &str = "/plain.Plain/Pull";

/// What this process was started to be the plain server for: a database, and how many connections to it.
pub fn asked() -> Option<(String, usize)> {
    let mut arguments = env::args().skip_while(|argument| argument != PLAIN).skip(1);
    let url = arguments.next()?;
    let connections = arguments.next()?.parse().expect("a number");
    Some((url, connections))
}

/// Serves until the process ends: the raw statement, and tonic's own health service, whose streams stay quiet for ever.
pub async fn serve(url: &str, connections: usize) {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(prepared(url, RAW_PULL).await);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    println!("listens on {address}");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let plain = Plain {
        clients: clients.into(),
        calls: Arc::default(),
    };
    let served = Server::builder()
        .add_service(health)
        .add_service(plain)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    served.await.expect("serves");
}

/// What is asked of it.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    scope: String,
    #[prost(int64, tag = "2")]
    after: i64,
    #[prost(int64, tag = "3")]
    limit: i64,
}

/// Its answer, a [`Page`].
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, repeated, tag = "1")]
    entities: Vec<Entity>,
    #[prost(string, tag = "2")]
    cursor: String,
    #[prost(bool, tag = "3")]
    has_more: bool,
}

#[derive(Clone)]
struct Plain {
    clients: Arc<[(Client, Statement)]>,
    calls: Arc<AtomicUsize>,
}

impl Plain {
    async fn pull(&self, question: Question) -> Answer {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (client, statement) = &self.clients[call % self.clients.len()];
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&question.scope, &question.after, &question.limit];
        let rows = client.query(statement, &parameters).await.expect("rows");
        let last = rows
            .last()
            .map_or(question.after, |row| row.get("revision"));
        Answer {
            has_more: rows.len() as i64 == question.limit,
            entities: rows.iter().map(entity).collect(),
            cursor: last.to_string(),
        }
    }
}

/// An entity without its times.
fn entity(row: &Row) -> Entity {
    let data: Option<String> = row.get(5);
    Entity {
        entity_type: row.get(1),
        entity_id: row.get::<_, Uuid>(2).to_string(),
        data: data.unwrap_or_default().into_bytes(),
        version: row.get(3),
        deleted: row.get(4),
        device_id: row.get(6),
        ..Entity::default()
    }
}

impl UnaryService<Question> for Plain {
    type Response = Answer;
    type Future = BoxFuture<'static, Result<Response<Answer>, Status>>;

    fn call(&mut self, request: Request<Question>) -> Self::Future {
        let plain = self.clone();
        Box::pin(async move { Ok(Response::new(plain.pull(request.into_inner()).await)) })
    }
}

impl NamedService for Plain {
    const NAME: &'static str = "plain.Plain";
}

impl Service<HttpRequest<Body>> for Plain {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let plain = self.clone();
        let codec = ProstCodec::<Answer, Question>::default();
        Box::pin(async move { Ok(Grpc::new(codec).unary(plain, request).await) })
    }
}

/// A device of the plain server.
pub struct PlainPull {
    wire: Wire,
    question: Question,
    entities: usize,
}

impl PlainPull {
    /// One that asks for everything behind a revision, so many entities at once, and gets so many in all.
    pub async fn new(
        plain: &Process,
        scope: &str,
        after: usize,
        limit: usize,
        entities: usize,
    ) -> Self {
        Self {
            wire: Wire::connect(&plain.address, PULL, "none").await,
            question: Question {
                scope: scope.to_owned(),
                after: after as i64,
                limit: limit as i64,
            },
            entities,
        }
    }

    async fn page(&mut self, after: i64) -> Page {
        let question = Question {
            after,
            ..self.question.clone()
        };
        let question = message(false, &question.encode_to_vec());
        Page::decode(self.wire.call(&question).await).expect("a page")
    }
}

impl Lane for PlainPull {
    async fn step(&mut self) {
        let (mut after, mut entities) = (self.question.after, 0);
        loop {
            let page = self.page(after).await;
            entities += page.entities.len();
            after = page.cursor.parse().expect("a revision");
            if entities >= self.entities || !page.has_more {
                break;
            }
        }
        assert_eq!(entities, self.entities);
    }
}
