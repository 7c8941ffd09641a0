//! Confirming that an account is to be deleted: text that only its user is given, for a short while.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::clock::Millis;
use super::cursor::CursorKey;
use super::parts::{is_tag, tag};
use super::scope::Scope;

/// How long a confirmation is good for: to read a question and answer it.
pub const CONFIRMATION_VALID_MS: i64 = 10 * 60 * 1000;

/// What the signature is for. No cursor begins like this, so none is a confirmation.
const PURPOSE: &[u8] = b"delete account";

/// A user's word that their account is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Until when it is good.
    pub expires: Millis,
}

impl Confirmation {
    /// One that is given out now.
    pub fn at(now: Millis) -> Self {
        Self {
            expires: Millis(now.0.saturating_add(CONFIRMATION_VALID_MS)),
        }
    }

    /// The confirmation as text, for the account of one scope.
    pub fn encode(self, scope: &Scope, key: &CursorKey) -> String {
        let mut bytes = self.expires.0.to_be_bytes().to_vec();
        let tag = tag(signed(&bytes, scope), key);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether a text confirms now that the account of a scope is to be deleted.
    pub fn is_given(text: &str, scope: &Scope, key: &CursorKey, now: Millis) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else {
            return false;
        };
        let Some((expires, tag)) = bytes.split_first_chunk::<8>() else {
            return false;
        };
        is_tag(tag, signed(expires, scope), key) && now.0 < i64::from_be_bytes(*expires)
    }
}

/// What is signed: what for, a confirmation, and whose it is.
fn signed<'a>(confirmation: &'a [u8], scope: &'a Scope) -> [&'a [u8]; 3] {
    [PURPOSE, confirmation, scope.as_str().as_bytes()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scope::UserId;
    use super::*;

    const KEY: CursorKey = CursorKey([1; 64]);
    const NOW: Millis = Millis(1_700_000_000_000);

    fn scope(user: &str) -> Scope {
        Scope::of(&UserId::new(user).expect("a user"))
    }

    fn later(ms: i64) -> Millis {
        Millis(NOW.0 + ms)
    }

    #[test]
    fn a_confirmation_is_good_for_its_user_and_ten_minutes() {
        let mia = scope("mia");
        let text = Confirmation::at(NOW).encode(&mia, &KEY);
        let given =
            |scope: &Scope, key: &CursorKey, now| Confirmation::is_given(&text, scope, key, now);
        assert!(given(&mia, &KEY, NOW));
        assert!(given(&mia, &KEY, later(CONFIRMATION_VALID_MS - 1)));
        assert!(!given(&mia, &KEY, later(CONFIRMATION_VALID_MS)), "too late");
        assert!(!given(&scope("leo"), &KEY, NOW), "another user");
        assert!(!given(&mia, &CursorKey([2; 64]), NOW), "another key");
    }

    #[test]
    fn a_part_of_a_signature_is_none() {
        let mia = scope("mia");
        let text = Confirmation::at(NOW).encode(&mia, &KEY);
        let bytes = URL_SAFE_NO_PAD.decode(&text).expect("ours");
        for length in 0..bytes.len() {
            let shorter = URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert!(
                !Confirmation::is_given(&shorter, &mia, &KEY, NOW),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn changed_text_confirms_nothing(at in 0usize..32, to in "[A-Za-z0-9_-]") {
            let mia = scope("mia");
            let text = Confirmation::at(NOW).encode(&mia, &KEY);
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != text);
            prop_assert!(!Confirmation::is_given(&changed, &mia, &KEY, NOW));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            prop_assert!(!Confirmation::is_given(&text, &scope("mia"), &KEY, NOW));
        }
    }
}
