//! Who calls: `verify(token, keys, now) -> Caller`.
//!
//! One shared secret and HS256 today. The algorithm is pinned here and never taken from the token.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::clock::Millis;
use crate::domain::scope::UserId;
use crate::error::Refusal;

/// An HS256 secret shorter than its hash can be guessed from one token (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Longest token in bytes that is looked at. Real ones are around 1 KB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far the clock of whoever issued the token may be off.
const LEEWAY_MS: i64 = 30_000;

const ALGORITHM: Algorithm = Algorithm::HS256;

/// The keys tokens are checked against.
pub struct Keys {
    decoding: DecodingKey,
    encoding: EncodingKey,
}

/// A secret that is too short to be one.
#[derive(Debug, Error)]
#[error("expected a secret of at least {SECRET_BYTES_MIN} bytes, got {0}")]
pub struct WeakSecret(usize);

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose data this call may touch (promise 10).
    pub user: UserId,
    /// When the token expires; a stream ends then.
    pub expires: Millis,
}

/// What is read of a token. Times are seconds since the Unix epoch; JWT allows fractions.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

/// What is written into a token.
#[derive(Serialize)]
struct SignedClaims<'a> {
    sub: &'a str,
    exp: i64,
}

impl Keys {
    /// Keys from a shared secret of at least [`SECRET_BYTES_MIN`] bytes.
    pub fn from_secret(secret: &str) -> Result<Self, WeakSecret> {
        let secret = secret.as_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(WeakSecret(secret.len()));
        }
        Ok(Self {
            decoding: DecodingKey::from_secret(secret),
            encoding: EncodingKey::from_secret(secret),
        })
    }

    /// Signs a token for `user` that expires at `expires`.
    pub fn sign(
        &self,
        user: &UserId,
        expires: Millis,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = SignedClaims {
            sub: user.as_str(),
            exp: expires.0 / 1000,
        };
        jsonwebtoken::encode(&Header::new(ALGORITHM), &claims, &self.encoding)
    }
}

/// Checks a token and says who calls. Fails closed: whatever is not understood is refused.
pub fn verify(token: &str, keys: &Keys, now: Millis) -> Result<Caller, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::TokenInvalid("it is longer than 8 KiB"));
    }
    let mut validation = Validation::new(ALGORITHM);
    // The library would read the clock; times are checked below against `now`.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["exp", "sub"]);
    let claims = jsonwebtoken::decode::<Claims>(token, &keys.decoding, &validation)
        .map_err(|error| Refusal::TokenInvalid(token_problem(error.kind())))?
        .claims;
    let now_s = now.0 as f64 / 1000.0;
    let leeway_s = LEEWAY_MS as f64 / 1000.0;
    if claims.exp <= now_s - leeway_s {
        return Err(Refusal::TokenInvalid("it has expired"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now_s + leeway_s) {
        return Err(Refusal::TokenInvalid("it is not valid yet"));
    }
    let user = UserId::new(&claims.sub).ok_or(Refusal::TokenInvalid(
        "its claim sub must be a user id of 1-256 bytes",
    ))?;
    let expires = Millis((claims.exp * 1000.0) as i64);
    Ok(Caller { user, expires })
}

fn token_problem(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "it is not signed with HS256"
        }
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            "it needs the claims sub (text) and exp (seconds)"
        }
        _ => "it is not a JSON Web Token",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);
    const NOW_S: i64 = NOW.0 / 1000;
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn keys() -> Keys {
        Keys::from_secret(SECRET).expect("long enough")
    }

    fn signed(algorithm: Algorithm, claims: &serde_json::Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signs")
    }

    fn verified(claims: serde_json::Value) -> Result<Caller, Refusal> {
        verify(&signed(Algorithm::HS256, &claims), &keys(), NOW)
    }

    #[test]
    fn a_signed_token_names_its_user_whatever_the_id_looks_like() {
        let id = "firebase|Zk3 \u{e9}/../library";
        let user = UserId::new(id).expect("valid");
        let expires = Millis(NOW.0 + 60_000);
        let token = keys().sign(&user, expires).expect("signs");
        assert_eq!(verify(&token, &keys(), NOW), Ok(Caller { user, expires }));
    }

    #[test]
    fn tokens_that_must_fail_do() {
        for (claims, word) in [
            (json!({"exp": NOW_S + 60}), "sub"),
            (json!({"sub": "mia"}), "exp"),
            (json!({"sub": "", "exp": NOW_S + 60}), "sub"),
            (json!({"sub": 7, "exp": NOW_S + 60}), "sub"),
            (json!({"sub": "m\u{0}a", "exp": NOW_S + 60}), "sub"),
            (json!({"sub": "m".repeat(257), "exp": NOW_S + 60}), "sub"),
            (json!({"sub": "mia", "exp": "tomorrow"}), "exp"),
            (json!({"sub": "mia", "exp": NOW_S - 31}), "expired"),
            (json!({"sub": "mia", "exp": -1}), "exp"),
            (
                json!({"sub": "mia", "exp": NOW_S + 60, "nbf": NOW_S + 31}),
                "not valid yet",
            ),
        ] {
            match verified(claims.clone()) {
                Err(Refusal::TokenInvalid(why)) => assert!(why.contains(word), "{claims}: {why}"),
                other => panic!("{claims}: {other:?}"),
            }
        }
        verified(json!({"sub": "mia", "exp": NOW_S - 29})).expect("within the leeway");
    }

    #[test]
    fn only_the_pinned_algorithm_and_the_right_secret_count() {
        let claims = json!({"sub": "mia", "exp": NOW_S + 60});
        let other = Keys::from_secret(&SECRET.replace('0', "1")).expect("long enough");
        let token = signed(Algorithm::HS256, &claims);
        assert!(verify(&token, &keys(), NOW).is_ok());
        assert!(verify(&token, &other, NOW).is_err(), "another secret");
        assert!(verify(&signed(Algorithm::HS512, &claims), &keys(), NOW).is_err());
        let payload = token.split('.').nth(1).expect("a payload");
        // {"alg":"none"}
        let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}.");
        assert!(verify(&unsigned, &keys(), NOW).is_err(), "alg none");
        for garbage in ["", ".", "..", "a.b.c", &"x".repeat(100_000)] {
            assert!(verify(garbage, &keys(), NOW).is_err(), "garbage");
        }
        assert!(Keys::from_secret("short").is_err());
    }
}
