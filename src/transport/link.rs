//! One WebSocket connection on its thread: its way out, what waits for its peer, and how it ends. Both doors share it;
//! they differ in the exit only. The session reads through it, the fan-out writes through it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use topichub_protocol::code::CloseCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::push::{Goodbye, Push};
use topichub_protocol::websocket::{ClosedBy, Config, Connection, Event, FrameHeader, MessageKind, Opcode};

use crate::hub::outbox::{Chunk, Outbox, OutboxFull, OutboxLimits, Part};

/// The most slices handed to the kernel in one call.
const SLICES_MAX: usize = 64;

/// Where the bytes go.
enum Exit {
    /// Door A: a socket of our own.
    Socket(TcpStream),
    /// Door B: the body of a streaming response, and who waits for more of it.
    Body(Option<Waker>),
    /// Nowhere any more.
    Gone,
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages flow.
    Open,
    /// We have sent a close frame and wait for the peer's.
    Closing,
    /// All is said. Once the last bytes are out the connection ends at once.
    Leaving,
    /// The peer broke the protocol. Once it has our close frame, what else it sends is thrown away until it hangs up:
    /// hanging up first would reset the connection and could take our close frame along.
    Lingering,
    /// Over.
    Ended,
}

struct State {
    exit: Exit,
    outbox: Outbox,
    websocket: Connection,
    phase: Phase,
    /// Of the session that reads from this connection.
    waker: Option<Waker>,
}

/// One WebSocket connection.
pub(crate) struct Link {
    codec: Codec,
    /// Whether anything came from the peer since this was last asked.
    heard: Cell<bool>,
    limits: OutboxLimits,
    state: RefCell<State>,
}

/// What the peer sent.
pub(crate) enum Incoming<'a> {
    /// One command, in the form of the connection's codec.
    Command(&'a [u8]),
}

impl Link {
    fn new(codec: Codec, limits: OutboxLimits, message_bytes_max: usize, exit: Exit) -> Rc<Self> {
        let state = State {
            exit,
            outbox: Outbox::default(),
            websocket: Connection::new(Config::server(message_bytes_max)),
            phase: Phase::Open,
            waker: None,
        };
        Rc::new(Self { codec, heard: Cell::new(true), limits, state: RefCell::new(state) })
    }

    /// Door A: an upgraded socket.
    pub(crate) fn socket(
        stream: TcpStream,
        codec: Codec,
        limits: OutboxLimits,
        message_bytes_max: usize,
    ) -> Rc<Self> {
        Self::new(codec, limits, message_bytes_max, Exit::Socket(stream))
    }

    /// Door B: the body of a response, to be read with [`poll_body`](Self::poll_body).
    pub(crate) fn body(codec: Codec, limits: OutboxLimits, message_bytes_max: usize) -> Rc<Self> {
        Self::new(codec, limits, message_bytes_max, Exit::Body(None))
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// Whether anything came from the peer since this was last asked.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.replace(false)
    }

    /// Appends one frame of this connection's kind to `out`; `encode` writes its payload.
    pub(crate) fn frame(codec: Codec, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
        let opcode = if codec.is_text() { Opcode::Text } else { Opcode::Binary };
        let mut payload = Vec::with_capacity(128);
        encode(&mut payload);
        out.extend_from_slice(&FrameHeader::new(opcode, payload.len()).encode());
        out.append(&mut payload);
    }

    /// Sends frames of our own making (replies, control frames, the head of the response) if the connection is open.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            let full = state.push_own(bytes, &self.limits);
            self.settle(&mut state, full);
        }
    }

    /// Sends messages on behalf of the fan-out: writes what the kernel takes and keeps the rest.
    pub(crate) fn write(&self, parts: &[Part<'_>]) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            let full = state.push(parts, &self.limits);
            self.settle(&mut state, full);
        }
    }

    /// Deals with a slow consumer.
    fn settle(&self, state: &mut State, pushed: Result<(), OutboxFull>) {
        if let Err(full) = pushed {
            log::debug!("a slow consumer is disconnected: {full}");
            // Instead of what the peer would not read it gets the reason, if it reads on in time.
            state.outbox.drop_unbegun();
            self.say_goodbye(state, CloseCode::SlowConsumer, &full.to_string());
        }
    }

    /// Closes the connection with a `goodbye` and a close frame, and waits for the peer's.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            self.say_goodbye(&mut state, code, reason);
        }
    }

    fn say_goodbye(&self, state: &mut State, code: CloseCode, reason: &str) {
        let mut out = Vec::new();
        let goodbye = Push::Goodbye(Goodbye { code, reason: reason.to_owned(), after: None });
        Self::frame(self.codec, &mut out, |payload| self.codec.encode_push(&goodbye, payload));
        state.websocket.close(code.as_u16(), reason, &mut out);
        state.push_last(&out);
        state.set_phase(Phase::Closing);
    }

    /// Asks the peer for a sign of life.
    pub(crate) fn ping(&self) {
        let mut out = Vec::new();
        self.state.borrow_mut().websocket.send(Opcode::Ping, b"", &mut out);
        self.send(&out);
    }

    /// Ends the connection now, whatever the peer has not taken.
    pub(crate) fn abort(&self) {
        let mut state = self.state.borrow_mut();
        if let Exit::Socket(stream) = &state.exit {
            let socket = SockRef::from(stream);
            // Without this the kernel would keep unread bytes for minutes on behalf of a peer that reads nothing.
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        state.end();
    }

    /// Passes on what waits in the outbox, as far as the socket takes it, and finishes a connection that is leaving.
    /// `Pending` while bytes wait.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        while !state.outbox.is_empty() {
            let Exit::Socket(stream) = &state.exit else { return Poll::Pending };
            match ready!(stream.poll_write_ready(cx)).and_then(|()| state.write_outbox()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    state.end();
                    return Poll::Ready(());
                }
            }
        }
        match state.phase {
            Phase::Leaving => state.end(),
            Phase::Lingering => {
                if let Exit::Socket(stream) = &state.exit {
                    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
                } else {
                    state.end();
                }
            }
            _ => {}
        }
        Poll::Ready(())
    }

    /// Whether so much waits for the peer that it should take some of it before it says more.
    pub(crate) fn is_clogged(&self) -> bool {
        self.state.borrow().outbox.bytes() > self.limits.bytes / 2
    }

    /// Reads once from the socket. `Ready(0)` at its end.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        let state = self.state.borrow();
        let Exit::Socket(stream) = &state.exit else { return Poll::Ready(0) };
        loop {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(0);
            }
            match stream.try_read(into) {
                Ok(count) => return Poll::Ready(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(0),
            }
        }
    }

    /// Takes bytes from the peer. Each command in them goes to `command`, which may append frames in answer; all
    /// answers leave together.
    pub(crate) fn receive(&self, mut input: &mut [u8], mut command: impl FnMut(Incoming<'_>, &mut Vec<u8>)) {
        self.heard.set(true);
        let mut out = Vec::new();
        while !input.is_empty() {
            let mut state = self.state.borrow_mut();
            if matches!(state.phase, Phase::Leaving | Phase::Lingering | Phase::Ended) {
                return;
            }
            let (consumed, event) = {
                // The event borrows from this stretch of the input only.
                let received = state.websocket.receive(input, &mut out);
                (received.consumed, received.event)
            };
            match event {
                Some(Event::Message { kind, bytes }) if kind == self.kind() => {
                    drop(state);
                    command(Incoming::Command(&bytes), &mut out);
                }
                Some(Event::Message { .. }) => {
                    let _ = state.push_own(&out, &self.limits);
                    out.clear();
                    let reason = format!("{} goes in {} frames", self.codec.subprotocol(), self.kind_name());
                    self.say_goodbye(&mut state, CloseCode::UnsupportedData, &reason);
                }
                Some(Event::Closed(closed)) => {
                    state.push_last(&out);
                    let lingers = matches!(closed.by, ClosedBy::Violation(_));
                    state.set_phase(if lingers { Phase::Lingering } else { Phase::Leaving });
                    log::debug!("a connection closes: {closed:?}");
                    return;
                }
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
            input = &mut input[consumed..];
        }
        if !out.is_empty() {
            self.send(&out);
        }
    }

    /// The transport has nothing more to say.
    pub(crate) fn peer_has_gone(&self) {
        self.state.borrow_mut().end();
    }

    fn kind(&self) -> MessageKind {
        if self.codec.is_text() { MessageKind::Text } else { MessageKind::Binary }
    }

    fn kind_name(&self) -> &'static str {
        if self.codec.is_text() { "text" } else { "binary" }
    }

    /// Door B: the next bytes of the response's body, `None` at its end.
    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.borrow_mut();
        if let Some(bytes) = state.outbox.pop() {
            // The session may have stopped reading until some of this is gone.
            if let Some(waker) = &state.waker {
                waker.wake_by_ref();
            }
            return Poll::Ready(Some(bytes));
        }
        match state.phase {
            Phase::Leaving | Phase::Lingering => state.end(),
            Phase::Open | Phase::Closing => {}
            Phase::Ended => return Poll::Ready(None),
        }
        if state.phase == Phase::Ended {
            return Poll::Ready(None);
        }
        state.exit = Exit::Body(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl State {
    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.wake();
    }

    /// Wakes the session, and the body if there is one.
    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        if let Exit::Body(waker) = &mut self.exit
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }

    /// The connection is over: the socket closes now.
    fn end(&mut self) {
        let exit = std::mem::replace(&mut self.exit, Exit::Gone);
        if let Exit::Body(Some(waker)) = exit {
            waker.wake();
        }
        self.outbox = Outbox::default();
        self.set_phase(Phase::Ended);
    }

    fn push_own(&mut self, bytes: &[u8], limits: &OutboxLimits) -> Result<(), OutboxFull> {
        let rest = match self.try_write(&[IoSlice::new(bytes)]) {
            Ok(written) => &bytes[written..],
            Err(_) => return Ok(()),
        };
        if rest.is_empty() {
            return Ok(());
        }
        let chunk = Rc::new(Chunk::single(Bytes::copy_from_slice(rest)));
        self.hold(Part::whole(&chunk), limits)
    }

    /// The last words: whatever the limits, they are few.
    fn push_last(&mut self, bytes: &[u8]) {
        if let Ok(written) = self.try_write(&[IoSlice::new(bytes)])
            && written < bytes.len()
        {
            let chunk = Rc::new(Chunk::single(Bytes::copy_from_slice(&bytes[written..])));
            self.outbox.hold_regardless(Part::whole(&chunk));
            self.wake();
        }
    }

    fn push(&mut self, parts: &[Part<'_>], limits: &OutboxLimits) -> Result<(), OutboxFull> {
        let mut written = 0;
        if self.outbox.is_empty() {
            let result = match parts {
                [part] => self.try_write(&[IoSlice::new(part.bytes())]),
                _ => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let count = parts.len().min(SLICES_MAX);
                    slices.iter_mut().zip(parts).for_each(|(slice, part)| *slice = IoSlice::new(part.bytes()));
                    self.try_write(&slices[..count])
                }
            };
            match result {
                Ok(count) => written = count,
                Err(_) => return Ok(()),
            }
        }
        for part in parts {
            let mut part = *part;
            let gone = written.min(part.end - part.start);
            part.start += gone;
            written -= gone;
            if part.start < part.end {
                self.hold(part, limits)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, part: Part<'_>, limits: &OutboxLimits) -> Result<(), OutboxFull> {
        let first = self.outbox.is_empty();
        self.outbox.hold(part, limits)?;
        if first {
            self.wake();
        }
        Ok(())
    }

    /// Writes to a socket with an empty outbox; how much it took, which is nothing at other times and exits. An error
    /// has ended the connection.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Exit::Socket(stream) = &self.exit else { return Ok(0) };
        if !self.outbox.is_empty() {
            return Ok(0);
        }
        let result = match slices {
            [slice] => stream.try_write(slice),
            _ => stream.try_write_vectored(slices),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => {
                self.end();
                Err(error)
            }
            Ok(count) => Ok(count),
        }
    }

    fn write_outbox(&mut self) -> io::Result<()> {
        let Exit::Socket(stream) = &self.exit else { return Ok(()) };
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(self.outbox.slices()) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let written = stream.try_write_vectored(&slices[..count])?;
        self.outbox.advance(written);
        Ok(())
    }
}
