//! Connections, so many at most, that say something soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// How long a new connection may take to say which protocol it speaks. After that HTTP has timeouts of
/// its own: for headers, and for an answer to a ping.
const FIRST_WORDS_TIMEOUT: Duration = Duration::from_secs(10);

/// What it takes to know the protocol: the length of HTTP/2's preface.
const FIRST_WORDS_BYTES: usize = 24;

/// Files the process needs for all else: its database, its log, its libraries.
const OTHER_FILES: u64 = 200;

/// How long nothing is accepted after the machine had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Lets the process have as many files as the machine allows, and says how many connections fit: at most
/// `wanted`.
pub fn fitting(wanted: usize) -> usize {
    let files = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        Err(_) => return wanted,
    };
    let fitting = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if fitting < wanted {
        tracing::warn!(
            wanted,
            fitting,
            "fewer connections than wanted: raise the limit of open files"
        );
    }
    fitting.clamp(1, wanted)
}

/// Room for so many connections at once.
pub struct Room {
    free: Arc<Semaphore>,
    connections_max: usize,
    refused: AtomicU64,
}

impl Room {
    /// Room that nobody has taken any of.
    pub fn new(connections_max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections_max)),
            connections_max,
            refused: AtomicU64::new(0),
        }
    }

    /// Connections at most.
    pub fn size(&self) -> usize {
        self.connections_max
    }

    /// Connections there are.
    pub fn taken(&self) -> usize {
        let free = self.free.available_permits();
        self.connections_max.saturating_sub(free)
    }

    /// Connections there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let taken = self.free.clone().try_acquire_owned().ok();
        if taken.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

/// Those of `incoming` there is room for; more are closed as they come.
pub fn limited<S, IO>(
    incoming: S,
    room: Arc<Room>,
) -> impl Stream<Item = io::Result<Connection<IO>>>
where
    S: Stream<Item = io::Result<IO>>,
{
    incoming.filter_map(move |accepted| {
        let room = room.clone();
        async move {
            match accepted {
                Ok(io) => {
                    let permit = room.take()?;
                    Some(Ok(Connection::new(io, permit)))
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    // Not the connection's fault but the machine's; it would be asked in vain.
                    if error.raw_os_error().is_some_and(is_out_of_room) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                    None
                }
            }
        }
    })
}

fn is_out_of_room(number: i32) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM].contains(&Errno::from_raw(number))
}

/// A connection there is room for, until it is dropped.
pub struct Connection<IO> {
    io: IO,
    /// Bytes still to come before it has said what it speaks, and until when.
    silent: Option<(usize, Pin<Box<Sleep>>)>,
    _room: OwnedSemaphorePermit,
}

impl<IO> Connection<IO> {
    fn new(io: IO, room: OwnedSemaphorePermit) -> Self {
        let silent = (FIRST_WORDS_BYTES, Box::pin(sleep(FIRST_WORDS_TIMEOUT)));
        Self {
            io,
            silent: Some(silent),
            _room: room,
        }
    }
}

impl<IO: Connected> Connected for Connection<IO> {
    type ConnectInfo = IO::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.io.connect_info()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Some((missing, deadline)) = &mut self.silent {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                self.silent = None;
            } else if read.is_pending() && deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
