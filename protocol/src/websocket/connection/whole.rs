//! The short way of nearly all messages: one frame, not compressed, and all of it there.
//! Every other frame goes the long way of `incoming`, which gives each of these the same verdict.

use std::ops::Range;

use super::{Connection, Reading, State};
use crate::websocket::event::{Found, Source};
use crate::websocket::utf8::Utf8;
use crate::websocket::{FRAME_HEADER_BYTES_MAX, FrameHeader, MessageKind, Opcode, Violation, mask};

/// Where its payload stands in the input, and under which mask.
struct Whole {
    kind: MessageKind,
    payload: Range<usize>,
    mask: Option<[u8; 4]>,
}

impl Connection {
    /// Where the payload of the message at the beginning of the input stands, if it can be read where it is: one
    /// frame without a mask, not compressed and all there. What comes behind it is [received](Self::receive) as if that
    /// message had been. For all else, wrong frames included, nothing: it is to be received itself.
    ///
    /// Text has **not** been checked: whoever takes it makes a `str` of it, and so checks it once, and closes with 1007
    /// if that fails.
    #[must_use]
    pub fn peek_message(&self, input: &[u8]) -> Option<(MessageKind, Range<usize>)> {
        let Whole { kind, payload, mask } = self.whole(input).ok()??;
        mask.is_none().then_some((kind, payload))
    }

    /// The message at the beginning of the input with the count of its bytes, if it can go the short way; else nothing
    /// has happened.
    pub(super) fn whole_message(&mut self, input: &mut [u8]) -> Result<Option<(usize, Found)>, Violation> {
        let Some(Whole { kind, payload, mask: key }) = self.whole(input)? else { return Ok(None) };
        let end = payload.end;
        let payload = &mut input[payload];
        if let Some(key) = key {
            let _ = mask(payload, key);
        }
        if kind == MessageKind::Text {
            let mut utf8 = Utf8::default();
            utf8.feed(payload, 0).map_err(|at| Violation::InvalidUtf8 { at })?;
            if !utf8.is_complete() {
                return Err(Violation::TruncatedUtf8 { len: payload.len() });
            }
        }
        Ok(Some((end, Found::Message(kind, Source::Input(payload.len())))))
    }

    fn whole(&self, input: &[u8]) -> Result<Option<Whole>, Violation> {
        let begins = matches!(self.reading, Reading::Header { len: 0, .. });
        if !begins || self.message.is_some() || self.state != State::Open {
            return Ok(None);
        }
        let head = &input[..input.len().min(FRAME_HEADER_BYTES_MAX)];
        let parsed = FrameHeader::parse(head, self.config.role, self.config.reserved_allowed())?;
        let Some((header, header_len)) = parsed else { return Ok(None) };
        let kind = match header.opcode {
            Opcode::Text => MessageKind::Text,
            Opcode::Binary => MessageKind::Binary,
            _ => return Ok(None),
        };
        let (len, there) = (header.payload_len, input.len() - header_len);
        if !header.fin || header.rsv1 || len > there as u64 || len > self.config.message_bytes_max as u64 {
            return Ok(None);
        }
        let payload = header_len..header_len + len as usize;
        Ok(Some(Whole { kind, payload, mask: header.mask }))
    }
}
