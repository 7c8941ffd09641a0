//! Tokens made to get in. All of it is pure: keys, rules and a clock that is given.

use std::iter::repeat_n;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ironflow_sync::auth::{Algorithm, Caller, KeySet, Keys, Rules, Secret, verify};
use ironflow_sync::domain::clock::Millis;
use ironflow_sync::error::Refusal;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::signer::{Signer, claims, key_set, name, now_s, signed, unsigned};
use crate::support::service::SECRET;

const ALL: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// Keys of the set and nothing else.
fn keys(document: &str, accepted: &[Algorithm]) -> Keys {
    let set = KeySet::parse(document.as_bytes(), accepted).expect("a key set");
    Keys::new(None, set)
}

fn check(token: &str, keys: &Keys) -> Result<Caller, Refusal> {
    let now = Millis(now_s() * 1000);
    let verified = verify(token, keys, &Rules::default(), now);
    if let Err(refusal) = &verified {
        let text = refusal.to_string();
        let longest = token.split('.').max_by_key(|part| part.len());
        let part = longest.filter(|part| part.len() > 8);
        assert!(part.is_none_or(|part| !text.contains(part)), "{text}");
    }
    verified
}

fn refuse(what: &str, token: &str, keys: &Keys) {
    if let Ok(caller) = check(token, keys) {
        panic!("{what}: {caller:?} got in");
    }
}

/// One key of each type.
fn signers() -> [Signer; 4] {
    ALL.map(|algorithm| Signer::new(algorithm, &name(algorithm)))
}

#[test]
fn every_accepted_algorithm_lets_its_key_in_and_no_other() {
    let signers = signers();
    for signer in &signers {
        for named in [signer.clone(), signer.nameless()] {
            let keys = keys(&key_set(&[&named]), &ALL);
            let caller = check(&signer.token("mia"), &keys).expect("the right key");
            assert_eq!(caller.user.as_str(), "mia");
            check(&named.nameless().token("mia"), &keys).expect("the only key");
            let stranger = Signer::new(signer.algorithm, "other");
            let kid = signer.kid.clone();
            refuse(
                "another key of that type",
                &Signer { kid, ..stranger }.token("mia"),
                &keys,
            );
            let others = ALL.map(|one| Some(one).filter(|one| *one != signer.algorithm));
            let others: Vec<Algorithm> = others.into_iter().flatten().collect();
            let pinned = self::keys(&key_set(&[&named]), &others);
            refuse("not pinned", &signer.token("mia"), &pinned);
        }
    }
}

#[test]
fn an_algorithm_swapped_in_the_header_lets_nobody_in() {
    let signers = signers();
    let set: Vec<&Signer> = signers.iter().collect();
    let secret = Secret::new(SECRET).expect("long enough");
    let set = KeySet::parse(key_set(&set).as_bytes(), &ALL).expect("a key set");
    let keys = Keys::new(Some(&secret), set);
    for signer in &signers {
        for named in [
            "HS256", "HS512", "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA",
        ] {
            if named == name(signer.algorithm) {
                continue;
            }
            for kid in [&signer.kid, &None, &Some(named.to_owned())] {
                let mut header = json!({ "alg": named });
                if let Some(kid) = kid {
                    header["kid"] = json!(kid);
                }
                let token = signer.sign_under(&header, &claims("mia"));
                refuse(
                    &format!("{header} by {:?}", signer.algorithm),
                    &token,
                    &keys,
                );
            }
        }
    }
}

#[test]
fn no_algorithm_is_no_signature_in_whatever_case_it_is_written() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let secret = Secret::new(SECRET).expect("long enough");
    let set = KeySet::parse(key_set(&[&signer]).as_bytes(), &ALL).expect("a key set");
    let keys = Keys::new(Some(&secret), set);
    let valid = signer.token("mia");
    let signature = valid.rsplit('.').next().expect("a signature");
    for alg in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!("none "),
        json!("no\u{0}ne"),
        json!(""),
        json!(null),
        json!(0),
        json!(["none", "ES256"]),
        json!({"ES256": null}),
        json!("es256"),
        json!("hs256"),
    ] {
        for kid in [json!("a"), json!("b")] {
            let header = json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string();
            let message = unsigned(&header, &claims("mia"));
            for end in ["", ".", "..", &format!(".{signature}"), ".AA", ".none"] {
                refuse(&header, &format!("{message}{end}"), &keys);
            }
        }
    }
    let message = unsigned("{\"kid\":\"a\"}", &claims("mia"));
    refuse("no alg at all", &format!("{message}.{signature}"), &keys);
    let message = unsigned(&signer.header().to_string(), &claims("mia"));
    for end in ["", ".", ".AA", &format!(".{}", "A".repeat(86))] {
        refuse("no signature", &format!("{message}{end}"), &keys);
    }
}

#[test]
fn a_public_key_is_no_secret_in_whatever_form_it_is_taken() {
    let signers = signers();
    let set: Vec<&Signer> = signers.iter().collect();
    let document = key_set(&set);
    let every = [&ALL[..], &[Algorithm::HS256]].concat();
    // Even if somebody were to accept HS256 of the set: a key of it is never a secret.
    let candidates = [keys(&document, &ALL), keys(&document, &every)];
    for signer in &signers {
        let jwk = signer.jwk();
        let mut forms: Vec<Vec<u8>> = vec![
            document.clone().into_bytes(),
            jwk.to_string().into_bytes(),
            signer.key.as_bytes().to_vec(),
            Vec::new(),
        ];
        for member in ["n", "e", "x", "y"] {
            let Some(text) = jwk[member].as_str() else {
                continue;
            };
            let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64");
            let pem = STANDARD.encode(&bytes);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
            forms.extend([text.as_bytes().to_vec(), bytes, pem.into_bytes()]);
        }
        if let (Some(x), Some(y)) = (jwk["x"].as_str(), jwk["y"].as_str()) {
            let point = [x, y].map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64"));
            forms.push([&[4], &point.concat()[..]].concat());
        }
        for form in forms {
            let key = EncodingKey::from_secret(&form);
            for kid in [signer.kid.as_deref(), None] {
                let header = match kid {
                    Some(kid) => json!({"alg": "HS256", "kid": kid}),
                    None => json!({"alg": "HS256"}),
                };
                let token = signed(&header.to_string(), &claims("mia"), &key, Algorithm::HS256);
                for keys in &candidates {
                    refuse(&format!("{:?} as a secret", signer.algorithm), &token, keys);
                }
            }
        }
    }
    let shared = json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "a"}]});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = "{\"alg\":\"HS256\",\"kid\":\"a\"}";
    let token = signed(header, &claims("mia"), &key, Algorithm::HS256);
    refuse(
        "a secret in a set",
        &token,
        &keys(&shared.to_string(), &every),
    );
}

#[test]
fn a_hostile_key_id_finds_nothing() {
    let signer = Signer::new(Algorithm::EdDSA, "a");
    let stranger = Signer::new(Algorithm::EdDSA, "b");
    let keys = keys(&key_set(&[&signer]), &ALL);
    let long = "a".repeat(4_000);
    for kid in [
        "b",
        "A",
        "a ",
        " a",
        "a\u{0}",
        "",
        "../../dev/null",
        "/dev/null",
        "http://127.0.0.1:1/keys.json",
        "' or 1=1; drop table entities; --",
        "${jndi:ldap://127.0.0.1/a}",
        "*",
        "\u{202e}a",
        "\u{1f511}",
        &long,
    ] {
        let token = stranger.sign_under(&json!({"alg": "EdDSA", "kid": kid}), &claims("mia"));
        assert_eq!(check(&token, &keys), Err(Refusal::KeyUnknown), "{kid}");
        let known = signer.sign_under(&json!({"alg": "EdDSA", "kid": kid}), &claims("mia"));
        assert_eq!(check(&known, &keys), Err(Refusal::KeyUnknown), "{kid}");
    }
    for kid in [json!(0), json!(true), json!(["a"]), json!({"a": "a"})] {
        let token = signer.sign_under(&json!({"alg": "EdDSA", "kid": kid}), &claims("mia"));
        refuse("an odd-typed key id", &token, &keys);
    }
    let twice = "{\"alg\":\"EdDSA\",\"kid\":\"a\",\"kid\":\"a\"}";
    let token = signed(twice, &claims("mia"), &signer.key, Algorithm::EdDSA);
    refuse("two key ids", &token, &keys);
    let borrowed = stranger.sign_under(&signer.header(), &claims("mia"));
    assert!(matches!(
        check(&borrowed, &keys),
        Err(Refusal::TokenInvalid(_))
    ));
}

#[test]
fn a_key_that_a_token_brings_along_is_not_looked_at() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let stranger = Signer::new(Algorithm::ES256, "a");
    let keys = keys(&key_set(&[&signer]), &ALL);
    let certificate = STANDARD.encode(b"certificate");
    for (member, value) in [
        ("jwk", stranger.jwk()),
        ("jku", json!("http://127.0.0.1:1/keys.json")),
        ("x5u", json!("http://127.0.0.1:1/chain.pem")),
        ("x5c", json!([certificate])),
    ] {
        let mut header = stranger.header();
        header[member] = value;
        refuse(member, &stranger.sign_under(&header, &claims("mia")), &keys);
        let token = signer.sign_under(&header, &claims("mia"));
        check(&token, &keys).expect("what it brings does not matter");
    }
    for crit in [json!(["b64"]), json!(["exp"]), json!([])] {
        let mut header = signer.header();
        header["crit"] = crit;
        refuse("crit", &signer.sign_under(&header, &claims("mia")), &keys);
    }
}

#[test]
fn what_a_key_is_meant_for_is_honoured() {
    let rsa = Signer::new(Algorithm::RS256, "a");
    let pss = Signer {
        algorithm: Algorithm::PS256,
        ..rsa.clone()
    };
    let with = |name: &str, value: Value| {
        let mut jwk = rsa.jwk();
        jwk[name] = value;
        keys(&json!({ "keys": [jwk] }).to_string(), &ALL)
    };
    check(&rsa.token("mia"), &with("alg", json!("RS256"))).expect("meant for it");
    refuse(
        "PS256 with a key of RS256",
        &pss.token("mia"),
        &with("alg", json!("RS256")),
    );
    refuse(
        "RS256 with a key of PS256",
        &rsa.token("mia"),
        &with("alg", json!("PS256")),
    );
    refuse(
        "a key for encryption",
        &rsa.token("mia"),
        &with("use", json!("enc")),
    );
    refuse(
        "a key to wrap keys",
        &rsa.token("mia"),
        &with("key_ops", json!(["wrapKey"])),
    );
    check(&pss.token("mia"), &with("use", json!("sig"))).expect("either, if it does not say");
}

#[test]
fn a_token_without_a_key_id_is_tried_against_few_keys() {
    let signers: Vec<Signer> = repeat_n(Algorithm::EdDSA, 5)
        .enumerate()
        .map(|(at, algorithm)| Signer::new(algorithm, &at.to_string()))
        .collect();
    let set: Vec<&Signer> = signers.iter().collect();
    let few = keys(&key_set(&set[..4]), &ALL);
    check(&signers[3].nameless().token("mia"), &few).expect("one of four");
    let stranger = Signer::new(Algorithm::EdDSA, "x").nameless();
    assert_eq!(
        check(&stranger.token("mia"), &few),
        Err(Refusal::KeyUnknown)
    );
    let many = keys(&key_set(&set), &ALL);
    refuse("one of five", &signers[4].nameless().token("mia"), &many);
    check(&signers[4].token("mia"), &many).expect("it names its key");
}

#[test]
fn what_is_not_a_token_to_the_letter_is_none() {
    let signer = Signer::new(Algorithm::EdDSA, "a");
    let keys = keys(&key_set(&[&signer]), &ALL);
    let token = signer.token("mia");
    check(&token, &keys).expect("valid");
    let [header, payload, signature]: [&str; 3] = token
        .split('.')
        .collect::<Vec<_>>()
        .try_into()
        .expect("three parts");
    let other = signer.token("ben");
    let others_payload = other.split('.').nth(1).expect("claims");
    let standard = STANDARD.encode(URL_SAFE_NO_PAD.decode(signature).expect("base64"));
    let swapped = signature.chars().rev().collect::<String>();
    for (what, token) in [
        (
            "others' claims",
            format!("{header}.{others_payload}.{signature}"),
        ),
        ("padding", format!("{header}.{payload}.{signature}==")),
        (
            "the other alphabet",
            format!("{header}.{payload}.{standard}"),
        ),
        ("a signature cut short", token[..token.len() - 2].to_owned()),
        (
            "a signature turned round",
            format!("{header}.{payload}.{swapped}"),
        ),
        ("no header", format!(".{payload}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("four parts", format!("{token}.{signature}")),
        (
            "five parts",
            format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        ),
        ("a line break", format!("{token}\n")),
        ("a blank", format!("{header} .{payload}.{signature}")),
        ("its scheme again", format!("Bearer {token}")),
    ] {
        refuse(what, &token, &keys);
    }
    for text in ["[]", "7", "\"mia\"", "null", "{", "{\"sub\":\"mia\""] {
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, Algorithm::EdDSA);
        let token = format!("{message}.{}", signature.expect("signs"));
        refuse(text, &token, &keys);
    }
    let mut long = claims("mia");
    long["note"] = json!("x".repeat(100_000));
    let refused = check(&signer.sign(&long), &keys).expect_err("100 KB");
    assert!(refused.to_string().contains("8 KiB"), "{refused}");
}
