//! Whoever issues tokens: keys of every type, made anew for each run.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironflow_sync::auth::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value, json};

/// A key to sign with.
#[derive(Clone)]
pub struct Signer {
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    /// Its name in the key set.
    pub kid: Option<String>,
}

impl Signer {
    /// A new key for an algorithm. RSA keys are dear, so there are two, by turns of the name.
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                static KEYS: [OnceLock<EncodingKey>; 2] = [OnceLock::new(), OnceLock::new()];
                let of_name = &KEYS[usize::from(kid.starts_with("other"))];
                of_name.get_or_init(rsa_key).clone()
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                EncodingKey::from_ec_der(pair.expect("a key").as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                EncodingKey::from_ed_der(pair.as_ref())
            }
            _ => panic!("no key for {algorithm:?}"),
        };
        Self {
            algorithm,
            key,
            kid: Some(kid.to_owned()),
        }
    }

    /// The same key without a name.
    pub fn nameless(&self) -> Self {
        Self {
            kid: None,
            ..self.clone()
        }
    }

    /// Its public half, as it stands in a key set.
    pub fn jwk(&self) -> Value {
        let mut jwk = match self.algorithm {
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(self.key.as_bytes()).expect("a key");
                let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
            _ => {
                let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
                serde_json::to_value(jwk).expect("JSON")
            }
        };
        // Which algorithm it is for is left open: the tests say so where it matters.
        let members = jwk.as_object_mut().expect("an object");
        members.remove("alg");
        if let Some(kid) = &self.kid {
            members.insert("kid".to_owned(), json!(kid));
        }
        jwk
    }

    /// Its header.
    pub fn header(&self) -> Value {
        let mut header = json!({"typ": "JWT", "alg": name(self.algorithm)});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    /// A token with its header.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_under(&self.header(), claims)
    }

    /// A token with any header, signed with this key all the same.
    pub fn sign_under(&self, header: &Value, claims: &Value) -> String {
        signed(&header.to_string(), claims, &self.key, self.algorithm)
    }

    /// A token of a user that is valid for an hour.
    pub fn token(&self, user: &str) -> String {
        self.sign(&claims(user))
    }
}

/// A token with any header, signed with any key.
pub fn signed(header: &str, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = unsigned(header, claims);
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("signs");
    format!("{message}.{signature}")
}

/// The first two parts of a token.
pub fn unsigned(header: &str, claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", part(header), part(&claims.to_string()))
}

/// Claims of a user that are valid for an hour.
pub fn claims(user: &str) -> Value {
    json!({"sub": user, "exp": now_s() + 3600})
}

/// The clock.
pub fn now_s() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.expect("after 1970").as_secs() as i64
}

/// A key set.
pub fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The algorithm as tokens name it.
pub fn name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

fn rsa_key() -> EncodingKey {
    /// What stands before the key of 2,048 bits in PKCS #8.
    const HEADER_BYTES: usize = 26;
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let pkcs8 = pair.as_der().expect("DER");
    EncodingKey::from_rsa_der(&pkcs8.as_ref()[HEADER_BYTES..])
}
