//! What a token must say, beside being signed.

use serde_json::{Map, Value};

use super::Caller;
use crate::domain::clock::Millis;
use crate::domain::scope::UserId;
use crate::domain::standing::Subscription;
use crate::error::Refusal;

/// How far the clock of whoever issued the token may be off.
const LEEWAY_MS: i64 = 30_000;

/// What a token must say. Times are always checked: `exp` is required, `nbf` honoured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What `iss` must be; `None`: anything.
    pub issuer: Option<String>,
    /// What `aud` must be or contain, one of these; empty: anything.
    pub audiences: Vec<String>,
    /// The claim that holds the user id. Its whole name: dots have no meaning.
    pub user_claim: String,
    /// Where a token names a subscription.
    pub subscription: SubscriptionClaims,
}

/// Where a token names a subscription. Whole names of claims: dots have no meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionClaims {
    /// The claim that names it: a text, true or false, or a list of them.
    pub claim: String,
    /// What of it is a subscription.
    pub values: Vec<String>,
    /// The claim that says when it ends, in seconds since the Unix epoch.
    pub expires_claim: String,
}

impl Default for SubscriptionClaims {
    fn default() -> Self {
        Self {
            claim: "subscription".to_owned(),
            values: vec!["premium".to_owned()],
            expires_claim: "subscription_expires".to_owned(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            user_claim: "sub".to_owned(),
            subscription: SubscriptionClaims::default(),
        }
    }
}

impl Rules {
    /// Who calls, by the claims of a token whose signature is right. What is configured and missing is
    /// as wrong as another value.
    pub(super) fn caller(
        &self,
        claims: &Map<String, Value>,
        now: Millis,
    ) -> Result<Caller, Refusal> {
        let expires = seconds(claims.get("exp")).ok_or(Refusal::TokenInvalid(
            "it needs the claim exp, a number of seconds",
        ))?;
        let now_s = now.0 as f64 / 1000.0;
        let leeway_s = LEEWAY_MS as f64 / 1000.0;
        if expires <= now_s - leeway_s {
            // Its signature is right: whoever has it may know.
            let ago_s = (now_s - expires) as u64;
            return Err(Refusal::TokenOutdated { ago_s });
        }
        if let Some(not_before) = claims.get("nbf") {
            let not_before = seconds(Some(not_before)).ok_or(Refusal::TokenInvalid(
                "its claim nbf must be a number of seconds",
            ))?;
            if not_before > now_s + leeway_s {
                return Err(Refusal::TokenInvalid("it is not valid yet"));
            }
        }
        if !self.is_issued_right(claims.get("iss")) {
            return Err(Refusal::TokenInvalid(
                "its claim iss is not the issuer this service accepts",
            ));
        }
        if !self.is_meant_for_us(claims.get("aud")) {
            return Err(Refusal::TokenInvalid(
                "its claim aud names no audience this service accepts",
            ));
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str);
        let user = user.and_then(UserId::new).ok_or(Refusal::TokenInvalid(
            "the claim of the user id must be text of 1-256 bytes",
        ))?;
        Ok(Caller {
            user,
            expires: Millis((expires * 1000.0) as i64),
            subscription: self.subscription.said(claims),
        })
    }

    fn is_issued_right(&self, iss: Option<&Value>) -> bool {
        let Some(issuer) = &self.issuer else {
            return true;
        };
        iss.and_then(Value::as_str) == Some(issuer)
    }

    /// `aud` is a text or a list of texts (RFC 7519, section 4.1.3); a list with anything else in it
    /// is none.
    fn is_meant_for_us(&self, aud: Option<&Value>) -> bool {
        let accepted = |one: &str| self.audiences.iter().any(|audience| audience == one);
        if self.audiences.is_empty() {
            return true;
        }
        match aud {
            Some(Value::String(one)) => accepted(one),
            Some(Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.is_some_and(|texts| texts.into_iter().any(accepted))
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

impl SubscriptionClaims {
    /// What a token says of a subscription. With an end that cannot be read there is none.
    fn said(&self, claims: &Map<String, Value>) -> Subscription {
        let is_one = |one: &Value| match one {
            Value::String(text) => self.values.contains(text),
            Value::Bool(yes) => self.values.contains(&yes.to_string()),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        let is_paid = match claims.get(&self.claim) {
            Some(Value::Array(list)) => list.iter().any(is_one),
            Some(one) => is_one(one),
            None => false,
        };
        let until = match claims.get(&self.expires_claim) {
            None | Some(Value::Null) => Some(None),
            end => seconds(end).map(|end| Some(Millis((end * 1000.0) as i64))),
        };
        match until.filter(|_| is_paid) {
            Some(until) => Subscription::Premium { until },
            None => Subscription::Free,
        }
    }
}

/// Seconds since the Unix epoch; JWT allows fractions.
fn seconds(claim: Option<&Value>) -> Option<f64> {
    claim.and_then(Value::as_f64)
}
