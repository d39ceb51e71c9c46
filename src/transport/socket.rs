//! The kinds of socket that connections come on, as one type. It knows bytes only; what they mean is not known here.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::tls::session::TlsSocket;

/// What the kernel may hold of what it has not sent yet, for one socket. Left to itself it takes megabytes on behalf of
/// a peer that reads nothing, and what lies there is neither counted nor can it be overtaken.
const KERNEL_UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A connected socket. Plain TCP is what most connections are: it is not boxed, so that the others cost it nothing.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(Box<UnixStream>),
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// The peer's address; none on a unix socket.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.stream().peer_addr().ok(),
        }
    }

    /// From here on the kernel holds little for a peer that reads nothing.
    pub(crate) fn limit_unsent(&self) {
        // A system that does not know this option does without.
        let _ = self.as_sock_ref().set_tcp_notsent_lowat(KERNEL_UNSENT_BYTES_MAX);
    }

    /// Writes as much as goes out at once.
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [slice]) => stream.try_write(slice),
            (Self::Tcp(stream), _) => stream.try_write_vectored(slices),
            #[cfg(unix)]
            (Self::Unix(stream), _) => stream.try_write_vectored(slices),
            (Self::Tls(tls), _) => tls.try_write(slices),
        }
    }

    /// Whether there may be room for more; if not, the task is woken when there is.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            #[cfg(unix)]
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(tls) => tls.stream().poll_write_ready(cx),
        }
    }

    /// Waits until the peer has said something, or has hung up. It looks, because tokio takes some sockets for readable
    /// before it knows.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let mut byte = [MaybeUninit::uninit()];
        let look = || self.as_sock_ref().peek(&mut byte).map(|_| ());
        match self {
            Self::Tcp(stream) => stream.async_io(Interest::READABLE, look).await,
            #[cfg(unix)]
            Self::Unix(stream) => stream.async_io(Interest::READABLE, look).await,
            Self::Tls(_) => Ok(()),
        }
    }

    /// Whether the peer has hung up, as far as the event loop has heard: the kernel is not asked.
    pub(crate) fn has_been_left(&self) -> bool {
        let ready = match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).now_or_never(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.ready(Interest::READABLE).now_or_never(),
            Self::Tls(tls) => tls.stream().ready(Interest::READABLE).now_or_never(),
        };
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// How many bytes are sealed that the kernel has not taken. Before they are gone nothing else is written.
    pub(crate) fn sealed_bytes(&self) -> usize {
        match self {
            Self::Tls(tls) => tls.sealed_bytes(),
            _ => 0,
        }
    }

    /// Passes on what is sealed. `Ready` when all is gone.
    pub(crate) fn poll_drain_sealed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) => tls.poll_drain(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads once. `Ready(Ok(0))` at the end.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(match self {
                Self::Tcp(stream) => stream.poll_read_ready(cx),
                #[cfg(unix)]
                Self::Unix(stream) => stream.poll_read_ready(cx),
                Self::Tls(tls) => return tls.poll_receive(cx, into),
            })?;
            let read = match self {
                Self::Tcp(stream) => stream.try_read(into),
                #[cfg(unix)]
                Self::Unix(stream) => stream.try_read(into),
                Self::Tls(_) => Ok(0),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Says to the peer that nothing more will come; what it sends can still be read.
    pub(crate) fn stop_writing(&mut self) {
        self.say_goodbye();
        let _ = self.as_sock_ref().shutdown(Shutdown::Write);
    }

    /// Tells a peer that knows such a thing that nothing more will come, and that nothing is missing.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Tls(tls) = self {
            tls.say_goodbye();
        }
    }

    /// Ends the connection at once, without regard for what the kernel still holds.
    pub(crate) fn abort(&self) {
        let socket = self.as_sock_ref();
        // Without this the kernel would keep unread bytes for minutes on behalf of a peer that reads nothing.
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
    }

    fn as_sock_ref(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            #[cfg(unix)]
            Self::Unix(stream) => SockRef::from(&**stream),
            Self::Tls(tls) => SockRef::from(tls.stream()),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        // Without this, what is written in two pieces waits for the peer to acknowledge the first.
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(Box::new(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Self::Tls(tls) => {
                let count = ready!(tls.poll_receive(cx, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Self::Tls(tls) => {
                ready!(tls.poll_drain(cx))?;
                Poll::Ready(tls.try_write(&[IoSlice::new(bytes)]))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain_sealed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Tls(tls) => {
                tls.say_goodbye();
                ready!(tls.poll_drain(cx))?;
                Poll::Ready(SockRef::from(tls.stream()).shutdown(Shutdown::Write))
            }
        }
    }
}
