//! Where a session's bytes come from: the socket itself (door A) or the payload of a request (door B).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::dev::Payload;
use bytes::BytesMut;
use futures_util::Stream;

use super::link::Link;

/// How much is read at once. One buffer of this size serves all sockets of a thread, so an idle connection holds none.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// The way in: the link's own socket, unless something rarer is said. Each session has one, so it is one pointer.
pub(crate) struct Source(Option<Box<Other>>);

enum Other {
    /// What came along with the handshake, to be read first, and then the link's own socket.
    Early(Box<[u8]>),
    /// The payload of the request that was upgraded.
    Payload(Payload),
}

impl Source {
    /// The link's own socket, and before it what came along with the handshake.
    pub(crate) fn socket(early: &[u8]) -> Self {
        Self((!early.is_empty()).then(|| Box::new(Other::Early(early.into()))))
    }

    /// The payload of the request that was upgraded.
    pub(crate) fn payload(payload: Payload) -> Self {
        Self(Some(Box::new(Other::Payload(payload))))
    }

    /// Reads once and hands the bytes to `take`. `Ready(0)` at the end of the transport.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        scratch: &mut [u8],
        take: impl FnOnce(&mut [u8]),
    ) -> Poll<usize> {
        match self.0.as_deref_mut() {
            None => {
                let count = ready!(link.poll_read(cx, scratch));
                if count > 0 {
                    take(&mut scratch[..count]);
                }
                Poll::Ready(count)
            }
            Some(Other::Early(bytes)) => {
                let mut bytes = std::mem::take(bytes);
                self.0 = None;
                take(&mut bytes);
                Poll::Ready(bytes.len())
            }
            Some(Other::Payload(payload)) => match ready!(Pin::new(payload).poll_next(cx)) {
                Some(Ok(bytes)) => {
                    let count = bytes.len();
                    let mut bytes = BytesMut::from(bytes);
                    take(&mut bytes);
                    Poll::Ready(count)
                }
                Some(Err(_)) | None => Poll::Ready(0),
            },
        }
    }
}
