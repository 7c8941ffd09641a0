//! TLS to Postgres: what is checked of the server, and the channel that tokens of its password exchange
//! are bound to.

mod lenient;
mod stream;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, OtherError, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

use lenient::Lenient;
use stream::Encrypted;

use super::address::AddressError;

/// What is checked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: eavesdroppers are kept out, not whoever stands in between.
    Nothing,
    /// That an authority signed its certificate.
    Chain,
    /// And that the certificate is for the name that was connected to.
    ChainAndName,
}

impl Check {
    /// The weakest mode that asks for it.
    fn mode(self) -> &'static str {
        match self {
            Self::Nothing => "require",
            Self::Chain => "verify-ca",
            Self::ChainAndName => "verify-full",
        }
    }
}

/// Who may vouch for a server.
#[derive(Debug)]
pub(super) struct Roots {
    store: RootCertStore,
    /// What to call them.
    name: String,
}

impl Roots {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self {
            store: RootCertStore::empty(),
            name: String::new(),
        }
    }

    /// The authorities in a PEM file.
    pub(super) fn of_file(path: PathBuf) -> Result<Self, AddressError> {
        let certificates = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
        let certificates: Vec<CertificateDer> = match certificates {
            Ok(certificates) => certificates,
            Err(source @ pem::Error::Io(_)) => {
                return Err(AddressError::RootsUnreadable { path, source });
            }
            Err(_) => return Err(AddressError::NoRoots { path }),
        };
        let mut store = RootCertStore::empty();
        if store.add_parsable_certificates(certificates).0 == 0 {
            return Err(AddressError::NoRoots { path });
        }
        let name = format!("sslrootcert={}", path.display());
        Ok(Self { store, name })
    }

    /// The authorities this machine trusts.
    pub(super) fn of_system(check: Check) -> Result<Self, AddressError> {
        let mut found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        if store.add_parsable_certificates(found.certs).0 == 0 {
            return Err(AddressError::NoSystemRoots {
                mode: check.mode(),
                source: found.errors.pop().map(io::Error::other),
            });
        }
        let name = "the root certificates of this machine".to_owned();
        Ok(Self { store, name })
    }
}

/// Why a server was not spoken to.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    /// Its certificate is not acceptable.
    #[error(
        "DATABASE_URL: the certificate of {host} was refused: {reason} (checked as sslmode={mode} says)"
    )]
    Refused {
        host: String,
        reason: String,
        mode: &'static str,
    },
    /// The connection broke, or the two have no TLS in common.
    #[error("no TLS with {host}")]
    Handshake {
        host: String,
        #[source]
        source: io::Error,
    },
    /// A certificate cannot be for it.
    #[error("DATABASE_URL: expected the name of a host for TLS, got {0}")]
    Name(String),
    /// TLS was not asked for.
    #[error("no TLS was set up")]
    Off,
}

/// How connections to Postgres are encrypted. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(Option<Arc<Setup>>);

struct Setup {
    config: Arc<ClientConfig>,
    check: Check,
    roots: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = self.0.as_ref().map(|setup| setup.check);
        f.debug_tuple("Tls").field(&check).finish()
    }
}

impl Tls {
    /// None.
    pub(super) fn off() -> Self {
        Self(None)
    }

    /// TLS that checks so much, by these authorities.
    pub(super) fn new(check: Check, roots: Roots) -> Result<Self, rustls::Error> {
        let provider = Arc::new(default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let lenient = |roots| Lenient { roots, provider };
        let config = match check {
            Check::ChainAndName => config.with_root_certificates(roots.store),
            Check::Chain => config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(lenient(Some(roots.store)))),
            Check::Nothing => config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(lenient(None))),
        };
        let mut config = config.with_no_client_auth();
        // What a server insists on that is spoken to without its own greeting (sslnegotiation=direct).
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self(Some(Arc::new(Setup {
            config: Arc::new(config),
            check,
            roots: roots.name,
        }))))
    }
}

impl Setup {
    /// What went wrong, in plain words.
    fn explain(&self, host: String, error: io::Error) -> TlsError {
        let refused = error.get_ref().and_then(|error| error.downcast_ref());
        let Some(rustls::Error::InvalidCertificate(why)) = refused else {
            return TlsError::Handshake {
                host,
                source: error,
            };
        };
        let reason = match why {
            // The latter: somebody of the same name did.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                format!("none of the authorities in {} signed it", self.roots)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name (subjectAltName)".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired".to_owned()
            }
            CertificateError::Other(other) if is_authority(other) => {
                "it is an authority's own; a server needs one that an authority signed".to_owned()
            }
            other => other.to_string(),
        };
        TlsError::Refused {
            host,
            reason,
            mode: self.check.mode(),
        }
    }
}

fn is_authority(error: &OtherError) -> bool {
    let error = error.0.downcast_ref::<webpki::Error>();
    error == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = TlsError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, TlsError> {
        Ok(Handshake {
            host: host.to_owned(),
            setup: self.0.clone(),
        })
    }
}

/// A handshake with a host.
pub(super) struct Handshake {
    host: String,
    setup: Option<Arc<Setup>>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Encrypted<S>, TlsError>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Self { host, setup } = self;
            let setup = setup.ok_or(TlsError::Off)?;
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| TlsError::Name(host.clone()))?;
            let connected = TlsConnector::from(setup.config.clone()).connect(name, stream);
            match connected.await {
                Ok(stream) => Ok(Encrypted(stream)),
                Err(error) => Err(setup.explain(host, error)),
            }
        })
    }
}
