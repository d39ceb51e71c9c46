//! One session's connection on its thread: what is said on it, and how it ends. The session reads through it, the fan-out
//! writes through it, and both doors share it: they differ in the exit only. Most speak WebSocket (`websocket`), the others are
//! event streams and long polls (`events`).

mod ending;
mod events;
mod flow;
mod websocket;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use topichub_protocol::codec::Codec;
use topichub_protocol::push::Push;
use topichub_protocol::reply::Reply;
use topichub_protocol::websocket::{Connection, Opcode};

pub(crate) use self::ending::Ending;
use self::ending::Phase;
pub(crate) use self::flow::Flow;
pub(crate) use self::websocket::Terms;
use super::event_stream::EventStream;
use super::event_stream::event::COMMENT;
use super::exit::{Exit, Refused};
use super::socket::Socket;
use crate::hub::joined::Joined;
use crate::hub::outbox::{Outboxes, Part};
use crate::hub::published::Class;
use crate::metrics::figure::{Figure, Side};

/// What a connection has carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) messages_in: u32,
    pub(crate) messages_out: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Gaps that the peer was told of.
    pub(crate) gaps: u32,
}

/// What is spoken.
enum Speech {
    WebSocket(Connection),
    /// Boxed, because nearly all are WebSockets.
    Events(Box<EventStream>),
}

struct State {
    exit: Exit,
    speech: Speech,
    phase: Phase,
    ending: Option<Ending>,
    /// Whether the peer has taken anything of what waits since this was last asked.
    moved: bool,
    /// Of the session that reads from this connection.
    waker: Option<Waker>,
}

/// One connection.
pub(crate) struct Link {
    /// The form in which this peer takes messages.
    class: Class,
    /// Whether anything came from the peer since this was last asked.
    heard: Cell<bool>,
    /// Whether somebody watches that the peer takes what waits.
    watched: Cell<bool>,
    /// Whether somebody watches that the closing comes to its end.
    parting: Cell<bool>,
    /// Whether somebody has more for the peer as soon as there is room.
    awaited: Cell<bool>,
    messages_in: Cell<u32>,
    messages_out: Cell<u32>,
    gaps: Cell<u32>,
    bytes_in: Cell<u64>,
    outboxes: Rc<Outboxes>,
    state: RefCell<State>,
}

impl Link {
    fn new(class: Class, speech: Speech, outboxes: Rc<Outboxes>, exit: Exit) -> Rc<Self> {
        let state = State { exit, speech, phase: Phase::Open, ending: None, moved: false, waker: None };
        Rc::new(Self {
            class,
            heard: Cell::new(true),
            watched: Cell::new(false),
            parting: Cell::new(false),
            awaited: Cell::new(false),
            messages_in: Cell::new(0),
            messages_out: Cell::new(0),
            gaps: Cell::new(0),
            bytes_in: Cell::new(0),
            outboxes,
            state: RefCell::new(state),
        })
    }

    /// Door A: an upgraded socket.
    pub(crate) fn socket(socket: Socket, terms: &Terms, outboxes: Rc<Outboxes>) -> Rc<Self> {
        Self::websocket(terms, outboxes, Exit::socket(socket))
    }

    /// Door B: the body of a response, to be read with [`poll_body`](Self::poll_body).
    pub(crate) fn body(terms: &Terms, outboxes: Rc<Outboxes>) -> Rc<Self> {
        Self::websocket(terms, outboxes, Exit::body())
    }

    pub(crate) fn codec(&self) -> Codec {
        self.class.codec()
    }

    /// The form in which this peer takes messages.
    pub(crate) fn class(&self) -> Class {
        self.class
    }

    /// What it has carried so far.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.state.borrow().exit.sent_bytes(),
            gaps: self.gaps.get(),
        }
    }

    /// Some messages go out.
    pub(crate) fn says(&self, messages: usize) {
        self.messages_out.set(self.messages_out.get().wrapping_add(messages as u32));
        self.outboxes.tally.add(Figure::MESSAGES_OUT, messages as u64);
    }

    /// The peer is told that messages do not come.
    pub(crate) fn misses(&self) {
        self.gaps.set(self.gaps.get().wrapping_add(1));
    }

    /// Whether anything came from the peer since this was last asked.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.replace(false)
    }

    /// Appends a reply as this peer takes it.
    pub(crate) fn reply(&self, reply: &Reply, out: &mut Vec<u8>) {
        match &mut self.state.borrow_mut().speech {
            Speech::WebSocket(_) => self.frame(out, |codec, payload| codec.encode_reply(reply, payload)),
            Speech::Events(stream) => out.append(&mut stream.reply(reply)),
        }
    }

    /// Appends a push as this peer takes it.
    pub(crate) fn push(&self, push: &Push, out: &mut Vec<u8>) {
        match &self.state.borrow().speech {
            Speech::WebSocket(_) => self.frame(out, |codec, payload| codec.encode_push(push, payload)),
            Speech::Events(stream) => out.append(&mut stream.push(push)),
        }
    }

    /// Sends frames of our own making (replies, control frames, the head of the response) if the connection is open.
    pub(crate) fn send(&self, bytes: &[u8]) {
        if self.class == Class::Poll {
            return self.collect([bytes].into_iter());
        }
        self.while_open(|state| state.exit.send(bytes, &self.outboxes));
    }

    /// Sends messages on behalf of the fan-out: writes what the kernel takes and keeps the rest.
    pub(crate) fn write(&self, parts: &[Part<'_>]) {
        self.says(parts.iter().map(Part::messages).sum());
        match self.class {
            Class::EventsOfMany => self.write_events(parts),
            Class::Poll => self.collect(parts.iter().flat_map(Part::each)),
            _ => self.while_open(|state| state.exit.send_parts(parts, &self.outboxes)),
        }
    }

    /// Sends as many of these messages as the peer takes at once, and returns how many. Of the last one a rest may
    /// wait; if not all were taken, [`takes_more`](Self::takes_more) tells when there is room.
    pub(crate) fn offer(&self, messages: &Joined) -> usize {
        let mut taken = messages.messages();
        match self.class {
            Class::EventsOfMany => taken = self.offer_events(messages),
            Class::Poll => self.collect(Part::whole(messages).each()),
            _ => self.while_open(|state| {
                taken = state.exit.offer(messages, &self.outboxes)?;
                Ok(())
            }),
        }
        self.says(taken);
        if taken < messages.messages() {
            self.await_room();
        }
        taken
    }

    /// Sends if the connection is open, and sees to what comes of it.
    fn while_open(&self, send: impl FnOnce(&mut State) -> Result<(), Refused>) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open {
            return;
        }
        let (waited, sent_before) = (state.exit.waiting_bytes() > 0, state.exit.sent_bytes());
        let sent = send(&mut state);
        self.count_sent(&state, sent_before);
        match sent {
            Ok(()) if !waited && state.exit.waiting_bytes() > 0 => state.wake(),
            Ok(()) => {}
            Err(Refused::Broken) => state.end(),
            Err(Refused::Full(full)) => {
                self.give_up_in(&mut state, &full.to_string());
            }
        }
    }

    fn count_sent(&self, state: &State, before: u64) {
        self.outboxes.tally.add(Figure::BYTES_OUT, state.exit.sent_bytes() - before);
    }

    /// Asks the peer for a sign of life, or shows it that the server is alive. Whether it is to answer.
    pub(crate) fn ping(&self) -> bool {
        let mut out = Vec::new();
        let answers = match &mut self.state.borrow_mut().speech {
            Speech::WebSocket(websocket) => {
                websocket.send(Opcode::Ping, b"", &mut out);
                true
            }
            Speech::Events(stream) => {
                out.extend_from_slice(if stream.is_stream() { COMMENT } else { b"" });
                false
            }
        };
        if !out.is_empty() {
            self.send(&out);
        }
        answers
    }

    /// Has the session look again.
    pub(crate) fn wake(&self) {
        self.state.borrow().wake_session();
    }

    /// Passes on what waits, as far as the peer takes it, and finishes a connection that is leaving.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) {
        let mut state = self.state.borrow_mut();
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        let (waited, sent_before) = (state.exit.waiting_bytes(), state.exit.sent_bytes());
        let drained = state.exit.poll_drain(cx);
        self.count_sent(&state, sent_before);
        state.moved |= state.exit.waiting_bytes() < waited;
        let Poll::Ready(drained) = drained else { return };
        match state.phase {
            _ if drained.is_err() => state.end(),
            Phase::Leaving => state.end(),
            Phase::Lingering if state.exit.is_socket() => state.exit.stop_writing(),
            Phase::Lingering => state.end(),
            Phase::Open | Phase::Closing | Phase::Ended => {}
        }
    }

    /// Reads once from the socket. `Ready(0)` at its end.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        self.state.borrow_mut().exit.poll_read(cx, into)
    }

    /// Door B: the next bytes of the response's body, `None` at its end.
    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.borrow_mut();
        if let Some(bytes) = state.exit.pop() {
            self.outboxes.tally.add(Figure::BYTES_OUT, bytes.len() as u64);
            state.moved = true;
            // The session may have stopped reading until some of this is gone.
            state.wake_session();
            return Poll::Ready(Some(bytes));
        }
        match state.phase {
            Phase::Open | Phase::Closing => {
                state.exit.await_more(cx.waker());
                Poll::Pending
            }
            Phase::Leaving | Phase::Lingering | Phase::Ended => {
                state.end();
                Poll::Ready(None)
            }
        }
    }
}

impl State {
    /// Wakes the session, and the body if there is one.
    fn wake(&mut self) {
        self.wake_session();
        self.exit.wake_body();
    }

    fn wake_session(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
