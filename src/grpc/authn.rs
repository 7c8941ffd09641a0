//! Puts the verified [`Caller`] beside every request, or refuses it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request, Response, header};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::edge::now;
use crate::auth::Caller;
use crate::error::Refusal;
use crate::keyring::Keyring;

/// Holds a token as it is, for those whose `authorization` is taken by a proxy.
const X_JWT_TOKEN: HeaderName = HeaderName::from_static("x-jwt-token");

/// A service that only verified callers reach. Not a tonic interceptor: those cannot wait, and a
/// token signed with a new key waits for that key.
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    keyring: Keyring,
}

impl<S> Authenticated<S> {
    /// Tokens are checked by `keyring`.
    pub fn new(inner: S, keyring: Keyring) -> Self {
        Self { inner, keyring }
    }
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Authenticated<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone takes the place of the one that was polled ready, which serves this call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let keyring = self.keyring.clone();
        Box::pin(async move {
            let verified = match only_token(request.headers()) {
                Ok(token) => keyring.verify(token, now()).await,
                Err(refusal) => Err(refusal),
            };
            match verified {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(refusal) => Ok(Status::from(refusal).into_http()),
            }
        })
    }
}

/// Who makes this call.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Refusal> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or(Refusal::TokenMissing)
}

/// The one token, whichever header holds it. Two are as good as none: who knows which one was checked
/// before.
fn only_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let bearers = headers.get_all(header::AUTHORIZATION).into_iter();
    let bare = headers.get_all(X_JWT_TOKEN).into_iter();
    let mut tokens = bearers
        .map(|value| value.to_str().ok().and_then(bearer_token))
        .chain(bare.map(|value| value.to_str().ok()));
    match (tokens.next(), tokens.next()) {
        (Some(Some(token)), None) if !token.is_empty() => Ok(token),
        _ => Err(Refusal::TokenMissing),
    }
}

fn bearer_token(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
