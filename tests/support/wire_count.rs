//! A proxy in front of Postgres that counts the statements its clients send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Counts what goes to one database. Lives as long as the runtime it was made in.
pub struct WireCount {
    config: Config,
    statements: Arc<AtomicU64>,
}

impl WireCount {
    /// A proxy in front of `server`.
    pub async fn before(server: &Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let statements = Arc::new(AtomicU64::new(0));
        let (host, counter) = (server.get_hosts()[0].clone(), statements.clone());
        let port = server.get_ports().first().copied().unwrap_or(5432);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).expect("a socket");
                tokio::spawn(serve(client, host.clone(), port, counter.clone()));
            }
        });
        let mut config = Config::new();
        config
            .host(address.ip().to_string())
            .port(address.port())
            .user(server.get_user().expect("a user"))
            .password(server.get_password().unwrap_or_default())
            .dbname(server.get_dbname().expect("a database"));
        Self { config, statements }
    }

    /// How to connect through it.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// How many statements came through since the last time this was asked.
    pub fn take(&self) -> u64 {
        self.statements.swap(0, Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, host: Host, port: u16, statements: Arc<AtomicU64>) {
    match host {
        Host::Tcp(host) => {
            let server = TcpStream::connect((host, port)).await.expect("Postgres");
            server.set_nodelay(true).expect("a socket");
            relay(client, server, &statements).await;
        }
        Host::Unix(folder) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            let server = UnixStream::connect(socket).await.expect("Postgres");
            relay(client, server, &statements).await;
        }
    }
}

/// Copies both ways until one side has enough.
async fn relay<S: AsyncRead + AsyncWrite>(client: TcpStream, server: S, statements: &AtomicU64) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    tokio::select! {
        _ = count(&mut from_client, &mut to_server, statements) => (),
        _ = tokio::io::copy(&mut from_server, &mut to_client) => (),
    }
}

/// Copies the messages of a client. Only the first has no type (the protocol's "startup message").
async fn count(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
    statements: &AtomicU64,
) -> std::io::Result<()> {
    const LENGTH_BYTES: u32 = 4; // counted by itself
    let mut kind = None;
    loop {
        let length = client.read_u32().await?;
        let mut body = vec![0; length.saturating_sub(LENGTH_BYTES) as usize];
        client.read_exact(&mut body).await?;
        // Execute, and Query unless it is only a terminator: that asks for a sign of life.
        if kind == Some(b'E') || kind == Some(b'Q') && body.len() > 1 {
            statements.fetch_add(1, Ordering::SeqCst);
        }
        let message = [kind.as_slice(), &length.to_be_bytes(), &body].concat();
        server.write_all(&message).await?;
        kind = Some(client.read_u8().await?);
    }
}
