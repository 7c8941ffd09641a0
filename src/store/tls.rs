//! TLS to Postgres: what is checked of the server, and the channel that tokens of its password exchange
//! are bound to.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, ServerName, UnixTime, alg_id};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

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
    /// A certificate can not be for it.
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

/// A connection with TLS around it.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates();
        let hash = certificates.and_then(|all| end_point(all.first()?));
        hash.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What binds a password exchange to this connection (RFC 5929, `tls-server-end-point`): the certificate's
/// hash, by the function it was signed with. `None` for signatures that have no such function or one we do
/// not know; the exchange then goes on unbound, unless `channel_binding=require`.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    const SHA_256: [AlgorithmIdentifier; 3] = [
        alg_id::RSA_PKCS1_SHA256,
        alg_id::RSA_PSS_SHA256,
        alg_id::ECDSA_SHA256,
    ];
    const SHA_384: [AlgorithmIdentifier; 3] = [
        alg_id::RSA_PKCS1_SHA384,
        alg_id::RSA_PSS_SHA384,
        alg_id::ECDSA_SHA384,
    ];
    const SHA_512: [AlgorithmIdentifier; 3] = [
        alg_id::RSA_PKCS1_SHA512,
        alg_id::RSA_PSS_SHA512,
        alg_id::ECDSA_SHA512,
    ];
    let (fields, _) = element(certificate)?;
    let (_signed, behind) = element(fields)?;
    let (signature, _) = element(behind)?;
    let is_one_of = |known: &[AlgorithmIdentifier]| known.iter().any(|one| **one == *signature);
    if is_one_of(&SHA_256) {
        Some(Sha256::digest(certificate).to_vec())
    } else if is_one_of(&SHA_384) {
        Some(Sha384::digest(certificate).to_vec())
    } else if is_one_of(&SHA_512) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

/// The contents of the first element of a DER text, and what is behind it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const LONG: u8 = 0x80; // the other bits count the bytes of the length
    let (&first, rest) = der.get(1..)?.split_first()?;
    if first & LONG == 0 {
        return rest.split_at_checked(first.into());
    }
    let (length, rest) = rest.split_at_checked((first & !LONG).into())?;
    let length = length.iter().try_fold(0usize, |length, byte| {
        Some(length.checked_mul(256)? + usize::from(*byte))
    })?;
    rest.split_at_checked(length)
}

/// Checks less than the library would: an authority without the name (`verify-ca`), or nothing (`require`),
/// not even that the certificate is of a kind the library can read.
#[derive(Debug)]
struct Lenient {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let known = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, chain, now, known)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.roots.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.roots.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
