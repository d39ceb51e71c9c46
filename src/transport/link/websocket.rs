//! What is different about the link of a WebSocket: what its handshake has settled, its frames, and that its peer is heard.

use std::rc::Rc;

use topichub_protocol::code::CloseCode;
use topichub_protocol::codec::Codec;
use topichub_protocol::websocket::deflate::{Agreed, Inflaters};
use topichub_protocol::websocket::{ClosedBy, Config, Connection, Event, FrameHeader, MessageKind, Opcode};

use super::super::exit::Exit;
use super::{Ending, Link, Phase, Speech};
use crate::hub::outbox::Outboxes;
use crate::hub::published::Class;
use crate::metrics::figure::{Figure, Side};

/// What the handshake has settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) codec: Codec,
    pub(crate) deflate: Option<Agreed>,
    pub(crate) message_bytes_max: usize,
}

impl Link {
    pub(super) fn websocket(terms: &Terms, outboxes: Rc<Outboxes>, exit: Exit) -> Rc<Self> {
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

    /// Appends one frame; `encode` writes its payload.
    pub(super) fn frame(&self, out: &mut Vec<u8>, encode: impl FnOnce(Codec, &mut Vec<u8>)) {
        let codec = self.codec();
        let opcode = if codec.is_text() { Opcode::Text } else { Opcode::Binary };
        let mut payload = Vec::with_capacity(128);
        encode(codec, &mut payload);
        out.extend_from_slice(&FrameHeader::new(opcode, payload.len()).encode());
        out.append(&mut payload);
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

    pub(super) fn kind(&self) -> MessageKind {
        if self.codec().is_text() { MessageKind::Text } else { MessageKind::Binary }
    }
}
