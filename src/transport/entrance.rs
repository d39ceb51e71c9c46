//! What each newcomer passes before the HTTP server hears of it: admission, the turnstile, what a
//! proxy says, and TLS. All of it together
//! counts as its handshake.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, Handshake, Refusal, Ticket};
use super::arrival::{Arrival, Stream};
use super::listener::Expected;
use super::proxy_header;
use super::socket::Socket;
use super::tls::session::TlsSocket;
use super::turnstile::Turnstile;

/// One for each listener and thread.
pub(super) struct Entrance {
    pub(super) admission: Arc<Admission>,
    pub(super) turnstile: Rc<Turnstile>,
    pub(super) expected: Expected,
    /// How long each part of the handshake may take.
    pub(super) timeout: Duration,
    pub(super) header_bytes_max: usize,
}

/// A connection that has just been accepted.
pub(super) struct Newcomer {
    socket: Socket,
    address: Option<SocketAddr>,
    admitted: Result<Ticket, Refusal>,
}

impl Entrance {
    /// Counts a connection, or finds that there is no room for it.
    pub(super) fn count(&self, socket: Socket) -> Newcomer {
        let address = socket.peer_address();
        let admitted = self.admission.admit(address.map(|address| address.ip()));
        Newcomer { socket, address, admitted }
    }

    /// Waits until it is the newcomer's turn and it speaks HTTP. Who is refused is told so.
    pub(super) async fn enter(&self, newcomer: Newcomer) -> Option<Stream> {
        let Newcomer { socket, address, admitted } = newcomer;
        let ticket = match admitted {
            Ok(ticket) => ticket,
            Err(refusal) => return self.refuse(socket, refusal).await,
        };
        // Whoever has said nothing yet costs no work, and takes neither a place nor a turn from those who have.
        self.in_time(socket.readable()).await.map_err(log_failure).ok()?;
        let handshake = match self.admission.begin_handshake() {
            Ok(handshake) => handshake,
            Err(refusal) => {
                drop(ticket);
                return self.refuse(socket, refusal).await;
            }
        };
        self.turnstile.pass().await;
        // Kilobytes, and not yet there while a newcomer waits for its turn.
        Box::pin(self.make_out(socket, address, ticket, handshake)).await
    }

    /// Finds out who it is and makes the connection secure.
    async fn make_out(
        &self,
        mut socket: Socket,
        mut address: Option<SocketAddr>,
        mut ticket: Ticket,
        handshake: Handshake,
    ) -> Option<Stream> {
        if let Some(client) = self.named_by_proxy(&mut socket, address).await.map_err(log_failure).ok()? {
            address = Some(client);
            if let Err(refusal) = self.admission.attribute(&mut ticket, client.ip()) {
                return self.refuse(socket, refusal).await;
            }
        }
        let socket = self.in_time(self.secure(socket)).await.map_err(log_failure).ok()?;
        let is_secure = matches!(socket, Socket::Tls(_));
        let arrival = Arrival::new(address, is_secure, handshake, ticket);
        Some(Stream::new(socket, arrival, self.header_bytes_max, self.timeout))
    }

    async fn refuse(&self, socket: Socket, refusal: Refusal) -> Option<Stream> {
        // With TLS it could not read what it is told, and there is no room to shake hands first.
        if self.expected.tls.is_none() {
            self.admission.refuse(socket, refusal).await;
        }
        None
    }

    /// The client's address, where a trusted proxy is to name it.
    async fn named_by_proxy(
        &self,
        socket: &mut Socket,
        peer: Option<SocketAddr>,
    ) -> io::Result<Option<SocketAddr>> {
        if !self.expected.proxy_protocol || !self.admission.trusts(peer.map(|peer| peer.ip())) {
            return Ok(None);
        }
        self.in_time(proxy_header::read(socket)).await
    }

    async fn secure(&self, socket: Socket) -> io::Result<Socket> {
        match (&self.expected.tls, socket) {
            (Some(tls), Socket::Tcp(stream)) => {
                Ok(Socket::Tls(Box::new(TlsSocket::accept(stream, tls.config()).await?)))
            }
            (_, socket) => Ok(socket),
        }
    }

    async fn in_time<T>(&self, part: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let part = tokio::time::timeout(self.timeout, part).await;
        part.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn log_failure(error: io::Error) {
    log::debug!("a connection ends before its first request: {error}");
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::FutureExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Clock;
    use crate::settings::Settings;

    #[actix_rt::test]
    async fn who_says_nothing_waits_before_the_turnstile_and_keeps_nobody_from_it() {
        let settings = Settings::default();
        let entrance = Rc::new(Entrance {
            admission: Admission::new(&settings, Clock::start()),
            turnstile: Turnstile::new(),
            expected: Expected::default(),
            timeout: settings.handshake_timeout,
            header_bytes_max: settings.header_bytes_max,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut entering = Vec::new();
        for _ in 0..40 {
            let peer = std::net::TcpStream::connect(address).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let (newcomer, entrance) = (entrance.count(socket.into()), Rc::clone(&entrance));
            let enters = actix_rt::spawn(async move { entrance.enter(newcomer).await.is_some() });
            entering.push((peer, enters));
        }
        // All have come as far as they do.
        tokio::task::yield_now().await;
        assert!(entrance.turnstile.pass().now_or_never().is_some(), "nobody is before one who speaks");
        let (mut peer, enters) = entering.swap_remove(20);
        peer.write_all(b"G").unwrap();
        assert!(enters.await.unwrap(), "one byte is enough");
        assert!(entering.iter().all(|(_, enters)| !enters.is_finished()));
    }
}
