//! A compressed message as it arrives (RFC 7692 §7.2.2): inflated at once, measured and checked as inflated.
//! DEFLATE itself is `deflate`'s; frames have been judged before.

use std::mem;

use super::{Connection, Frame, PartialMessage};
use crate::websocket::deflate::{Context, Inflater, Inflaters};
use crate::websocket::event::{Found, Source};
use crate::websocket::utf8::Utf8;
use crate::websocket::{MessageKind, Role, Violation};

/// What a peer that compresses makes necessary.
#[derive(Debug)]
pub(super) struct Compression {
    /// Of the message under way, once some of it has been read.
    pub(super) inflater: Option<Box<Inflater>>,
    /// What the messages before it have said.
    pub(super) context: Context,
}

impl Connection {
    /// A further piece of a compressed message; `frame` says what is left of its frame after that.
    pub(super) fn inflate(
        &mut self,
        frame: Frame,
        chunk: &[u8],
        inflaters: &mut Inflaters,
    ) -> Result<Option<Found>, Violation> {
        let whole = frame.fin && frame.remaining == 0;
        let Some(mut message) = self.message else {
            debug_assert!(false, "a data frame was accepted outside a message");
            return Ok(None);
        };
        if chunk.is_empty() && !whole {
            return Ok(None);
        }
        let new = || Box::new(Compression { inflater: None, context: inflaters.new_context() });
        let mut compression = self.compression.take().unwrap_or_else(new);
        let mut inflater =
            compression.inflater.take().unwrap_or_else(|| inflaters.take(&compression.context));
        inflater.received += chunk.len();
        let scratch = inflaters.scratch_mut();
        let filled = self.inflate_into(scratch, &mut message, &mut inflater, chunk)?;
        if !whole {
            self.keep(&scratch[..filled], self.buffer_bytes_max());
            compression.inflater = Some(inflater);
            (self.message, self.compression) = (Some(message), Some(compression));
            return Ok(None);
        }

        let len = message.received;
        if !inflater.may_end() {
            return Err(Violation::TruncatedCompression { inflated: len });
        }
        inflaters.give_back(inflater);
        if !message.utf8.is_complete() {
            return Err(Violation::TruncatedUtf8 { len });
        }
        self.message = None;
        let source = if self.buffer.is_empty() {
            Source::Scratch(filled)
        } else {
            self.keep(&inflaters.scratch()[..filled], len);
            Source::Gathered(mem::take(&mut self.buffer))
        };
        // A server that was asked for no context takeover has agreed to it (RFC 7692 §7.1.1.1).
        if matches!(self.config.role, Role::Server) {
            compression.context.remember(match &source {
                Source::Gathered(bytes) => bytes,
                _ => &inflaters.scratch()[..filled],
            });
        }
        self.compression = Some(compression);
        Ok(Some(Found::Message(message.kind, source)))
    }

    /// Inflates `chunk` into `scratch`, and that into the buffer whenever it is full. How much of it is filled at
    /// the end is returned.
    fn inflate_into(
        &mut self,
        scratch: &mut [u8],
        message: &mut PartialMessage,
        inflater: &mut Inflater,
        chunk: &[u8],
    ) -> Result<usize, Violation> {
        let max = self.config.message_bytes_max;
        let (mut rest, mut filled) = (chunk, 0);
        loop {
            // One byte more than allowed shows that the message is too large, and nothing is inflated beyond.
            let allowed = max - message.received;
            let room = (scratch.len() - filled).min(allowed.saturating_add(1));
            let inflated = inflater.inflate(rest, &mut scratch[filled..filled + room]);
            rest = &rest[inflated.consumed..];
            let fits = inflated.produced.min(allowed);
            message.check(&scratch[filled..filled + fits])?;
            filled += fits;
            if inflated.produced > fits {
                let len = max as u64 + 1;
                return Err(Violation::MessageTooLarge { len, max });
            }
            if inflated.is_corrupt {
                let inflated = message.received;
                return Err(Violation::CorruptCompression { inflated });
            }
            // A full scratch may hide that there is more to come without further input.
            if filled == scratch.len() {
                self.keep(scratch, self.buffer_bytes_max());
                filled = 0;
            } else if rest.is_empty() {
                return Ok(filled);
            }
        }
    }

    /// Our close frame is out: what is left of a compressed message under way is counted, not read.
    pub(super) fn stop_inflating(&mut self) {
        let inflater = self.compression.take().and_then(|compression| compression.inflater);
        if let Some(message) = self.message.as_mut().filter(|message| message.compressed) {
            message.received = inflater.map_or(0, |inflater| inflater.received);
            message.utf8 = Utf8::default();
        }
    }
}

impl PartialMessage {
    /// Counts the next inflated bytes, and checks them if they must be text.
    fn check(&mut self, inflated: &[u8]) -> Result<(), Violation> {
        if self.kind == MessageKind::Text {
            let checked = self.utf8.feed(inflated, self.received);
            checked.map_err(|at| Violation::InvalidUtf8 { at })?;
        }
        self.received += inflated.len();
        Ok(())
    }
}
