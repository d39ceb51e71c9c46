//! One session's connection on its thread: what is said on it, and how it ends. The session reads through it, the fan-out
//! writes through it, and both doors share it: they differ in the exit only. Most speak WebSocket; what is different about
//! event streams and long polls is in `events`.

mod events;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use topichub_protocol::code::CloseCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::push::{Goodbye, Push};
use topichub_protocol::reply::Reply;
use topichub_protocol::websocket::deflate::{Agreed, Inflaters};
use topichub_protocol::websocket::{ClosedBy, Config, Connection, Event, FrameHeader, MessageKind, Opcode};

use super::event_stream::{COMMENT, EventStream};
use super::exit::{Exit, Refused};
use super::socket::Socket;
use crate::hub::joined::Joined;
use crate::hub::outbox::{Outboxes, Part};
use crate::hub::published::Class;
use crate::metrics::figure::{Figure, NO_CLOSE_FRAME, Side};

/// A batch of the past is sent when no more than this waits for the peer.
const ROOM_BYTES: usize = 16 * 1024;

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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

/// Whether a peer for whom something waits takes any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing waits any more.
    Clear,
    /// It has taken something since this was last asked.
    Moving,
    /// It has taken nothing.
    Stalled,
}

/// What the handshake has settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) codec: Codec,
    pub(crate) deflate: Option<Agreed>,
    pub(crate) message_bytes_max: usize,
}

/// How a connection ended, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Of the first close frame; 1006 without any (RFC 6455 §7.1.5).
    pub(crate) code: u16,
    pub(crate) by: Side,
}

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

    fn websocket(terms: &Terms, outboxes: Rc<Outboxes>, exit: Exit) -> Rc<Self> {
        let mut config = Config::server(terms.message_bytes_max);
        if let Some(agreed) = terms.deflate {
            config = config.with_deflate(agreed);
        }
        let class = match (terms.codec, terms.deflate.is_some()) {
            (Codec::Json, false) => Class::Json,
            (Codec::MsgPack, false) => Class::MsgPack,
            (Codec::Json, true) => Class::JsonDeflate,
            (Codec::MsgPack, true) => Class::MsgPackDeflate,
        };
        Self::new(class, Speech::WebSocket(Connection::new(config)), outboxes, exit)
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

    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().phase == Phase::Ended
    }

    /// Whether all that is left is to end it.
    pub(crate) fn is_about_to_end(&self) -> bool {
        let state = self.state.borrow();
        state.phase == Phase::Ended || state.exit.has_been_left()
    }

    /// How the connection ended; who just hangs up has sent no close frame.
    pub(crate) fn ending(&self) -> Ending {
        self.state.borrow().ending.unwrap_or(Ending { code: NO_CLOSE_FRAME, by: Side::Client })
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

    /// Whether the connection has begun to close. Once said, it is for the caller to [`abort`](Self::abort) it in time.
    pub(crate) fn begins_to_close(&self) -> bool {
        let closes = matches!(self.state.borrow().phase, Phase::Closing | Phase::Leaving | Phase::Lingering);
        closes && !self.parting.replace(true)
    }

    /// Whether anything came from the peer since this was last asked.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.replace(false)
    }

    /// Whether so much waits for the peer that it should take some of it before it says more.
    pub(crate) fn is_clogged(&self) -> bool {
        self.waiting_bytes() > self.outboxes.limits.get().bytes / 2
    }

    /// How many bytes the peer has not taken yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        // What is collected to an answer waits for nobody.
        if self.class == Class::Poll { 0 } else { self.state.borrow().exit.waiting_bytes() }
    }

    /// Whether something has begun to wait for the peer. Once said, it is for the caller to ask for
    /// [`flow`](Self::flow) from time to time, until it is clear.
    pub(crate) fn begins_to_wait(&self) -> bool {
        self.waiting_bytes() > 0 && !self.watched.replace(true)
    }

    /// Whether the peer takes what waits.
    pub(crate) fn flow(&self) -> Flow {
        let moved = std::mem::take(&mut self.state.borrow_mut().moved);
        if self.waiting_bytes() == 0 {
            self.watched.set(false);
            return Flow::Clear;
        }
        if moved { Flow::Moving } else { Flow::Stalled }
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

    /// Appends one frame; `encode` writes its payload.
    fn frame(&self, out: &mut Vec<u8>, encode: impl FnOnce(Codec, &mut Vec<u8>)) {
        let codec = self.codec();
        let opcode = if codec.is_text() { Opcode::Text } else { Opcode::Binary };
        let mut payload = Vec::with_capacity(128);
        encode(codec, &mut payload);
        out.extend_from_slice(&FrameHeader::new(opcode, payload.len()).encode());
        out.append(&mut payload);
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

    /// Whether the peer has taken everything so far.
    pub(crate) fn is_clear(&self) -> bool {
        !self.awaited.get() && self.waiting_bytes() == 0
    }

    /// Whether there is room for more of the past: it goes out by pieces, so that the live messages of other topics
    /// are never far behind.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes() <= ROOM_BYTES
    }

    /// Somebody has more for the peer as soon as there is room.
    pub(crate) fn await_room(&self) {
        if !self.awaited.replace(true) {
            self.state.borrow().wake_session();
        }
    }

    /// Whether there is room for what somebody has; said once for each time that it was awaited.
    pub(crate) fn takes_more(&self, cx: &mut Context<'_>) -> bool {
        if !self.awaited.get() {
            return false;
        }
        let state = self.state.borrow();
        let takes = state.phase == Phase::Open && state.exit.waiting_bytes() == 0 && state.exit.poll_room(cx);
        if takes {
            self.awaited.set(false);
        }
        takes
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

    /// Disconnects a slow consumer: instead of what it would not read it gets the reason, if it reads on in time.
    pub(crate) fn give_up(&self, reason: &str) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            self.give_up_in(&mut state, reason);
        }
    }

    fn give_up_in(&self, state: &mut State, reason: &str) {
        log::debug!("a slow consumer is disconnected: {reason}");
        self.outboxes.tally.add(Figure::SLOW_CONSUMERS, 1);
        state.exit.drop_unbegun();
        self.say_goodbye(state, CloseCode::SlowConsumer, reason, None);
    }

    /// Closes the connection with a `goodbye` and a close frame, and waits for the peer's.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.close_for(code, reason, None);
    }

    /// The same; who comes back is to wait for `after`.
    pub(crate) fn close_for(&self, code: CloseCode, reason: &str, after: Option<Duration>) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            self.say_goodbye(&mut state, code, reason, after);
        }
    }

    fn say_goodbye(&self, state: &mut State, code: CloseCode, reason: &str, after: Option<Duration>) {
        let goodbye = Goodbye { code, reason: reason.to_owned(), after };
        let push = Push::Goodbye(goodbye.clone());
        let mut out = Vec::new();
        let phase = match &mut state.speech {
            Speech::WebSocket(websocket) => {
                self.frame(&mut out, |codec, payload| codec.encode_push(&push, payload));
                websocket.close(code.as_u16(), reason, &mut out);
                Phase::Closing
            }
            Speech::Events(stream) => {
                out = stream.push(&push);
                out = if self.class == Class::Poll { stream.collect(&out).unwrap_or_default() } else { out };
                stream.close(&goodbye);
                Phase::Leaving
            }
        };
        state.ending.get_or_insert(Ending { code: code.as_u16(), by: Side::Server });
        self.says(1);
        self.say_last(state, &out, phase);
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

    /// Ends the connection now, whatever the peer has not taken.
    pub(crate) fn abort(&self) {
        let mut state = self.state.borrow_mut();
        state.exit.abort();
        state.end();
    }

    /// The transport has nothing more to say.
    pub(crate) fn peer_has_gone(&self) {
        self.state.borrow_mut().end();
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

    /// Takes bytes from the peer. Each command in them goes to `command`, which may append frames in answer; all
    /// answers leave together.
    pub(crate) fn receive(
        &self,
        mut input: &mut [u8],
        inflaters: &mut Inflaters,
        mut command: impl FnMut(&[u8], &mut Vec<u8>),
    ) {
        self.heard.set(true);
        self.bytes_in.set(self.bytes_in.get() + input.len() as u64);
        self.outboxes.tally.add(Figure::BYTES_IN, input.len() as u64);
        let mut out = Vec::new();
        while !input.is_empty() {
            let mut state = self.state.borrow_mut();
            if matches!(state.phase, Phase::Leaving | Phase::Lingering | Phase::Ended) {
                return;
            }
            let Speech::WebSocket(websocket) = &mut state.speech else { return };
            let received = websocket.receive_with(input, &mut out, inflaters);
            let consumed = received.consumed;
            match received.event {
                Some(Event::Message { kind, bytes }) if kind == self.kind() => {
                    drop(state);
                    self.messages_in.set(self.messages_in.get().wrapping_add(1));
                    self.outboxes.tally.add(Figure::MESSAGES_IN, 1);
                    command(&bytes, &mut out);
                }
                Some(Event::Message { .. }) => {
                    let name = if self.codec().is_text() { "text" } else { "binary" };
                    let reason = format!("{} goes in {name} frames", self.codec().subprotocol());
                    let _ = state.exit.send_last(&std::mem::take(&mut out), &self.outboxes);
                    self.say_goodbye(&mut state, CloseCode::UnsupportedData, &reason, None);
                }
                Some(Event::Closed(closed)) => {
                    log::debug!("a connection closes: {closed:?}");
                    let lingers = matches!(closed.by, ClosedBy::Violation(_));
                    let by = if lingers { Side::Server } else { Side::Client };
                    state.ending.get_or_insert(Ending { code: closed.code, by });
                    let phase = if lingers { Phase::Lingering } else { Phase::Leaving };
                    return self.say_last(&mut state, &out, phase);
                }
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
            input = &mut input[consumed..];
        }
        if !out.is_empty() {
            self.send(&out);
        }
    }

    /// Sends the last words and goes on to `phase`.
    fn say_last(&self, state: &mut State, bytes: &[u8], phase: Phase) {
        let sent_before = state.exit.sent_bytes();
        let sent = state.exit.send_last(bytes, &self.outboxes);
        self.count_sent(state, sent_before);
        match sent {
            Ok(()) => {
                state.phase = phase;
                state.wake();
            }
            Err(_) => state.end(),
        }
    }

    fn kind(&self) -> MessageKind {
        if self.codec().is_text() { MessageKind::Text } else { MessageKind::Binary }
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

    /// The connection is over: the socket closes now.
    fn end(&mut self) {
        if let Speech::Events(stream) = &mut self.speech {
            stream.end();
        }
        self.exit.close();
        self.phase = Phase::Ended;
        self.wake_session();
    }
}
