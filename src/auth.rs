//! Who calls: `verify(token, keys, rules, now) -> Caller`.
//!
//! `keys`: what tokens may be signed with. `jwks`: how key sets are read. `claims`: what a token must
//! say. All of it is pure; where key sets come from and how they stay fresh is [`crate::keyring`].

mod claims;
mod jwks;
mod keys;

pub use claims::{Rules, SubscriptionClaims};
pub use jsonwebtoken::Algorithm;
pub use jwks::{KeySet, NoKeySet};
pub use keys::{Keys, SECRET_BYTES_MIN, Secret, WeakSecret};

use crate::domain::clock::Millis;
use crate::domain::scope::UserId;
use crate::domain::standing::Subscription;
use crate::error::Refusal;

/// Longest token in bytes that is looked at. Real ones are around 1 KB.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose data this call may touch (promise 10).
    pub user: UserId,
    /// When the token expires; a stream ends then.
    pub expires: Millis,
    /// What the token says of a subscription.
    pub subscription: Subscription,
}

/// Checks a token and says who calls. Fails closed: whatever is not understood is refused.
/// [`Refusal::KeyUnknown`] means that fresher keys may change the answer.
pub fn verify(token: &str, keys: &Keys, rules: &Rules, now: Millis) -> Result<Caller, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::TokenInvalid("it is longer than 8 KiB"));
    }
    let claims = keys.signed_claims(token)?;
    rules.caller(&claims, now)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);
    const NOW_S: i64 = NOW.0 / 1000;
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn keys_of(secret: &str) -> Keys {
        let secret = Secret::new(secret).expect("long enough");
        Keys::new(Some(&secret), KeySet::default())
    }

    fn signed(algorithm: Algorithm, claims: &Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signs")
    }

    fn verified(rules: &Rules, claims: &Value) -> Result<Caller, Refusal> {
        let token = signed(Algorithm::HS256, claims);
        verify(&token, &keys_of(SECRET), rules, NOW)
    }

    fn refused(rules: &Rules, claims: Value, word: &str) {
        match verified(rules, &claims) {
            Err(Refusal::TokenInvalid(why)) => assert!(why.contains(word), "{claims}: {why}"),
            other => panic!("{claims}: {other:?}"),
        }
    }

    /// Valid claims, but for one.
    fn but(name: &str, value: Value) -> Value {
        let mut claims = json!({"sub": "mia", "exp": NOW_S + 60});
        claims[name] = value;
        claims
    }

    #[test]
    fn a_signed_token_names_its_user_whatever_the_id_looks_like() {
        let id = "firebase|Zk3 \u{e9}/../library";
        let user = UserId::new(id).expect("valid");
        let expires = Millis(NOW.0 + 60_000);
        let rules = Rules {
            issuer: Some("https://id.example".to_owned()),
            audiences: vec!["web".to_owned(), "ios".to_owned()],
            user_claim: "https://id.example/user".to_owned(),
            ..Rules::default()
        };
        for rules in [Rules::default(), rules] {
            let secret = Secret::new(SECRET).expect("long enough");
            let token = secret.sign(&rules, &user, expires).expect("signs");
            let caller = verify(&token, &keys_of(SECRET), &rules, NOW);
            let user = user.clone();
            let subscription = Subscription::Free;
            assert_eq!(
                caller,
                Ok(Caller {
                    user,
                    expires,
                    subscription
                })
            );
        }
    }

    #[test]
    fn claims_that_are_missing_or_of_an_odd_type_are_refused() {
        let rules = Rules::default();
        refused(&rules, json!({"exp": NOW_S + 60}), "user id");
        refused(&rules, json!({"sub": "mia"}), "exp");
        refused(&rules, json!(["mia", NOW_S + 60]), "JSON object");
        refused(&rules, json!("mia"), "JSON object");
        for user in [json!(""), json!(7), json!(null), json!(true)] {
            refused(&rules, but("sub", user), "user id");
        }
        for user in [json!(["mia"]), json!({"id": "mia"})] {
            refused(&rules, but("sub", user), "sub");
        }
        refused(&rules, but("sub", json!("m\u{0}a")), "user id");
        refused(&rules, but("sub", json!("m".repeat(257))), "user id");
        for time in [
            json!("tomorrow"),
            json!((NOW_S + 60).to_string()),
            json!(null),
            json!(true),
            json!([NOW_S + 60]),
        ] {
            refused(&rules, but("exp", time.clone()), "exp");
            refused(&rules, but("nbf", time), "nbf");
        }
    }

    #[test]
    fn a_token_counts_from_nbf_to_exp_with_half_a_minute_of_leeway() {
        let rules = Rules::default();
        for exp in [json!(NOW_S - 31), json!(0), json!(-1), json!(-1e300)] {
            let outdated = verified(&rules, &but("exp", exp.clone())).expect_err("too late");
            assert!(
                matches!(outdated, Refusal::TokenOutdated { .. }),
                "{exp}: {outdated}"
            );
        }
        refused(&rules, but("nbf", json!(NOW_S + 31)), "not valid yet");
        refused(&rules, but("nbf", json!(1e300)), "not valid yet");
        let outdated = verified(&rules, &but("exp", json!(NOW_S - 31)));
        assert_eq!(outdated, Err(Refusal::TokenOutdated { ago_s: 31 }));
        for (name, time) in [
            ("exp", json!(NOW_S - 29)),
            ("exp", json!(NOW_S as f64 + 0.5)),
            ("exp", json!(1e300)),
            ("nbf", json!(NOW_S + 29)),
            ("nbf", json!(0)),
        ] {
            let taken = verified(&rules, &but(name, time.clone()));
            assert!(taken.is_ok(), "{name} {time}: {taken:?}");
        }
        let caller = verified(&rules, &but("exp", json!(NOW_S + 7))).expect("valid");
        assert_eq!(caller.expires, Millis(NOW.0 + 7_000));
    }

    #[test]
    fn a_configured_issuer_is_required_to_the_letter() {
        let rules = Rules {
            issuer: Some("https://id.example".to_owned()),
            ..Rules::default()
        };
        for iss in [
            json!("https://id.example/"),
            json!("https://ID.example"),
            json!(""),
            json!(null),
            json!(["https://id.example"]),
            json!({"https://id.example": true}),
        ] {
            refused(&rules, but("iss", iss), "iss");
        }
        refused(&rules, json!({"sub": "mia", "exp": NOW_S + 60}), "iss");
        verified(&rules, &but("iss", json!("https://id.example"))).expect("the issuer");
        verified(&Rules::default(), &but("iss", json!(7))).expect("nobody asked");
    }

    #[test]
    fn one_of_the_configured_audiences_is_required() {
        let rules = Rules {
            audiences: vec!["web".to_owned(), "ios".to_owned()],
            ..Rules::default()
        };
        for aud in [
            json!("android"),
            json!("we"),
            json!("web "),
            json!("web,ios"),
            json!(null),
            json!(7),
            json!([]),
            json!(["android"]),
            json!([7, "web"]),
            json!([["web"]]),
            json!({"web": "web"}),
        ] {
            refused(&rules, but("aud", aud), "aud");
        }
        refused(&rules, json!({"sub": "mia", "exp": NOW_S + 60}), "aud");
        for aud in [json!("web"), json!("ios"), json!(["android", "ios"])] {
            verified(&rules, &but("aud", aud)).expect("an audience");
        }
        verified(&Rules::default(), &but("aud", json!("web"))).expect("nobody asked");
    }

    #[test]
    fn the_user_comes_from_the_configured_claim_alone() {
        let rules = Rules {
            user_claim: "user.id".to_owned(),
            ..Rules::default()
        };
        let caller = verified(&rules, &but("user.id", json!("ben"))).expect("valid");
        assert_eq!(caller.user.as_str(), "ben");
        refused(&rules, but("user", json!({"id": "ben"})), "user id");
        refused(&rules, json!({"sub": "mia", "exp": NOW_S + 60}), "user id");
    }

    #[test]
    fn a_subscription_is_what_the_configured_claims_say_and_nothing_else() {
        let rules = Rules {
            subscription: SubscriptionClaims {
                claim: "plan.name".to_owned(),
                values: vec!["gold".to_owned(), "true".to_owned()],
                expires_claim: "paid_until".to_owned(),
            },
            ..Rules::default()
        };
        let of = |claim: &Value, expires: Option<&Value>| {
            let mut claims = but("plan.name", claim.clone());
            if let Some(expires) = expires {
                claims["paid_until"] = expires.clone();
            }
            verified(&rules, &claims).expect("valid").subscription
        };
        let premium = |until| Subscription::Premium { until };
        for paid in [json!("gold"), json!(true), json!(["trial", "gold"])] {
            assert_eq!(of(&paid, None), premium(None), "{paid}");
            assert_eq!(of(&paid, Some(&Value::Null)), premium(None), "{paid}");
            for (expires, at) in [
                (json!(NOW_S), NOW.0),
                (json!(0.5), 500),
                (json!(-7), -7_000),
            ] {
                assert_eq!(
                    of(&paid, Some(&expires)),
                    premium(Some(Millis(at))),
                    "{paid}"
                );
            }
            for malformed in [json!("2027-01-01"), json!(true), json!([1])] {
                assert_eq!(
                    of(&paid, Some(&malformed)),
                    Subscription::Free,
                    "{malformed}"
                );
            }
        }
        for unpaid in [
            json!("Gold"),
            json!("gold "),
            json!("premium"),
            json!(""),
            json!(false),
            json!(1),
            json!(null),
            json!([]),
            json!([["gold"]]),
            json!({"gold": true}),
        ] {
            assert_eq!(of(&unpaid, None), Subscription::Free, "{unpaid}");
        }
        let nested = but("plan", json!({"name": "gold"}));
        let caller = verified(&rules, &nested).expect("valid");
        assert_eq!(caller.subscription, Subscription::Free, "dots mean nothing");
        let usual = but("subscription", json!("premium"));
        let caller = verified(&Rules::default(), &usual).expect("valid");
        assert_eq!(caller.subscription, premium(None));
    }

    #[test]
    fn only_the_pinned_algorithm_and_the_right_secret_count() {
        let claims = json!({"sub": "mia", "exp": NOW_S + 60});
        let rules = Rules::default();
        let token = signed(Algorithm::HS256, &claims);
        let check = |token: &str, keys: &Keys| verify(token, keys, &rules, NOW);
        assert!(check(&token, &keys_of(SECRET)).is_ok());
        let other = keys_of(&SECRET.replace('0', "1"));
        assert!(check(&token, &other).is_err(), "another secret");
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, &claims);
            assert!(check(&token, &keys_of(SECRET)).is_err(), "{algorithm:?}");
        }
        let nothing = Keys::new(None, KeySet::default());
        assert!(check(&token, &nothing).is_err(), "no keys, no callers");
        for garbage in ["", ".", "..", "a.b.c", "a.b.c.d.e", &"x".repeat(100_000)] {
            let refused = check(garbage, &keys_of(SECRET)).expect_err("garbage");
            assert!(matches!(refused, Refusal::TokenInvalid(_)), "{refused}");
        }
        assert!(Secret::new("short").is_err());
    }
}
