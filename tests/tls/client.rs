//! Callers that speak TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use ironflow_sync::grpc::proto::sync_service_client::SyncServiceClient;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::authority::{Authority, Identity};
use crate::support::Device;
use crate::support::service::token;

/// A caller: whom it trusts, who it is, what it speaks.
#[derive(Clone)]
pub struct Caller {
    config: ClientConfig,
    /// The name it expects.
    name: &'static str,
}

impl Caller {
    /// One that trusts an authority and has no certificate.
    pub fn trusting(authority: &Authority) -> Self {
        Self::new(authority, None, rustls::DEFAULT_VERSIONS)
    }

    /// One that speaks a version only.
    pub fn speaking(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        Self::new(authority, None, &[version])
    }

    /// One with a certificate of its own.
    pub fn identified(
        authority: &Authority,
        identity: &Identity,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::new(authority, Some(identity), &[version])
    }

    fn new(
        authority: &Authority,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
                let chain = vec![identity.der.clone()];
                let config = config.with_client_auth_cert(chain, key.expect("a key"));
                config.expect("a certificate")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            config,
            name: "localhost",
        }
    }

    /// The same, which expects a name.
    pub fn expecting(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The same, which wants to speak a protocol.
    pub fn offering(mut self, protocol: &str) -> Self {
        self.config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    /// A connection.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name).expect("a name");
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let stream = TcpStream::connect(address).await?;
        connector.connect(name, stream).await
    }

    /// The certificate that a new connection is shown.
    pub async fn shown(&self, address: SocketAddr) -> io::Result<CertificateDer<'static>> {
        let stream = self.connect(address).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let first = certificates.and_then(<[_]>::first).expect("a certificate");
        Ok(first.clone().into_owned())
    }

    /// A connection for gRPC.
    pub async fn channel(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let caller = self.clone();
        let connector = tower::service_fn(move |_| {
            let caller = caller.clone();
            async move { caller.connect(address).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint.connect_with_connector(connector).await
    }

    /// A device of Mia's.
    pub async fn device(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<Device, tonic::transport::Error> {
        let client = SyncServiceClient::new(self.channel(address).await?);
        Ok(Device::new(client, token("mia"), name))
    }

    /// Whether a call gets through, from the handshake to the answer.
    pub async fn gets_through(&self, address: SocketAddr) -> bool {
        let Ok(mut device) = self.device(address, "phone").await else {
            return false;
        };
        let page = device.page_after("");
        device.pull(page).await.is_ok()
    }
}
