//! How a connection ends: who ends it, what is said last, and when the socket closes.

use std::time::Duration;

use topichub_protocol::code::CloseCode;
use topichub_protocol::push::{Goodbye, Push};

use super::{Link, Speech, State};
use crate::hub::published::Class;
use crate::metrics::figure::{Figure, NO_CLOSE_FRAME, Side};

/// How a connection ended, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Of the first close frame; 1006 without any (RFC 6455 §7.1.5).
    pub(crate) code: u16,
    pub(crate) by: Side,
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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

impl Link {
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

    /// Whether the connection has begun to close. Once said, it is for the caller to [`abort`](Self::abort) it in time.
    pub(crate) fn begins_to_close(&self) -> bool {
        let closes = matches!(self.state.borrow().phase, Phase::Closing | Phase::Leaving | Phase::Lingering);
        closes && !self.parting.replace(true)
    }

    /// Disconnects a slow consumer: instead of what it would not read it gets the reason, if it reads on in time.
    pub(crate) fn give_up(&self, reason: &str) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Open {
            self.give_up_in(&mut state, reason);
        }
    }

    pub(super) fn give_up_in(&self, state: &mut State, reason: &str) {
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

    pub(super) fn say_goodbye(
        &self,
        state: &mut State,
        code: CloseCode,
        reason: &str,
        after: Option<Duration>,
    ) {
        let goodbye = Goodbye { code: code.as_u16(), reason: reason.to_owned(), after };
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
                stream.close(code, &goodbye);
                Phase::Leaving
            }
        };
        state.ending.get_or_insert(Ending { code: code.as_u16(), by: Side::Server });
        self.says(1);
        self.say_last(state, &out, phase);
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

    /// Sends the last words and goes on to `phase`.
    pub(super) fn say_last(&self, state: &mut State, bytes: &[u8], phase: Phase) {
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
}

impl State {
    /// The connection is over: the socket closes now.
    pub(super) fn end(&mut self) {
        if let Speech::Events(stream) = &mut self.speech {
            stream.end();
        }
        self.exit.close();
        self.phase = Phase::Ended;
        self.wake_session();
    }
}
