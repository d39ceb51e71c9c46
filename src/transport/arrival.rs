//! A connection from its arrival to the point where it has said what it wants: the socket under the HTTP server, and
//! what admission knows of it. The session takes over both.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::HttpRequest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::admission::{Admission, Handshake, Refusal, Ticket};
use super::link::Link;
use super::problem::Problem;
use super::request_head::{HeadProgress, HeadWatch};
use super::route::LinkBody;
use super::socket::Socket;

/// What is known of a connection beside its bytes. Requests on it find it in their connection data.
pub(crate) struct Arrival {
    /// The peer's, or what a trusted proxy has said in place of its own.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) is_secure: bool,
    handshake: Handshake,
    ticket: Cell<Option<Ticket>>,
    heir: Cell<Option<Heir>>,
    asking: Cell<Asking>,
}

/// How far a connection is with its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// It may take its time.
    Idle,
    /// The head is on its way.
    Head,
    /// The head is there, and the answer is not.
    Answer,
}

/// Who goes on with the socket when the answer under way is out.
pub(crate) struct Heir(Option<Rc<Link>>);

impl Heir {
    fn inherit(mut self, socket: Socket, ticket: Option<Ticket>) {
        if let Some(link) = self.0.take() {
            link.inherit(socket, ticket);
        }
    }

    pub(crate) fn new(link: Rc<Link>) -> Self {
        Self(Some(link))
    }

    /// It gets no socket, but is read as the body of an answer.
    pub(crate) fn into_body(mut self) -> Option<LinkBody> {
        self.0.take().map(LinkBody)
    }
}

impl Drop for Heir {
    /// The connection ended before there was anything to inherit.
    fn drop(&mut self) {
        self.0.iter().for_each(|link| link.peer_has_gone());
    }
}

impl Arrival {
    pub(crate) fn new(
        address: Option<SocketAddr>,
        is_secure: bool,
        handshake: Handshake,
        ticket: Ticket,
    ) -> Rc<Self> {
        Rc::new(Self {
            address,
            is_secure,
            handshake,
            ticket: Cell::new(Some(ticket)),
            heir: Cell::new(None),
            // What somebody comes for is not long in coming.
            asking: Cell::new(Asking::Head),
        })
    }

    /// The connection has said what it wants.
    pub(crate) fn end_handshake(&self) {
        self.handshake.end();
        self.asking.set(Asking::Answer);
    }

    /// What it wanted has been found.
    pub(crate) fn has_answer(&self) {
        self.asking.set(Asking::Idle);
    }

    /// Once the answer under way is out, the socket is this link's: the answer has no end that the HTTP server sees.
    pub(crate) fn bequeath(&self, heir: Heir) {
        self.heir.set(Some(heir));
    }

    /// Counts the connection for its client's address from here on.
    pub(crate) fn attribute(&self, admission: &Admission, client: IpAddr) -> Result<(), Refusal> {
        let Some(mut ticket) = self.ticket.take() else { return Ok(()) };
        let attributed = admission.attribute(&mut ticket, client);
        self.ticket.set(Some(ticket));
        attributed
    }

    /// Its place among the connections, for whoever goes on with it; without that it is free when this ends.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.take()
    }
}

/// Whether a request has come over TLS of ours.
pub(crate) fn is_secure(request: &HttpRequest) -> bool {
    let arrival = request.conn_data::<Rc<Arrival>>();
    arrival.map_or_else(|| request.app_config().secure(), |arrival| arrival.is_secure)
}

/// What the HTTP server reads from and writes to.
pub(crate) struct Stream {
    /// None once it has been handed on.
    pub(crate) socket: Option<Socket>,
    pub(crate) arrival: Rc<Arrival>,
    reading: Reading,
    /// How long a head may take to come.
    timeout: Duration,
    /// When the head that is on its way is late, and when a refused peer is no longer read from.
    late: Option<Pin<Box<Sleep>>>,
}

/// What is being read.
enum Reading {
    /// The first head.
    Head(HeadWatch),
    Rest,
    /// Nothing: the peer has been told why, and what it still sends is thrown away, because hanging up on it would
    /// reset the connection and could take the answer along.
    Refused,
}

impl Stream {
    pub(crate) fn new(
        socket: Socket,
        arrival: Rc<Arrival>,
        header_bytes_max: usize,
        timeout: Duration,
    ) -> Self {
        let reading = Reading::Head(HeadWatch::new(header_bytes_max));
        Self { socket: Some(socket), arrival, reading, timeout, late: None }
    }

    /// Bytes have come.
    fn hear(&mut self) {
        if self.arrival.asking.get() == Asking::Idle {
            self.arrival.asking.set(Asking::Head);
            self.late = None;
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout))).as_mut().poll(cx)
    }

    /// Nothing more has come. `Ready` at the end of a connection whose head is late, which is told so if it has begun one:
    /// the HTTP server gives up late heads too, but only the first of a connection.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.arrival.asking.get() != Asking::Head {
            return Poll::Pending;
        }
        ready!(self.poll_late(cx));
        if matches!(&self.reading, Reading::Head(watch) if !watch.has_begun()) {
            return Poll::Ready(Ok(()));
        }
        self.refuse(&Problem::too_late("head", self.timeout));
        self.poll_discard(cx)
    }

    fn refuse(&mut self, problem: &Problem) {
        if let Some(socket) = &mut self.socket {
            let _ = socket.try_write(&[IoSlice::new(&problem.to_response_bytes())]);
            socket.stop_writing();
        }
        self.reading = Reading::Refused;
        self.late = None;
    }

    /// Reads on for nobody, up to the end or until that takes too long.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(())) };
        let mut discarded = [0; 4096];
        loop {
            match socket.poll_receive(cx, &mut discarded) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(end) => return Poll::Ready(end.map(|_| ())),
                Poll::Pending => return self.poll_late(cx).map(Ok),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if !matches!(self.reading, Reading::Refused)
            && let Some(socket) = &mut self.socket
        {
            match Pin::new(socket).poll_read(cx, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending => return self.poll_head(cx),
            }
            self.hear();
        }
        if let Reading::Head(watch) = &mut self.reading {
            let max = watch.max();
            match watch.see(&buffer.filled()[before..]) {
                HeadProgress::Arriving => {}
                HeadProgress::Complete => self.reading = Reading::Rest,
                HeadProgress::TooLong => {
                    buffer.set_filled(before);
                    self.refuse(&Problem::head_too_long(max));
                }
            }
        }
        match self.reading {
            Reading::Refused => self.poll_discard(cx),
            Reading::Head(_) | Reading::Rest => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.reading, Reading::Refused) {
            // It has its answer.
            return Poll::Ready(Ok(bytes.len()));
        }
        // Its next request may wait until it has the answer to the last.
        self.late = None;
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(heir) = self.arrival.heir.take() {
            let ticket = self.arrival.take_ticket();
            if let Some(socket) = self.socket.take() {
                heir.inherit(socket, ticket);
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
