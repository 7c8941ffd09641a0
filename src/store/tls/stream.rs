//! A connection to Postgres with TLS around it, and what binds the exchange of its password to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, alg_id};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use crate::der::element;

/// A connection with TLS around it.
pub(in crate::store) struct Encrypted<S>(pub(super) tokio_rustls::client::TlsStream<S>);

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
    let fields = element(certificate)?.contents;
    let behind_signed = element(fields)?.rest;
    let signature = element(behind_signed)?.contents;
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
