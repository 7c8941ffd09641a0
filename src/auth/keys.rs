//! What tokens may be signed with.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Rules;
use super::jwks::KeySet;
use crate::domain::clock::Millis;
use crate::domain::scope::UserId;
use crate::error::Refusal;

/// An HS256 secret shorter than its hash can be guessed from one token (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// How many keys a token may be tried against: each costs a signature check, and a token that names
/// its key needs one.
const KEYS_TRIED_MAX: usize = 4;

/// A secret that is too short to be one.
#[derive(Debug, Error)]
#[error(
    "expected a secret of at least {SECRET_BYTES_MIN} bytes, got {0}; make one: openssl rand -hex 32"
)]
pub struct WeakSecret(usize);

/// A secret shared with whoever signs tokens (HS256).
#[derive(Clone)]
pub struct Secret {
    decoding: DecodingKey,
    encoding: EncodingKey,
}

impl Secret {
    /// A secret of at least [`SECRET_BYTES_MIN`] bytes.
    pub fn new(secret: &str) -> Result<Self, WeakSecret> {
        let secret = secret.as_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret(secret.len()));
        }
        Ok(Self {
            decoding: DecodingKey::from_secret(secret),
            encoding: EncodingKey::from_secret(secret),
        })
    }

    /// Signs a token for `user` that expires at `expires` and keeps the rules.
    pub fn sign(
        &self,
        rules: &Rules,
        user: &UserId,
        expires: Millis,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut claims = json!({ "sub": user.as_str(), "exp": expires.0 / 1000 });
        if let Some(issuer) = &rules.issuer {
            claims["iss"] = json!(issuer);
        }
        if let Some(audience) = rules.audiences.first() {
            claims["aud"] = json!(audience);
        }
        claims[&rules.user_claim] = json!(user.as_str());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// One key, with the only algorithms it may be used with. The two are bound here, when the key is
/// read: a token can choose among them, and never bring another.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Its name in a key set.
    pub(super) id: Option<String>,
    /// All of one family, the key's own.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl Key {
    fn fits(&self, header: &Header) -> bool {
        let named = self.id.is_none() || header.kid.is_none() || self.is_named_by(header);
        named && self.algorithms.contains(&header.alg)
    }

    fn is_named_by(&self, header: &Header) -> bool {
        self.id.is_some() && self.id == header.kid
    }
}

/// The keys tokens are checked against.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    secret: Option<Key>,
    set: KeySet,
}

impl Keys {
    /// A secret, a key set, or both. The secret is for HS256 and nothing else, and no key of a set is
    /// ever a secret.
    pub fn new(secret: Option<&Secret>, set: KeySet) -> Self {
        let secret = secret.map(|secret| Key {
            id: None,
            algorithms: vec![Algorithm::HS256],
            decoding: secret.decoding.clone(),
        });
        Self { secret, set }
    }

    /// The same secret with another key set. What is not in it is revoked.
    pub fn with_set(&self, set: KeySet) -> Self {
        Self {
            secret: self.secret.clone(),
            set,
        }
    }

    /// The claims of a token that one of the keys has signed.
    pub(super) fn signed_claims(&self, token: &str) -> Result<Map<String, Value>, Refusal> {
        let header = decode_header(token).map_err(|_| NO_TOKEN)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: what must be understood and is not makes it invalid.
            return Err(Refusal::TokenInvalid("it has critical extensions"));
        }
        let fitting: Vec<&Key> = (self.secret.iter().chain(&self.set.keys))
            .filter(|key| key.fits(&header))
            .collect();
        if fitting.len() > KEYS_TRIED_MAX {
            return Err(Refusal::TokenInvalid(
                "it must name its key: too many keys may have signed it",
            ));
        }
        for key in &fitting {
            match claims(token, key) {
                Ok(claims) => return Ok(claims),
                Err(ErrorKind::InvalidSignature) => (),
                Err(ErrorKind::Json(_)) => return Err(NO_CLAIMS),
                Err(_) => return Err(NO_TOKEN),
            }
        }
        Err(self.no_signature(&header))
    }

    /// Why no key fits. With a name no key has, or without one, fresher keys may do better.
    fn no_signature(&self, header: &Header) -> Refusal {
        let is_secret = |key: &Key| key.algorithms.contains(&header.alg);
        if self.secret.as_ref().is_some_and(is_secret) {
            return Refusal::TokenInvalid(
                "its signature is wrong: somebody else signed it, or it was changed; sign in again, or to try \
                 the service take one of its own: ironflow-sync token --user NAME",
            );
        }
        if !self.set.accepted.contains(&header.alg) {
            return Refusal::TokenInvalid("it is signed with an algorithm that is not accepted");
        }
        if self.set.keys.iter().any(|key| key.is_named_by(header)) {
            return Refusal::TokenInvalid("its signature is not that of the key it names");
        }
        Refusal::KeyUnknown
    }
}

const NO_TOKEN: Refusal =
    Refusal::TokenInvalid("it is not a JSON Web Token signed with a known algorithm");

/// The library looks at the types of some claims, also of those that nobody asks for.
const NO_CLAIMS: Refusal = Refusal::TokenInvalid(
    "its claims must be a JSON object with exp, nbf, iss, aud and sub of the usual types",
);

fn claims(token: &str, key: &Key) -> Result<Map<String, Value>, ErrorKind> {
    let mut validation = Validation::default();
    // Never the one the token names: those the key may be used with.
    validation.algorithms.clone_from(&key.algorithms);
    // The library would read the clock, and takes a missing claim for a right one: `Rules` does both.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    decode::<Map<String, Value>>(token, &key.decoding, &validation)
        .map(|token| token.claims)
        .map_err(jsonwebtoken::errors::Error::into_kind)
}
