//! Whose data: users, their scopes and their devices.

use std::fmt;

use sha2::{Digest, Sha256};

/// Longest user id in bytes. Ids come from any identity provider, so any text will do.
pub const USER_ID_BYTES_MAX: usize = 256;

/// Longest device id, label or group id in bytes.
pub const LABEL_BYTES_MAX: usize = 128;

/// A user, as the verified token names them: 1-256 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(String);

impl UserId {
    /// A user id; `None` if it is empty, too long or holds a NUL, which Postgres cannot store.
    pub fn new(text: &str) -> Option<Self> {
        fits(text, USER_ID_BYTES_MAX).then(|| Self(text.to_owned()))
    }

    /// The id as the token has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One installation of an app: 1-128 bytes without NUL. Only ever meaningful within a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceId(String);

impl DeviceId {
    /// A device id; `None` if it is empty, too long or holds a NUL.
    pub fn new(text: &str) -> Option<Self> {
        fits(text, LABEL_BYTES_MAX).then(|| Self(text.to_owned()))
    }

    /// The id as the device sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The device in logs.
    pub fn log_name(&self) -> LogName {
        LogName::of(&self.0)
    }
}

/// One order of revisions. A user's scope is `user/` and their id, so no user id can name
/// another scope (promise 10).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(String);

impl Scope {
    /// The scope of one user.
    pub fn of(user: &UserId) -> Self {
        Self(format!("user/{}", user.as_str()))
    }

    /// The scope of what everybody may read and only the operator may write.
    pub fn library() -> Self {
        Self("library".to_owned())
    }

    /// A scope the store has kept; `None` if the text is none.
    pub fn from_store(text: &str) -> Option<Self> {
        let user = text.strip_prefix("user/").and_then(UserId::new);
        let library = Self::library();
        match user {
            Some(user) => Some(Self::of(&user)),
            None => (text == library.as_str()).then_some(library),
        }
    }

    /// The scope as the store keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scope in logs.
    pub fn log_name(&self) -> LogName {
        LogName::of(&self.0)
    }
}

/// What logs call a scope, a device or an entity: the first 16 hexadecimal digits of the SHA-256 of its text. The
/// ids themselves are personal data (many are mail addresses), and logs go further than databases do.
///
/// Not a secret: who knows an id finds its lines (docs/operations.md), who only has the lines does not
/// read ids off them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogName([u8; 8]);

impl LogName {
    pub(super) fn of(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(first)
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

fn fits(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_id_names_another_scope() {
        for text in ["library", "../library", "user/a", "a/user/b"] {
            let scope = Scope::of(&UserId::new(text).expect("a fine id"));
            assert_eq!(scope.as_str(), format!("user/{text}"));
        }
    }

    /// As `printf %s user/mia | sha256sum` has it.
    #[test]
    fn names_in_logs_can_be_made_from_ids_and_not_read_back() {
        let user = UserId::new("mia").expect("a fine id");
        let name = Scope::of(&user).log_name().to_string();
        assert_eq!(name, "e7a520546aefb8dc");
        let phone = DeviceId::new("phone").expect("a fine id");
        assert_eq!(phone.log_name().to_string(), "45569da57f4b7bf4");
    }

    #[test]
    fn ids_are_bounded_in_bytes_and_hold_no_nul() {
        assert_eq!(UserId::new(""), None);
        assert_eq!(UserId::new("a\0b"), None);
        assert!(UserId::new(&"x".repeat(256)).is_some());
        assert_eq!(UserId::new(&"ü".repeat(129)), None);
        assert!(DeviceId::new(&"x".repeat(128)).is_some());
        assert_eq!(DeviceId::new(&"x".repeat(129)), None);
    }
}
