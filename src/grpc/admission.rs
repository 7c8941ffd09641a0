//! Asks [`Admission`] before a call's message is read, and tells it when the call is over.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::admission::{Admission, Admitted, Kind, Received};
use crate::auth::Caller;
use crate::error::Refusal;

/// A service that only calls within the limits reach. It stands behind
/// [`Authenticated`](super::authn::Authenticated), which says whose they are.
#[derive(Clone)]
pub struct Limited<S> {
    inner: S,
    admission: Admission,
    message_bytes_max: usize,
}

impl<S> Limited<S> {
    /// Calls are let in by `admission`; a packed message may unpack to `message_bytes_max`.
    pub fn new(inner: S, admission: Admission, message_bytes_max: usize) -> Self {
        Self {
            inner,
            admission,
            message_bytes_max,
        }
    }
}

impl<S: NamedService> NamedService for Limited<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<Arriving<B>>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let kind = kind(request.uri().path());
        let caller = request.extensions().get::<Caller>();
        let admitted = caller
            .ok_or(Refusal::TokenMissing)
            .and_then(|caller| self.admission.admit(&caller.user, kind));
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                // Its message is not waited for, and takes no room meanwhile.
                drop(request);
                let held = self.admission.hold(&refusal);
                return Box::pin(async {
                    held.wait().await;
                    Ok(Status::from(refusal).into_http())
                });
            }
        };
        let received = Arc::new(self.admission.receive());
        request.extensions_mut().insert(received.clone());
        let answer = self.inner.call(request.map(|body| Arriving {
            body,
            received: received.clone(),
            begun: Prefix::default(),
            unpacked_bytes_max: self.message_bytes_max,
        }));
        Box::pin(async move {
            let response = answer.await?;
            // What was asked has been dealt with.
            drop(received);
            Ok(response.map(|body| {
                Body::new(Leaving {
                    body,
                    admitted: Some(admitted),
                })
            }))
        })
    }
}

/// What kind of call a path of ours leads to.
pub(super) fn kind(path: &str) -> Kind {
    match path.rsplit('/').next() {
        Some("Watch") => Kind::Watch,
        Some("GetServerInfo") => Kind::Question,
        _ => Kind::Call,
    }
}

/// Tells how large a message is, now that it is there. One that came packed counted as the largest there
/// may be.
pub(super) fn weigh<T: Message>(request: &tonic::Request<T>) {
    if let Some(received) = request.extensions().get::<Arc<Received>>() {
        received.settle(request.get_ref().encoded_len());
    }
}

/// A message on its way in: its bytes are counted as they come. Once a packed one is complete it counts
/// as the largest it may unpack to.
pub struct Arriving<B> {
    body: B,
    received: Arc<Received>,
    begun: Prefix,
    unpacked_bytes_max: usize,
}

/// What stands before a message: whether it is packed, and four bytes of length (the gRPC protocol over
/// HTTP/2).
#[derive(Default)]
struct Prefix {
    bytes: [u8; 5],
    /// Bytes that have come, with those of the message.
    come: usize,
}

impl Prefix {
    /// Takes note of what came next. Whether a packed message has become complete by it.
    fn completes_packed(&mut self, data: &[u8]) -> bool {
        let before = self.complete();
        let missing = self.bytes.get_mut(self.come..).unwrap_or_default();
        for (place, byte) in missing.iter_mut().zip(data) {
            *place = *byte;
        }
        self.come += data.len();
        !before && self.complete() && self.bytes[0] != 0
    }

    fn complete(&self) -> bool {
        let [_, length @ ..] = self.bytes;
        let whole = self.bytes.len() + u32::from_be_bytes(length) as usize;
        self.come >= self.bytes.len() && self.come >= whole
    }
}

impl<B> HttpBody for Arriving<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            let unpacked = match self.begun.completes_packed(data) {
                true => self.unpacked_bytes_max,
                false => 0,
            };
            let counted = self.received.add(data.len() + unpacked);
            counted.map_err(Status::from)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer on its way out. The call is over when its last word is taken, or when nobody is there to
/// take it.
struct Leaving {
    body: Body,
    admitted: Option<Admitted>,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let goes_on = matches!(&frame, Some(Ok(frame)) if !frame.is_trailers());
        if !goes_on || self.body.is_end_stream() {
            drop(self.admitted.take());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_message_is_complete_once_however_it_comes() {
        let packed = [&[1, 0, 0, 0, 4][..], b"abcd", b"and more"].concat();
        for size in 1..packed.len() {
            let mut prefix = Prefix::default();
            let mut completed = Vec::new();
            let mut come = 0;
            for data in packed.chunks(size) {
                come += data.len();
                if prefix.completes_packed(data) {
                    completed.push(come);
                }
            }
            let [at] = completed[..] else {
                panic!("{size}: {completed:?}")
            };
            assert!((9..9 + size).contains(&at), "{size}: {at}");
        }
        let plain = [0, 0, 0, 0, 1, b'x'];
        assert!(!Prefix::default().completes_packed(&plain));
    }
}
