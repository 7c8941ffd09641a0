//! TLS for callers: certificates that can be replaced while the service runs, and handshakes that hold
//! nobody up.
//!
//! A connection keeps what it was made with. What is read later is for those that come later.

mod connection;
mod expiry;
mod files;
mod handshakes;
mod probe;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use files::{Contents, Files};
use handshakes::Patience;

pub use connection::Connection;
pub use files::TlsError;
pub use handshakes::Handshakes;
pub use probe::{greet, own_connector};

use crate::config::Tls;
use crate::domain::clock::Millis;
use crate::error::with_causes;

/// How often the files are looked at. Looking is reading them: that sees renames and links, as those of
/// mounted secrets, and changes within the second that a file's time counts in.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A handshake takes two round trips, on the worst of networks a few seconds. Each costs a socket and some
/// 40 KB.
const PATIENCE: Patience = Patience {
    handshakes_max: 256,
    timeout: Duration::from_secs(10),
};

/// When the certificate ends that the settings name, once everything they name has been found to go together;
/// `None` if they ask for no TLS.
pub fn expiry(settings: &Tls) -> Result<Option<Millis>, TlsError> {
    let Some(files) = Files::of(settings)? else {
        return Ok(None);
    };
    files.load(&files.read()?)?;
    let ends = expiry::not_after(&files.own_certificate()?);
    ends.map(Some).ok_or_else(|| files.no_certificate())
}

/// The certificates in service, and where new ones come from.
pub struct Certificates {
    files: Files,
    name: Option<String>,
    /// What the files held when they were looked at last, or what was wrong with them.
    seen: Result<Contents, String>,
    hangup: Signal,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl Certificates {
    /// Reads the files that the settings name; `None` if they ask for no TLS. From here on SIGHUP is a
    /// wish to read them again.
    pub fn load(settings: &Tls) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::of(settings)? else {
            return Ok(None);
        };
        let contents = files.read()?;
        let loaded = files.load(&contents)?;
        Ok(Some(Self {
            files,
            name: loaded.name,
            seen: Ok(contents),
            hangup: signal(SignalKind::hangup()).map_err(TlsError::Signal)?,
            current: watch::Sender::new(Arc::new(loaded.config)),
        }))
    }

    /// The file with the certificate.
    pub fn file(&self) -> &Path {
        self.files.certificate()
    }

    /// A DNS name that the certificate is for, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether callers need certificates of their own.
    pub fn asks_callers(&self) -> bool {
        self.files.asks_callers()
    }

    /// Puts TLS around connections as they come in.
    pub fn around<S, IO>(&self, connections: S) -> Handshakes<S, IO>
    where
        S: Stream<Item = io::Result<IO>> + Unpin,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Handshakes::new(connections, self.current.subscribe(), PATIENCE)
    }

    /// Keeps the certificates fresh until `stop`: reads the files again on SIGHUP and when they change.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                asked = self.hangup.recv() => asked.is_some(),
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            self.look(asked).await;
        }
    }

    /// Looks at the files, and takes what is new in them into service. What cannot be used is told once;
    /// after SIGHUP, again.
    async fn look(&mut self, asked: bool) {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read()).await;
        let Ok(read) = read else { return };
        let loaded = match read {
            Ok(contents) if !asked && self.seen.as_ref() == Ok(&contents) => return,
            Ok(contents) => {
                let loaded = self.files.load(&contents);
                self.seen = Ok(contents);
                loaded
            }
            Err(error) => {
                let text = with_causes(&error);
                if !asked && self.seen.as_ref().err() == Some(&text) {
                    return;
                }
                self.seen = Err(text);
                Err(error)
            }
        };
        match loaded {
            Ok(loaded) => {
                self.current.send_replace(Arc::new(loaded.config));
                tracing::info!("IRONFLOW_TLS_CERT: certificate read");
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!("{error}; the certificate in service stays");
            }
        }
    }
}
