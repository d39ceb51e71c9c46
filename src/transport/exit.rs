//! A connection's way out: a socket or the body of a response, and before it the outbox with what could not leave yet.
//! It knows bytes only; what they mean, and what to do when the outbox is full, is the link's business.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::socket::Socket;
use crate::hub::joined::Joined;
use crate::hub::outbox::{Outbox, OutboxFull, Outboxes, Part};

/// The most slices handed to the kernel in one call.
const SLICES_MAX: usize = 64;

enum Way {
    /// Door A: a socket of our own.
    Socket(Socket),
    /// Door B: the body of a streaming response, and who waits for more of it.
    Body(Option<Waker>),
    /// The connection is over.
    Closed,
}

/// The way out, and what waits before it.
pub(super) struct Exit {
    way: Way,
    outbox: Outbox,
    /// The bytes that have gone out.
    sent: u64,
}

/// Why bytes did not go out and do not wait either.
pub(super) enum Refused {
    Full(OutboxFull),
    /// The socket reports an error: the connection is over.
    Broken,
}

impl Exit {
    pub(super) fn socket(socket: Socket) -> Self {
        socket.limit_unsent();
        Self { way: Way::Socket(socket), outbox: Outbox::default(), sent: 0 }
    }

    pub(super) fn body() -> Self {
        Self { way: Way::Body(None), outbox: Outbox::default(), sent: 0 }
    }

    /// A body becomes a socket, to which all goes that waits. None takes one if the connection is over.
    pub(super) fn become_socket(&mut self, socket: Socket) {
        if let Way::Body(_) = self.way {
            socket.limit_unsent();
            self.way = Way::Socket(socket);
        }
    }

    pub(super) fn is_socket(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// Whether the peer has hung up.
    pub(super) fn has_been_left(&self) -> bool {
        matches!(&self.way, Way::Socket(socket) if socket.has_been_left())
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        let sealed = if let Way::Socket(socket) = &self.way { socket.sealed_bytes() } else { 0 };
        self.outbox.bytes() + sealed
    }

    /// How many bytes have gone out so far.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Sends parts in order: what the kernel takes at once, and the rest by way of the outbox.
    pub(super) fn send_parts(&mut self, parts: &[Part<'_>], outboxes: &Rc<Outboxes>) -> Result<(), Refused> {
        let mut written = match parts {
            [part] => self.write_now(&[IoSlice::new(part.bytes())])?,
            _ => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                slices.iter_mut().zip(parts).for_each(|(slice, part)| *slice = IoSlice::new(part.bytes()));
                self.write_now(&slices[..parts.len().min(SLICES_MAX)])?
            }
        };
        for part in parts {
            let mut rest = *part;
            let gone = written.min(part.end - part.start);
            rest.start += gone;
            written -= gone;
            if rest.start < rest.end {
                self.outbox.hold(rest, outboxes).map_err(Refused::Full)?;
            }
        }
        Ok(())
    }

    /// Sends as many whole messages as the peer takes at once, and returns how many. Of the last one a rest may wait.
    pub(super) fn offer(&mut self, messages: &Joined, outboxes: &Rc<Outboxes>) -> Result<usize, Refused> {
        if !self.outbox.is_empty() {
            return Ok(0);
        }
        if let Way::Body(_) = self.way {
            // Whoever reads the body takes all that is there at once.
            self.outbox.hold_regardless(messages.bytes(), outboxes);
            return Ok(messages.messages());
        }
        let written = self.write_now(&[IoSlice::new(messages.bytes())])?;
        let taken = messages.begun_at(written);
        if taken > 0 {
            self.outbox
                .hold_regardless(&messages.bytes()[written..messages.message(taken - 1).end], outboxes);
        }
        Ok(taken)
    }

    /// Whether there may be room; if not, the session is woken when there is.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> bool {
        match &self.way {
            Way::Socket(socket) => socket.poll_write_ready(cx).is_ready(),
            Way::Body(_) | Way::Closed => true,
        }
    }

    /// Sends bytes that only this connection gets.
    pub(super) fn send(&mut self, bytes: &[u8], outboxes: &Rc<Outboxes>) -> Result<(), Refused> {
        let written = self.write_now(&[IoSlice::new(bytes)])?;
        match &bytes[written..] {
            [] => Ok(()),
            rest => self.outbox.hold_own(rest, outboxes).map_err(Refused::Full),
        }
    }

    /// Keeps what is to be [taken out](Self::pop) together with all else.
    pub(super) fn collect(&mut self, bytes: &[u8], outboxes: &Rc<Outboxes>) {
        self.outbox.hold_regardless(bytes, outboxes);
    }

    /// Sends a connection's last words, which are few, whatever the limits.
    pub(super) fn send_last(&mut self, bytes: &[u8], outboxes: &Rc<Outboxes>) -> Result<(), Refused> {
        let written = self.write_now(&[IoSlice::new(bytes)])?;
        self.outbox.hold_regardless(&bytes[written..], outboxes);
        Ok(())
    }

    /// Makes room for last words: drops every message of which nothing has gone out.
    pub(super) fn drop_unbegun(&mut self) {
        self.outbox.drop_unbegun();
    }

    /// Writes to a socket before which nothing waits; how much it took, which is nothing in all other cases.
    fn write_now(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let Way::Socket(socket) = &mut self.way else { return Ok(0) };
        if !self.outbox.is_empty() {
            return Ok(0);
        }
        match socket.try_write(slices) {
            Ok(count) => {
                self.sent += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(Refused::Broken),
        }
    }

    /// Passes on what waits, as far as the socket takes it. A body is drained by whoever reads it.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        loop {
            if let Way::Socket(socket) = &mut self.way
                && ready!(socket.poll_drain_sealed(cx)).is_err()
            {
                return Poll::Ready(Err(Refused::Broken));
            }
            if self.outbox.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Way::Socket(socket) = &mut self.way else { return Poll::Pending };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.outbox.slices()) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let ready = ready!(socket.poll_write_ready(cx));
            match ready.and_then(|()| socket.try_write(&slices[..count])) {
                Ok(written) => {
                    self.outbox.advance(written);
                    self.sent += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(Refused::Broken)),
            }
        }
    }

    /// Reads once from the socket. `Ready(0)` at its end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        let Way::Socket(socket) = &mut self.way else { return Poll::Ready(0) };
        socket.poll_receive(cx, into).map(|read| read.unwrap_or(0))
    }

    /// The oldest waiting bytes, for the body.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.outbox.pop();
        self.sent += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        bytes
    }

    /// The body has nothing to read; `waker` is woken when that changes.
    pub(super) fn await_more(&mut self, waker: &Waker) {
        if let Way::Body(waiting) = &mut self.way {
            *waiting = Some(waker.clone());
        }
    }

    /// Wakes whoever reads the body.
    pub(super) fn wake_body(&mut self) {
        if let Way::Body(waiting) = &mut self.way
            && let Some(waker) = waiting.take()
        {
            waker.wake();
        }
    }

    /// Says to the peer that nothing more will come; what it sends can still be read.
    pub(super) fn stop_writing(&mut self) {
        if let Way::Socket(socket) = &mut self.way {
            socket.stop_writing();
        }
    }

    /// Ends the socket at once, without regard for what the kernel still holds.
    pub(super) fn abort(&self) {
        if let Way::Socket(socket) = &self.way {
            socket.abort();
        }
    }

    /// Closes the socket, or lets the body come to its end.
    pub(super) fn close(&mut self) {
        self.wake_body();
        if let Way::Socket(socket) = &mut self.way {
            socket.say_goodbye();
        }
        self.way = Way::Closed;
        self.outbox = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

    use super::*;
    use crate::hub::outbox::OutboxLimits;
    use crate::transport::tls::session::TlsSocket;

    /// Both ends of a configuration for `localhost`.
    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(signed.cert.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().unwrap();
        (
            Arc::new(server.with_single_cert(vec![signed.cert.der().clone()], key).unwrap()),
            Arc::new(client.with_root_certificates(roots).with_no_client_auth()),
        )
    }

    #[actix_rt::test]
    async fn what_is_sealed_waits_like_everything_else_and_leaves_in_the_end() {
        let (server, client) = configs();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (read_on, may_read) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let name = ServerName::try_from("localhost").unwrap();
            let session = ClientConnection::new(client, name).unwrap();
            let mut tunnel = StreamOwned::new(session, std::net::TcpStream::connect(address).unwrap());
            tunnel.conn.complete_io(&mut tunnel.sock).unwrap();
            may_read.recv().unwrap();
            let mut got = Vec::new();
            tunnel.read_to_end(&mut got).unwrap();
            got
        });
        let (stream, _) = listener.accept().await.unwrap();
        let tls = TlsSocket::accept(stream, server).await.unwrap();
        let mut exit = Exit::socket(Socket::Tls(Box::new(tls)));
        let outboxes = Outboxes::new(OutboxLimits { bytes: 1 << 30, messages: 1 << 20 });
        let mut sent = Vec::new();
        // Up to the first that the kernel does not take whole: of that one nothing is in the outbox.
        while exit.waiting_bytes() == 0 {
            let message = vec![sent.len() as u8; 10_000];
            assert!(exit.send(&message, &outboxes).is_ok());
            sent.extend_from_slice(&message);
        }
        assert!(exit.outbox.is_empty() && exit.waiting_bytes() <= 10_100, "{}", exit.waiting_bytes());
        let parts = vec![7; 100_000];
        assert!(exit.send(&parts, &outboxes).is_ok());
        sent.extend_from_slice(&parts);
        assert_eq!(exit.outbox.bytes(), parts.len(), "nothing is sealed meanwhile");
        read_on.send(()).unwrap();
        assert!(poll_fn(|cx| exit.poll_drain(cx)).await.is_ok());
        assert_eq!(exit.waiting_bytes(), 0);
        exit.close();
        assert!(reader.join().unwrap() == sent, "every byte arrives, in order, and the end is said");
    }
}
