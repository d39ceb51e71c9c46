//! Where a session's bytes come from: the socket itself (door A) or the payload of a request (door B).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::dev::Payload;
use bytes::BytesMut;
use futures_util::Stream;

use super::link::Link;

/// How much is read at once. One buffer of this size serves all sockets of a thread, so an idle connection holds none.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// The way in. Each session has one: what is rare is boxed.
pub(crate) enum Source {
    /// What came along with the handshake, to be read first, and then the link's own socket.
    Early(Box<Box<[u8]>>),
    /// The link's own socket.
    Socket,
    /// Nothing comes: what the link's own socket says is not heard, if it has one, but for its end.
    Silence,
    /// The payload of the request that was upgraded.
    Payload(Box<Payload>),
}

impl Source {
    /// Reads once and hands the bytes to `take`. `Ready(0)` at the end of the transport.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link,
        scratch: &mut [u8],
        take: impl FnOnce(&mut [u8]),
    ) -> Poll<usize> {
        match self {
            Self::Early(bytes) => {
                let mut bytes = std::mem::take(&mut **bytes);
                *self = Self::Socket;
                take(&mut bytes);
                Poll::Ready(bytes.len())
            }
            Self::Socket => {
                let count = ready!(link.poll_read(cx, scratch));
                if count > 0 {
                    take(&mut scratch[..count]);
                }
                Poll::Ready(count)
            }
            Self::Silence => link.poll_silence(cx, scratch),
            Self::Payload(payload) => match ready!(Pin::new(payload.as_mut()).poll_next(cx)) {
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
