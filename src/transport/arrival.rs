//! A connection from its arrival to the point where it has said what it wants: the socket under the HTTP server, and
//! what admission knows of it. The session takes over both.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::admission::{Handshake, Ticket};
use super::socket::Socket;

/// What is known of a connection beside its bytes. Requests on it find it in their connection data.
pub(crate) struct Arrival {
    /// The peer's, or what a trusted proxy has said in place of its own.
    pub(crate) address: Option<SocketAddr>,
    handshake: Handshake,
    ticket: Cell<Option<Ticket>>,
}

impl Arrival {
    pub(crate) fn new(address: Option<SocketAddr>, handshake: Handshake, ticket: Ticket) -> Rc<Self> {
        Rc::new(Self { address, handshake, ticket: Cell::new(Some(ticket)) })
    }

    /// The connection has said what it wants.
    pub(crate) fn end_handshake(&self) {
        self.handshake.end();
    }

    /// Its place among the connections, for whoever goes on with it; without that it is free when this ends.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.take()
    }
}

/// What the HTTP server reads from and writes to.
pub(crate) struct Stream {
    pub(crate) socket: Socket,
    pub(crate) arrival: Rc<Arrival>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
