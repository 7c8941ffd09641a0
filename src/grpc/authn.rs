//! Puts the verified [`Caller`] beside every request, or refuses it.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::edge::now;
use crate::auth::{Caller, Keys, verify};
use crate::error::Refusal;

/// Verifies the bearer token of every call.
#[derive(Clone)]
pub struct Authentication {
    keys: Arc<Keys>,
}

impl Authentication {
    /// Tokens are checked against `keys`.
    pub fn new(keys: Arc<Keys>) -> Self {
        Self { keys }
    }
}

impl Interceptor for Authentication {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = verify(bearer_token(request.metadata())?, &self.keys, now())?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Who makes this call.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Refusal> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or(Refusal::TokenMissing)
}

/// The one bearer token. Two of them are as good as none: who knows which one was checked before.
fn bearer_token(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let mut values = metadata.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Refusal::TokenMissing);
    };
    let text = value.to_str().map_err(|_| Refusal::TokenMissing)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(Refusal::TokenMissing),
    }
}
