//! Handshakes, side by side: nobody waits for somebody else's.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::Connection;

/// How much may be spent on callers that have not shown yet that they mean it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Handshakes at once. With one more, the oldest is given up: among so many it is the likeliest to be
    /// nobody's, and who connects now need not wait for it.
    pub(super) handshakes_max: usize,
    /// How long one may take.
    pub(super) timeout: Duration,
}

/// Connections as they come out of their handshakes.
pub struct Handshakes<S, IO> {
    connections: S,
    config: watch::Receiver<Arc<ServerConfig>>,
    patience: Patience,
    under_way: JoinSet<io::Result<TlsStream<IO>>>,
    /// The same, in the order they began; some may have ended.
    oldest_first: VecDeque<AbortHandle>,
}

impl<S, IO> Handshakes<S, IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(super) fn new(
        connections: S,
        config: watch::Receiver<Arc<ServerConfig>>,
        patience: Patience,
    ) -> Self {
        Self {
            connections,
            config,
            patience,
            under_way: JoinSet::new(),
            oldest_first: VecDeque::new(),
        }
    }

    fn begin(&mut self, connection: IO) {
        let oldest_first = &mut self.oldest_first;
        if oldest_first.len() >= self.patience.handshakes_max {
            oldest_first.retain(|handshake| !handshake.is_finished());
        }
        if oldest_first.len() >= self.patience.handshakes_max
            && let Some(oldest) = oldest_first.pop_front()
        {
            tracing::debug!("too many TLS handshakes: the oldest is given up");
            oldest.abort();
        }
        let acceptor = TlsAcceptor::from(self.config.borrow().clone());
        let timeout = self.patience.timeout;
        let handshake = self.under_way.spawn(async move {
            let done = tokio::time::timeout(timeout, acceptor.accept(connection));
            done.await.unwrap_or_else(|late| Err(late.into()))
        });
        self.oldest_first.push_back(handshake);
    }
}

impl<S, IO> Stream for Handshakes<S, IO>
where
    S: Stream<Item = io::Result<IO>> + Unpin,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Item = io::Result<Connection<IO>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            while let Poll::Ready(Some(ended)) = this.under_way.poll_join_next(context) {
                match ended {
                    Ok(Ok(connection)) => return Poll::Ready(Some(Ok(Connection(connection)))),
                    // Whoever it was: scanners do this all day.
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    // Given up.
                    Err(_) => (),
                }
            }
            match Pin::new(&mut this.connections).poll_next(context) {
                // Round again, to be woken when its handshake is done.
                Poll::Ready(Some(Ok(connection))) => this.begin(connection),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::{StreamExt, stream};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;

    // An authority made for these tests, and a certificate of it for localhost.
    const AUTHORITY: &[u8] = include_bytes!("../../tests/data/tls/authority.der");
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/data/tls/localhost.der");
    const KEY: &[u8] = include_bytes!("../../tests/data/tls/localhost_key.der");

    /// More than a handshake takes, on a busy machine too.
    const LONG: Duration = Duration::from_secs(60);
    const FOREVER: Duration = Duration::from_secs(24 * 3600);

    type Made = io::Result<Connection<TcpStream>>;

    /// Where connections are made, and the connections that come out.
    async fn listen(
        handshakes_max: usize,
        timeout: Duration,
    ) -> (SocketAddr, impl Stream<Item = Made> + Unpin) {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("defaults")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivateKeyDer::try_from(KEY).expect("a key"),
            )
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let accepted = stream::unfold(listener, async |listener| {
            let accepted = listener.accept().await;
            Some((accepted.map(|(stream, _)| stream), listener))
        });
        let patience = Patience {
            handshakes_max,
            timeout,
        };
        let (_, config) = watch::channel(Arc::new(config));
        (
            address,
            Handshakes::new(Box::pin(accepted), config, patience),
        )
    }

    /// One that says nothing.
    async fn silent(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("connects")
    }

    async fn shake_hands(address: SocketAddr) -> io::Result<()> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from(AUTHORITY);
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("defaults")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, silent(address).await).await?;
        Ok(())
    }

    /// Shakes hands, and takes the connection that comes out.
    async fn gets_through(address: SocketAddr, made: &mut (impl Stream<Item = Made> + Unpin)) {
        let both = async { tokio::join!(shake_hands(address), made.next()) };
        let (client, server) = tokio::time::timeout(LONG, both).await.expect("held up");
        client.expect("shakes hands");
        server.expect("goes on").expect("a connection");
    }

    /// Drives what is under way until the server has hung up on a client.
    async fn is_hung_up_on(client: &mut TcpStream, made: &mut (impl Stream<Item = Made> + Unpin)) {
        let mut nothing = [0; 1];
        let ended = async {
            tokio::select! {
                read = client.read(&mut nothing) => assert!(!matches!(read, Ok(1))),
                _ = made.next() => panic!("nobody shook hands"),
            }
        };
        tokio::time::timeout(LONG, ended).await.expect("in vain");
    }

    #[tokio::test]
    async fn a_handshake_does_not_wait_for_another() {
        let (address, mut made) = listen(8, FOREVER).await;
        let _silent = [silent(address).await, silent(address).await];
        gets_through(address, &mut made).await;
        gets_through(address, &mut made).await;
    }

    #[tokio::test]
    async fn with_too_many_handshakes_the_oldest_is_given_up() {
        let (address, mut made) = listen(2, FOREVER).await;
        let mut oldest = silent(address).await;
        let mut younger = silent(address).await;
        gets_through(address, &mut made).await;
        is_hung_up_on(&mut oldest, &mut made).await;
        // One place is free again; the one after it has to be made.
        let _youngest = silent(address).await;
        gets_through(address, &mut made).await;
        is_hung_up_on(&mut younger, &mut made).await;
    }

    #[tokio::test]
    async fn a_handshake_that_takes_too_long_is_given_up() {
        let (address, mut made) = listen(8, Duration::from_millis(50)).await;
        is_hung_up_on(&mut silent(address).await, &mut made).await;
    }
}
