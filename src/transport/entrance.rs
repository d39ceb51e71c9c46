//! What each newcomer passes before the HTTP server hears of it: admission, the turnstile, and TLS. All of it together
//! counts as its handshake.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, Handshake, Refusal, Ticket};
use super::arrival::{Arrival, Stream};
use super::socket::Socket;
use super::tls::Tls;
use super::tls::session::TlsSocket;
use super::turnstile::Turnstile;

/// One for each listener and thread.
pub(super) struct Entrance {
    pub(super) admission: Arc<Admission>,
    pub(super) turnstile: Rc<Turnstile>,
    pub(super) tls: Option<Tls>,
    /// How long each part of the handshake may take.
    pub(super) timeout: Duration,
}

/// A connection that has just been accepted.
pub(super) struct Newcomer {
    socket: Socket,
    address: Option<SocketAddr>,
    admitted: Result<(Ticket, Handshake), Refusal>,
}

impl Entrance {
    /// Counts a connection, or finds that there is no room for it.
    pub(super) fn count(&self, socket: Socket) -> Newcomer {
        let address = socket.peer_address();
        let admitted = self.admission.admit(address.map(|address| address.ip()));
        let admitted = admitted.map(|ticket| (ticket, self.admission.begin_handshake()));
        Newcomer { socket, address, admitted }
    }

    /// Waits until it is the newcomer's turn and it speaks HTTP. Who is refused is told so.
    pub(super) async fn enter(&self, newcomer: Newcomer) -> Option<Stream> {
        let Newcomer { socket, address, admitted } = newcomer;
        match admitted {
            Ok((ticket, handshake)) => {
                self.turnstile.pass().await;
                let secured = tokio::time::timeout(self.timeout, self.secure(socket)).await;
                match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(socket) => Some(Stream { socket, arrival: Arrival::new(address, handshake, ticket) }),
                    Err(error) => {
                        log::debug!("a TLS handshake has failed: {error}");
                        None
                    }
                }
            }
            // What it could be told it could not read, and to shake hands first is what there is no room for.
            Err(_) if self.tls.is_some() => None,
            Err(refusal) => {
                self.admission.refuse(socket, refusal).await;
                None
            }
        }
    }

    async fn secure(&self, socket: Socket) -> io::Result<Socket> {
        match (&self.tls, socket) {
            (Some(tls), Socket::Tcp(stream)) => {
                Ok(Socket::Tls(Box::new(TlsSocket::accept(stream, tls.config()).await?)))
            }
            (_, socket) => Ok(socket),
        }
    }
}
