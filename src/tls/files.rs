//! The files that TLS is set up from, and what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use crate::config::Tls;

/// Largest file in bytes. A bundle of all public authorities has a quarter of it.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What callers may speak behind the handshake: gRPC, and gRPC-Web over HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS cannot be set up. Says nothing of what is in a key.
#[derive(Debug, Error)]
pub enum TlsError {
    /// There is one setting without the other.
    #[error("{missing} is not set: expected {expected}, as {set} is")]
    Missing {
        /// The setting that is there.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
        /// What it would name.
        expected: &'static str,
    },
    /// A file cannot be read.
    #[error("{setting}: expected {expected} to read at {}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{setting}: expected {expected} in {}, found {found}", path.display())]
    Content {
        /// The setting that names it.
        setting: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The key is not the one of the certificate.
    #[error(
        "IRONFLOW_TLS_KEY: expected the key of the certificate in {} (IRONFLOW_TLS_CERT), found another \
         in {}", certificate.display(), key.display()
    )]
    KeyOfAnother {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
    /// SIGHUP cannot be listened to.
    #[error("SIGHUP cannot be listened to")]
    Signal(#[source] io::Error),
}

/// A file, and what it is for.
#[derive(Debug, Clone)]
struct Named {
    setting: &'static str,
    expected: &'static str,
    path: PathBuf,
}

impl Named {
    const CERTIFICATE: (&str, &str) = (
        "IRONFLOW_TLS_CERT",
        "a certificate and its chain (PEM, -----BEGIN CERTIFICATE-----)",
    );
    const KEY: (&str, &str) = (
        "IRONFLOW_TLS_KEY",
        "the private key of the certificate (PEM, -----BEGIN PRIVATE KEY-----)",
    );
    const CLIENT_CA: (&str, &str) = (
        "IRONFLOW_TLS_CLIENT_CA",
        "the certificates of authorities (PEM, -----BEGIN CERTIFICATE-----)",
    );

    fn new((setting, expected): (&'static str, &'static str), path: &Path) -> Self {
        Self {
            setting,
            expected,
            path: path.to_owned(),
        }
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        let mut contents = Vec::new();
        // One byte more, to tell a file that fits from one that does not.
        let read = File::open(&self.path).and_then(|file| {
            file.take(FILE_BYTES_MAX as u64 + 1)
                .read_to_end(&mut contents)
        });
        read.map_err(|source| TlsError::Unreadable {
            setting: self.setting,
            expected: self.expected,
            path: self.path.clone(),
            source,
        })?;
        if contents.len() > FILE_BYTES_MAX {
            return Err(self.holds(format!("more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(contents)
    }

    fn holds(&self, found: impl Into<String>) -> TlsError {
        TlsError::Content {
            setting: self.setting,
            expected: self.expected,
            path: self.path.clone(),
            found: found.into(),
        }
    }

    fn broken(&self, error: &pem::Error) -> TlsError {
        match error {
            pem::Error::NoItemsFound => self.holds("none"),
            // Of the others some quote the file, which may be a key.
            _ => self.holds("PEM that is broken"),
        }
    }

    fn certificates(&self, contents: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(contents).collect();
        let certificates = certificates.map_err(|error| self.broken(&error))?;
        if certificates.is_empty() {
            return Err(self.holds("none"));
        }
        Ok(certificates)
    }

    fn key(&self, contents: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
        const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
        let key = PrivateKeyDer::from_pem_slice(contents);
        key.map_err(|error| {
            let is_encrypted = contents
                .windows(ENCRYPTED.len())
                .any(|text| text == ENCRYPTED);
            match is_encrypted {
                true => self.holds("one that is encrypted with a password"),
                false => self.broken(&error),
            }
        })
    }
}

/// The files of the settings.
#[derive(Debug, Clone)]
pub(super) struct Files {
    certificate: Named,
    key: Named,
    client_ca: Option<Named>,
}

/// What was in them.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What they come to.
pub(super) struct Loaded {
    /// How to shake hands.
    pub(super) config: ServerConfig,
    /// A name the certificate is for.
    pub(super) name: Option<String>,
}

impl Files {
    /// The files that the settings name; `None` if they ask for no TLS.
    pub(super) fn of(settings: &Tls) -> Result<Option<Self>, TlsError> {
        let missing = |set: (&'static str, &str), (missing, expected)| TlsError::Missing {
            set: set.0,
            missing,
            expected,
        };
        let client_ca = settings.tls_client_ca.as_deref();
        match (&settings.tls_cert, &settings.tls_key, client_ca) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), client_ca) => Ok(Some(Self {
                certificate: Named::new(Named::CERTIFICATE, certificate),
                key: Named::new(Named::KEY, key),
                client_ca: client_ca.map(|path| Named::new(Named::CLIENT_CA, path)),
            })),
            (Some(_), None, _) => Err(missing(Named::CERTIFICATE, Named::KEY)),
            (None, Some(_), _) => Err(missing(Named::KEY, Named::CERTIFICATE)),
            (None, None, Some(_)) => Err(missing(Named::CLIENT_CA, Named::CERTIFICATE)),
        }
    }

    /// Where the certificate is.
    pub(super) fn certificate(&self) -> &Path {
        &self.certificate.path
    }

    /// Whether callers need certificates of their own.
    pub(super) fn asks_callers(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads them all.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: self.certificate.read()?,
            key: self.key.read()?,
            client_ca: self.client_ca.as_ref().map(Named::read).transpose()?,
        })
    }

    /// The certificate that callers are shown.
    pub(super) fn own_certificate(&self) -> Result<CertificateDer<'static>, TlsError> {
        let chain = self.certificate.certificates(&self.certificate.read()?)?;
        let first = chain.into_iter().next();
        first.ok_or_else(|| self.certificate.holds("none"))
    }

    /// That it is not what it should be.
    pub(super) fn no_certificate(&self) -> TlsError {
        self.certificate.holds("one that is broken")
    }

    /// Makes of them what a handshake needs.
    pub(super) fn load(&self, contents: &Contents) -> Result<Loaded, TlsError> {
        let chain = self.certificate.certificates(&contents.certificate)?;
        let name = chain.first().and_then(name_of);
        let key = self.key.key(&contents.key)?;
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .with_client_cert_verifier(self.verifier(contents)?)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::KeyOfAnother {
                certificate: self.certificate.path.clone(),
                key: self.key.path.clone(),
            },
            rustls::Error::InvalidCertificate(why) => self
                .certificate
                .holds(format!("one that is broken ({why})")),
            _ => self.key.holds("one of a kind that TLS does not know"),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Loaded { config, name })
    }

    /// Whom callers' certificates must come from.
    fn verifier(&self, contents: &Contents) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (Some(file), Some(contents)) = (&self.client_ca, &contents.client_ca) else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let mut roots = RootCertStore::empty();
        for authority in file.certificates(contents)? {
            let added = roots.add(authority);
            added.map_err(|error| file.holds(format!("one that is broken ({error})")))?;
        }
        let provider = Arc::new(default_provider());
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| file.holds(error.to_string()))
    }
}

/// A name to call a server by that shows this certificate.
fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    names.find(|name| !name.contains('*')).map(str::to_owned)
}
