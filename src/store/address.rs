//! Where Postgres is, and how connections to it are protected: `sslmode` and `sslrootcert` as libpq
//! means them, which the client library knows in part only.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use rustls::pki_types::pem;
use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::{Check, Roots, Tls};

/// A Postgres server, a database on it, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

/// What an address must be.
#[derive(Debug, Error)]
pub enum AddressError {
    /// It is none. Without its cause: where a password has a `?` or `/` in it, that quotes what stands behind.
    #[error(
        "DATABASE_URL: expected something like postgres://user:password@host/database; of a password, \
         write / ? # @ : and % in hexadecimal (@ is %40)"
    )]
    Malformed,
    /// No such mode.
    #[error(
        "DATABASE_URL: sslmode: expected disable, allow, prefer, require, verify-ca or verify-full, \
         got {0}"
    )]
    Mode(String),
    /// The system vouches for names, not for whoever has one.
    #[error(
        "DATABASE_URL: sslrootcert=system: expected sslmode=verify-full with it, got sslmode={0}: anybody \
         can have a certificate of a public authority, only the name tells"
    )]
    WeakMode(String),
    /// The file with the authorities cannot be read.
    #[error("DATABASE_URL: sslrootcert: expected a PEM file to read at {}", path.display())]
    RootsUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// It holds something else.
    #[error(
        "DATABASE_URL: sslrootcert: expected the certificates of authorities (PEM, \
         -----BEGIN CERTIFICATE-----) in {}, found none that can be used", path.display()
    )]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// There are no authorities to check by.
    #[error(
        "DATABASE_URL: sslmode={mode}: expected root certificates on this machine (package \
         ca-certificates, or SSL_CERT_FILE), or sslrootcert=FILE"
    )]
    NoSystemRoots {
        /// What was asked for.
        mode: &'static str,
        /// Why there are none.
        source: Option<io::Error>,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Library(#[from] rustls::Error),
}

/// libpq's `sslmode`, in rising order of what it protects from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "disable" => Some(Self::Disable),
            "allow" => Some(Self::Allow),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    /// What the client library has to know of it: whether to speak without TLS if need be. `allow` would
    /// rather not encrypt and `prefer` rather would; who takes either is better off with it.
    fn negotiation(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Allow | Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }

    /// What is checked of the server. As in libpq, `require` with a file of authorities is `verify-ca`.
    fn check(self, root_cert: Option<&str>) -> Check {
        match self {
            Self::Disable | Self::Allow | Self::Prefer => Check::Nothing,
            Self::Require if root_cert.is_none() => Check::Nothing,
            Self::Require | Self::VerifyCa => Check::Chain,
            Self::VerifyFull => Check::ChainAndName,
        }
    }
}

impl Address {
    /// The address that `DATABASE_URL` names: `postgres://..`, or `host=.. dbname=..`.
    ///
    /// # Errors
    ///
    /// What cannot be read as one, and a file of authorities that cannot be used. Nothing is connected to.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let taken = Taken::from(text);
        let config = taken.rest.parse();
        let mut config: Config = config.map_err(|_| AddressError::Malformed)?;
        let is_system = taken.root_cert.as_deref() == Some("system");
        let mode = match &taken.mode {
            Some(text) => Mode::parse(text).ok_or_else(|| AddressError::Mode(text.clone()))?,
            None if is_system => Mode::VerifyFull,
            None => Mode::Prefer,
        };
        if is_system && mode != Mode::VerifyFull {
            return Err(AddressError::WeakMode(taken.mode.unwrap_or_default()));
        }
        let over_sockets = |host: &Host| matches!(host, Host::Unix(_));
        if mode == Mode::Disable || only(config.get_hosts(), over_sockets) {
            // Postgres has no TLS on unix sockets; libpq does not ask for it there, whatever the mode.
            return Ok(Self::from(config));
        }
        config.ssl_mode(mode.negotiation());
        let check = mode.check(taken.root_cert.as_deref());
        let roots = match (check, taken.root_cert) {
            (Check::Nothing, _) => Roots::none(),
            (Check::Chain | Check::ChainAndName, Some(file)) if !is_system => {
                Roots::of_file(file.into())?
            }
            (Check::Chain | Check::ChainAndName, _) => Roots::of_system(check)?,
        };
        Ok(Self {
            config,
            tls: Tls::new(check, roots)?,
        })
    }
}

impl From<Config> for Address {
    /// An address that is spoken to without TLS: a unix socket, or a server nobody stands in front of.
    fn from(mut config: Config) -> Self {
        config.ssl_mode(SslMode::Disable);
        Self {
            config,
            tls: Tls::off(),
        }
    }
}

fn only<T>(all: &[T], are: impl Fn(&T) -> bool) -> bool {
    !all.is_empty() && all.iter().all(are)
}

/// The parameters of an address that are ours, and the address without them. Of several the last counts, as
/// in libpq.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    mode: Option<String>,
    root_cert: Option<String>,
    rest: String,
}

impl Taken {
    fn from(text: &str) -> Self {
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        match is_url {
            true => Self::from_url(text),
            false => Self::from_pairs(text),
        }
    }

    /// Takes a parameter if it is ours.
    fn takes(&mut self, key: &str, value: &str) -> bool {
        let place = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.root_cert,
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }

    fn from_url(url: &str) -> Self {
        // A password may have a question mark in it.
        let behind_user = url.find('@').map_or(0, |at| at + 1);
        let Some(mark) = url[behind_user..].find('?') else {
            return Self {
                rest: url.to_owned(),
                ..Self::default()
            };
        };
        let (before, parameters) = url.split_at(behind_user + mark);
        let mut taken = Self::default();
        let decoded = |text| -> Cow<str> { percent_decode_str(text).decode_utf8_lossy() };
        let kept: Vec<&str> = parameters[1..]
            .split('&')
            .filter(|parameter| {
                let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                !taken.takes(&decoded(key), &decoded(value))
            })
            .collect();
        taken.rest = match kept.is_empty() {
            true => before.to_owned(),
            false => format!("{before}?{}", kept.join("&")),
        };
        taken
    }

    /// `key = value`, where a value may be quoted and a backslash takes the next character as it is.
    fn from_pairs(text: &str) -> Self {
        let mut taken = Self::default();
        let mut left = text;
        while !left.is_empty() {
            let (pair, behind) = left.split_at(pair_end(left));
            left = behind;
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !taken.takes(key.trim(), &unquoted(value.trim())) {
                taken.rest.push_str(pair);
            }
        }
        taken
    }
}

/// Where the first pair of a text ends. What is no pair goes on to the end, for others to complain about.
fn pair_end(text: &str) -> usize {
    let Some(equals) = text.find('=') else {
        return text.len();
    };
    let mut quoted = false;
    let mut escaped = false;
    let mut begun = false;
    for (place, letter) in text
        .char_indices()
        .skip_while(|(place, _)| *place <= equals)
    {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return place + 1,
            '\'' if !begun => quoted = true,
            _ if quoted => (),
            _ if letter.is_whitespace() && begun => return place,
            _ if letter.is_whitespace() => continue,
            _ => (),
        }
        begun = true;
    }
    text.len()
}

fn unquoted(value: &str) -> String {
    let value = value.strip_prefix('\'').unwrap_or(value);
    let value = value.strip_suffix('\'').unwrap_or(value);
    let mut letters = value.chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        text.extend(match letter {
            '\\' => letters.next(),
            _ => Some(letter),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(mode: Option<&str>, root_cert: Option<&str>, rest: &str) -> Taken {
        Taken {
            mode: mode.map(str::to_owned),
            root_cert: root_cert.map(str::to_owned),
            rest: rest.to_owned(),
        }
    }

    #[test]
    fn our_parameters_are_taken_out_of_an_address_and_the_others_left_as_they_are() {
        for (text, expected) in [
            ("postgres://h/d", taken(None, None, "postgres://h/d")),
            (
                "postgresql://u:p?sslmode=x@h:1/d?sslmode=verify-full",
                taken(
                    Some("verify-full"),
                    None,
                    "postgresql://u:p?sslmode=x@h:1/d",
                ),
            ),
            (
                "postgres://u@h?sslmode=disable&connect_timeout=3&sslrootcert=%2Fa%20b&sslmode=require",
                taken(
                    Some("require"),
                    Some("/a b"),
                    "postgres://u@h?connect_timeout=3",
                ),
            ),
            (
                "postgres://h/d?channel_binding=require&sslmode=",
                taken(Some(""), None, "postgres://h/d?channel_binding=require"),
            ),
            ("host=h user=u", taken(None, None, "host=h user=u")),
            (
                "host=h sslmode=require dbname=d",
                taken(Some("require"), None, "host=h dbname=d"),
            ),
            (
                "sslrootcert = '/a \\'b\\'/c'  password='x sslmode=disable' sslmode='verify-ca'",
                taken(
                    Some("verify-ca"),
                    Some("/a 'b'/c"),
                    "  password='x sslmode=disable'",
                ),
            ),
            (
                "password=a\\ b'c sslrootcert=/d\\ e",
                taken(None, Some("/d e"), "password=a\\ b'c"),
            ),
            ("nonsense", taken(None, None, "nonsense")),
            ("", taken(None, None, "")),
        ] {
            assert_eq!(Taken::from(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mode_comes_to_what_libpq_does_with_it() {
        for (mode, negotiation, check, with_file) in [
            ("disable", SslMode::Disable, Check::Nothing, Check::Nothing),
            ("allow", SslMode::Prefer, Check::Nothing, Check::Nothing),
            ("prefer", SslMode::Prefer, Check::Nothing, Check::Nothing),
            ("require", SslMode::Require, Check::Nothing, Check::Chain),
            ("verify-ca", SslMode::Require, Check::Chain, Check::Chain),
            (
                "verify-full",
                SslMode::Require,
                Check::ChainAndName,
                Check::ChainAndName,
            ),
        ] {
            let parsed = Mode::parse(mode).expect(mode);
            assert_eq!(parsed.negotiation(), negotiation, "{mode}");
            assert_eq!(parsed.check(None), check, "{mode}");
            assert_eq!(parsed.check(Some("file")), with_file, "{mode}");
        }
        let unset = Address::parse("postgres://h/d").expect("an address");
        assert_eq!(unset.config.get_ssl_mode(), SslMode::Prefer);
        let socket = Address::parse("host=/run dbname=d sslmode=require").expect("an address");
        assert_eq!(socket.config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told_by_parameter() {
        for (text, expected) in [
            (
                "nonsense",
                "DATABASE_URL: expected something like postgres://",
            ),
            (
                "postgres://h/d?sslmode=verify",
                "DATABASE_URL: sslmode: expected disable, ",
            ),
            (
                "postgres://h/d?sslrootcert=system&sslmode=require",
                "DATABASE_URL: sslrootcert=system: expected sslmode=verify-full with it, got \
                 sslmode=require",
            ),
            (
                "postgres://h/d?sslmode=require&sslrootcert=/nowhere",
                "DATABASE_URL: sslrootcert: expected a PEM file to read at /nowhere",
            ),
            (
                "postgres://h/d?sslmode=verify-ca&sslrootcert=/dev/null",
                "DATABASE_URL: sslrootcert: expected the certificates of authorities (PEM, \
                 -----BEGIN CERTIFICATE-----) in /dev/null",
            ),
        ] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
