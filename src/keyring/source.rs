//! Where key sets come from: a file, or an address.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use thiserror::Error;

use crate::auth::NoKeySet;

/// Largest key set in bytes. Real ones are a few KB.
const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// How long reading a key set may take, from the look-up of the name to the last byte.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no key set. Says nothing of where it should have come from: an address may hold a
/// password.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Neither a file nor an address.
    #[error(
        "expected a file, or an address that begins with https:// or http:// and has no user in it"
    )]
    Address,
    /// No certificates to check the address by.
    #[error(
        "expected root certificates on this machine (package ca-certificates, or SSL_CERT_FILE)"
    )]
    Roots(#[source] std::io::Error),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The file cannot be read.
    #[error("expected a file to read")]
    File(#[from] std::io::Error),
    /// Nobody answers, or in no way that can be trusted.
    #[error("the address cannot be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer is not whole")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not a key set. Redirects are not followed.
    #[error("expected the answer 200, got {0}")]
    Status(StatusCode),
    /// It is too large to be a key set.
    #[error("expected at most {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// It takes too long.
    #[error("expected an answer within {} s", READ_TIMEOUT.as_secs())]
    Slow,
    /// It is something else.
    #[error(transparent)]
    NoKeySet(#[from] NoKeySet),
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<&'static [u8]>>;

/// Where a key set comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    File(PathBuf),
    Address { uri: Uri, client: Box<HttpClient> },
}

impl Source {
    /// The source that a setting names.
    pub(super) fn new(setting: &str) -> Result<Self, SourceError> {
        if !setting.contains("://") {
            return match setting {
                "" => Err(SourceError::Address),
                path => Ok(Self::File(path.into())),
            };
        }
        let uri: Uri = setting.parse().map_err(|_| SourceError::Address)?;
        let tls = || ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let tls = tls().with_safe_default_protocol_versions()?;
        let tls = match uri.scheme_str() {
            Some("https") => tls.with_native_roots().map_err(SourceError::Roots)?,
            // Never asked for a certificate.
            Some("http") => tls.with_root_certificates(rustls::RootCertStore::empty()),
            Some(_) | None => return Err(SourceError::Address),
        };
        Self::trusting(uri, tls.with_no_client_auth())
    }

    /// An address, with whom to trust.
    fn trusting(uri: Uri, tls: ClientConfig) -> Result<Self, SourceError> {
        let has_user = |authority: &http::uri::Authority| authority.as_str().contains('@');
        if uri.authority().is_none_or(has_user) {
            return Err(SourceError::Address);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0) // the next fetch is minutes away
            .build(connector);
        Ok(Self::Address {
            uri,
            client: Box::new(client),
        })
    }

    /// Whether what is read could be changed on its way here by somebody in between.
    pub(super) fn is_exposed(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Address { uri, .. } => {
                let host = uri.host().unwrap_or_default();
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let address = host.parse::<std::net::IpAddr>();
                let is_near = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
                uri.scheme_str() != Some("https") && !is_near
            }
        }
    }

    /// Reads the document, in bounded time and space.
    pub(super) async fn read(&self) -> Result<Vec<u8>, SourceError> {
        let read = tokio::time::timeout(READ_TIMEOUT, async {
            match self {
                Self::File(path) => {
                    let path = path.clone();
                    let read = tokio::task::spawn_blocking(move || read_file(&path));
                    read.await.map_err(std::io::Error::other)?
                }
                Self::Address { uri, client } => fetch(uri, client).await,
            }
        });
        read.await.unwrap_or(Err(SourceError::Slow))
    }
}

/// Reads a file that holds a key set.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path)?;
    let mut document = Vec::new();
    // One byte more, to tell a file that fits from one that does not.
    file.take(KEY_SET_BYTES_MAX as u64 + 1)
        .read_to_end(&mut document)?;
    if document.len() > KEY_SET_BYTES_MAX {
        return Err(SourceError::TooLarge);
    }
    Ok(document)
}

async fn fetch(uri: &Uri, client: &HttpClient) -> Result<Vec<u8>, SourceError> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    let json = http::HeaderValue::from_static("application/json");
    headers.insert(header::ACCEPT, json);
    let answer = client
        .request(request)
        .await
        .map_err(SourceError::Unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(SourceError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), KEY_SET_BYTES_MAX);
    let body = body.collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            SourceError::TooLarge
        } else {
            SourceError::Broken(error)
        }
    })?;
    Ok(body.to_bytes().into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    // An authority made for these tests, and a certificate of it for localhost.
    const AUTHORITY: &[u8] = include_bytes!("../../tests/data/tls/authority.der");
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/data/tls/localhost.der");
    const KEY: &[u8] = include_bytes!("../../tests/data/tls/localhost_key.der");

    /// A server that answers over TLS with `{}` for as long as the test runs.
    async fn tls_server() -> SocketAddr {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("defaults")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivateKeyDer::try_from(KEY).expect("a key"),
            )
            .expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                // Who does not trust it hangs up.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    let _ = stream.write_all(answer).await;
                }
            }
        });
        address
    }

    /// An address whose certificate has to come from one of `authorities`.
    fn trusting(url: &str, authorities: &[&'static [u8]]) -> Source {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            let certificate = CertificateDer::from(*authority);
            roots.add(certificate).expect("an authority");
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("defaults")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Source::trusting(url.parse().expect("an address"), tls).expect("a source")
    }

    #[tokio::test]
    async fn keys_come_only_from_whom_a_trusted_authority_vouches_for() {
        let port = tls_server().await.port();
        let name = format!("https://localhost:{port}/keys");
        let read = trusting(&name, &[AUTHORITY]).read().await;
        assert_eq!(read.expect("trusted"), b"{}");
        let unknown = trusting(&name, &[]).read().await;
        assert!(
            matches!(unknown, Err(SourceError::Unreachable(_))),
            "{unknown:?}"
        );
        let another_name = format!("https://127.0.0.1:{port}/keys");
        let another = trusting(&another_name, &[AUTHORITY]).read().await;
        assert!(
            matches!(another, Err(SourceError::Unreachable(_))),
            "{another:?}"
        );
        let plain = format!("http://localhost:{port}/keys");
        let plain = trusting(&plain, &[AUTHORITY]).read().await;
        assert!(plain.is_err(), "no TLS: {plain:?}");
    }

    #[test]
    fn an_address_without_tls_is_told_from_one_nobody_can_stand_in_front_of() {
        for (address, exposed) in [
            ("http://id.example/keys", true),
            ("http://10.0.0.1/keys", true),
            ("http://[2001:db8::1]:80/keys", true),
            ("http://localhost.evil.example/keys", true),
            ("http://localhost:9999/keys", false),
            ("http://127.0.0.1/keys", false),
            ("http://[::1]:80/keys", false),
            ("/etc/keys.json", false),
        ] {
            let source = Source::new(address).expect("a source");
            assert_eq!(source.is_exposed(), exposed, "{address}");
        }
        assert!(!trusting("https://id.example/keys", &[]).is_exposed());
    }
}
