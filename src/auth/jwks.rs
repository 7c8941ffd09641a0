//! Reads key sets (RFC 7517).

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::keys::Key;

/// The public keys of whoever issues tokens.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    pub(super) keys: Vec<Key>,
    /// What tokens may be signed with; a fresher set may have keys for all of these.
    pub(super) accepted: Vec<Algorithm>,
    unusable: usize,
}

/// A document that is no key set.
#[derive(Debug, Error)]
#[error("expected a key set: a JSON object with the list \"keys\"")]
pub struct NoKeySet;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// No keys yet, for tokens signed with one of `accepted`.
    pub fn empty(accepted: &[Algorithm]) -> Self {
        Self {
            keys: Vec::new(),
            accepted: accepted.to_vec(),
            unusable: 0,
        }
    }

    /// Reads a set. Keys of types, for uses or with algorithms that are not accepted are left out: sets
    /// may hold keys for others (RFC 7517, section 5).
    pub fn parse(document: &[u8], accepted: &[Algorithm]) -> Result<Self, NoKeySet> {
        let document: Document = serde_json::from_slice(document).map_err(|_| NoKeySet)?;
        let all = document.keys.len();
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .filter_map(|key| usable(key, accepted))
            .collect();
        Ok(Self {
            unusable: all - keys.len(),
            keys,
            accepted: accepted.to_vec(),
        })
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the document were left out.
    pub fn unusable(&self) -> usize {
        self.unusable
    }
}

/// The key, with those of the accepted algorithms that fit its type and that it is meant for.
fn usable(key: Value, accepted: &[Algorithm]) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let common = &jwk.common;
    match &common.public_key_use {
        None | Some(PublicKeyUse::Signature) => (),
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => return None,
    }
    let operations = common.key_operations.as_ref();
    if operations.is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return None;
    }
    let is_meant = |algorithm: Algorithm| {
        let meant = common.key_algorithm;
        meant.is_none_or(|meant| meant == KeyAlgorithm::from(algorithm))
    };
    let algorithms: Vec<Algorithm> = algorithms_of(&jwk.algorithm)
        .iter()
        .copied()
        .filter(|algorithm| accepted.contains(algorithm) && is_meant(*algorithm))
        .collect();
    if algorithms.is_empty() {
        return None;
    }
    Some(Key {
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
        algorithms,
    })
}

/// What a type of key can be used with here. A symmetric key in a set is none: a set is published, a
/// secret is not.
fn algorithms_of(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            &[Algorithm::ES256]
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: [Algorithm; 4] = [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ];

    fn rsa() -> Value {
        json!({"kty": "RSA", "n": "0vx7ag", "e": "AQAB"})
    }

    fn ed() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    /// What the key may be used with.
    fn used(mut key: Value, members: &Value, accepted: &[Algorithm]) -> Vec<Algorithm> {
        for (name, value) in members.as_object().expect("members") {
            key[name] = value.clone();
        }
        let document = json!({"keys": [key]}).to_string();
        let set = KeySet::parse(document.as_bytes(), accepted).expect("a set");
        assert_eq!(set.len() + set.unusable(), 1);
        set.keys
            .first()
            .map(|key| key.algorithms.clone())
            .unwrap_or_default()
    }

    #[test]
    fn a_key_is_used_as_its_type_the_set_and_the_configuration_agree() {
        let none = json!({});
        let rsa_only = [Algorithm::RS256, Algorithm::PS256];
        assert_eq!(used(rsa(), &none, &ALL), rsa_only);
        assert_eq!(used(rsa(), &none, &[Algorithm::PS256]), [Algorithm::PS256]);
        assert_eq!(used(ed(), &none, &ALL), [Algorithm::EdDSA]);
        for (members, expected) in [
            (json!({"alg": "RS256"}), &rsa_only[..1]),
            (json!({"use": "sig", "key_ops": ["verify"]}), &rsa_only),
            (json!({"alg": "HS256"}), &[]),
            (json!({"alg": "RS512"}), &[]),
            (json!({"alg": "RSA-OAEP"}), &[]),
            (json!({"alg": "ES256"}), &[]),
            (json!({"alg": "none"}), &[]),
            (json!({"use": "enc"}), &[]),
            (json!({"use": "tls"}), &[]),
            (json!({"key_ops": ["encrypt"]}), &[]),
            (json!({"key_ops": []}), &[]),
            (json!({"n": "not base64!"}), &[]),
            (json!({"kid": 7}), &[]),
        ] {
            assert_eq!(used(rsa(), &members, &ALL), expected, "{members}");
        }
        let every = [&ALL[..], &[Algorithm::HS256]].concat();
        let secret = json!({"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"});
        assert_eq!(used(secret, &none, &every), [], "a secret in a set");
        for curve in ["P-384", "P-521", "X25519", "secp256k1"] {
            let key = json!({"kty": "EC", "crv": curve, "x": "AA", "y": "AA"});
            assert_eq!(used(key, &none, &every), [], "{curve}");
        }
        let crossed = json!({"kty": "OKP", "crv": "P-256", "x": "AA"});
        assert_eq!(used(crossed, &none, &every), []);
    }

    #[test]
    fn what_is_no_key_set_is_told_from_an_empty_one() {
        for document in [
            "",
            "{}",
            "[]",
            "null",
            "{\"keys\": {}}",
            "{\"keys\": null}",
            "<html>",
            "{\"keys\": []",
        ] {
            let read = KeySet::parse(document.as_bytes(), &ALL);
            assert!(read.is_err(), "{document}");
        }
        let set = KeySet::parse(b"{\"keys\": []}", &ALL).expect("an empty set");
        assert!(set.is_empty());
        let odd = b"{\"keys\": [7, null, {}, {\"kty\": \"EC\"}]}";
        let set = KeySet::parse(odd, &ALL).expect("others' keys");
        assert_eq!((set.len(), set.unusable()), (0, 4));
    }
}
