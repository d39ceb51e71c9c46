//! The short way of nearly all messages: one frame, not compressed, and all of it there.
//! Every other frame goes the long way of `incoming`, which gives each of these the same verdict.

use super::{Connection, Reading, State};
use crate::websocket::event::{Found, Source};
use crate::websocket::utf8::Utf8;
use crate::websocket::{FRAME_HEADER_BYTES_MAX, FrameHeader, MessageKind, Opcode, Violation, mask};

impl Connection {
    /// The message at the beginning of the input with the count of its bytes, if it can go the short way; else nothing
    /// has happened.
    pub(super) fn whole_message(&mut self, input: &mut [u8]) -> Result<Option<(usize, Found)>, Violation> {
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
        let rest = &mut input[header_len..];
        let len = header.payload_len;
        if !header.fin || header.rsv1 || len > rest.len() as u64 || len > self.config.message_bytes_max as u64
        {
            return Ok(None);
        }
        let payload = &mut rest[..len as usize];
        if let Some(key) = header.mask {
            let _ = mask(payload, key);
        }
        if kind == MessageKind::Text {
            let mut utf8 = Utf8::default();
            utf8.feed(payload, 0).map_err(|at| Violation::InvalidUtf8 { at })?;
            if !utf8.is_complete() {
                return Err(Violation::TruncatedUtf8 { len: payload.len() });
            }
        }
        Ok(Some((header_len + payload.len(), Found::Message(kind, Source::Input(payload.len())))))
    }
}
