//! What arrives, from bytes to events: headers are judged, payloads unmasked and gathered, control frames answered.
//! How a compressed message is read is `compressed`'s.

use std::mem;

use super::{Connection, Frame, PartialMessage, Reading, State};
use crate::websocket::deflate::Inflaters;
use crate::websocket::event::{Found, Source};
use crate::websocket::frame::{NO_CODE, encode_close, encode_frame};
use crate::websocket::utf8::Utf8;
use crate::websocket::{
    CONTROL_BYTES_MAX, Closed, ClosedBy, FRAME_HEADER_BYTES_MAX, FrameHeader, MessageKind, Opcode, Violation,
    is_close_code, mask,
};

impl Connection {
    /// Goes on to the next event or the end of the input, and says how much of it that took.
    pub(super) fn advance(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        inflaters: &mut Inflaters,
    ) -> (usize, Option<Found>) {
        match self.whole_message(input) {
            Ok(None) => {}
            Ok(Some((count, found))) => return (count, Some(found)),
            Err(violation) => return (input.len(), Some(Found::Closed(self.fail(violation, out)))),
        }
        let mut consumed = 0;
        while consumed < input.len() && self.state != State::Closed {
            match self.step(&mut input[consumed..], out, inflaters) {
                Ok((count, None)) => consumed += count,
                Ok((count, found)) => return (consumed + count, found),
                Err(violation) => return (input.len(), Some(Found::Closed(self.fail(violation, out)))),
            }
        }
        (input.len(), None)
    }

    /// Goes on by the rest of one frame or of the input, whichever is shorter; with the event, if any, comes the
    /// count of bytes consumed.
    fn step(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        inflaters: &mut Inflaters,
    ) -> Result<(usize, Option<Found>), Violation> {
        let (mut frame, header_len) = match self.reading {
            Reading::Payload(frame) => (frame, 0),
            Reading::Header { bytes, len } => match self.read_header(bytes, len, input)? {
                Some((frame, header_len)) => (frame, header_len),
                None => return Ok((input.len(), None)),
            },
        };
        let payload = &mut input[header_len..];
        let here = payload.len().min(frame.remaining);
        let chunk = &mut payload[..here];
        frame.mask = frame.mask.map(|key| mask(chunk, key));
        frame.remaining -= here;
        self.reading = if frame.remaining == 0 { Reading::NEXT_FRAME } else { Reading::Payload(frame) };

        let found = if frame.opcode.is_control() {
            self.control(frame, chunk, out)?
        } else {
            self.data(frame, chunk, inflaters)?
        };
        Ok((header_len + here, found))
    }

    /// Reads the header that begins in `bytes[..len]` and goes on in `input`, of which it returns how much it took.
    fn read_header(
        &mut self,
        mut bytes: [u8; FRAME_HEADER_BYTES_MAX],
        len: u8,
        input: &[u8],
    ) -> Result<Option<(Frame, usize)>, Violation> {
        let before = usize::from(len);
        let here = before + input.len().min(FRAME_HEADER_BYTES_MAX - before);
        bytes[before..here].copy_from_slice(&input[..here - before]);

        let (role, reserved_allowed) = (self.config.role, self.config.reserved_allowed());
        let Some((header, header_len)) = FrameHeader::parse(&bytes[..here], role, reserved_allowed)? else {
            let len = here as u8;
            self.reading = Reading::Header { bytes, len };
            return Ok(None);
        };
        Ok(Some((self.accept(header)?, header_len - before)))
    }

    /// The checks of a header that depend on what came before.
    fn accept(&mut self, header: FrameHeader) -> Result<Frame, Violation> {
        let FrameHeader { fin, rsv1, opcode, mask, payload_len } = header;
        let begins = |kind| PartialMessage { received: 0, utf8: Utf8::default(), kind, compressed: rsv1 };
        let message = match (opcode, self.message) {
            (Opcode::Continuation, None) => return Err(Violation::LoneContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::InterleavedMessage),
            (Opcode::Continuation, message) => message,
            (Opcode::Text, None) => Some(begins(MessageKind::Text)),
            (Opcode::Binary, None) => Some(begins(MessageKind::Binary)),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => None,
        };
        if let Some(message) = message {
            self.check_length(message, payload_len)?;
            self.message = Some(message);
        }
        // Lossless: a control frame's length is below 126, a data frame's within the limit, which is a usize.
        Ok(Frame { remaining: payload_len as usize, mask, opcode, fin })
    }

    /// Whether `message` may go on by a frame of this length.
    fn check_length(&self, message: PartialMessage, payload_len: u64) -> Result<(), Violation> {
        let inflater = self.compression.as_ref().and_then(|compression| compression.inflater.as_ref());
        let received = inflater.map_or(message.received, |inflater| inflater.received);
        let len = payload_len.saturating_add(received as u64);
        let max = if message.compressed {
            self.config.compressed_bytes_max()
        } else {
            self.config.message_bytes_max
        };
        if len <= max as u64 {
            return Ok(());
        }
        Err(if message.compressed {
            Violation::CompressedTooLarge { len, max }
        } else {
            Violation::MessageTooLarge { len, max }
        })
    }

    /// A further piece of a data frame; `frame` says what is left of it after that.
    fn data(
        &mut self,
        frame: Frame,
        chunk: &[u8],
        inflaters: &mut Inflaters,
    ) -> Result<Option<Found>, Violation> {
        let Some(message) = &mut self.message else {
            debug_assert!(false, "a data frame was accepted outside a message");
            return Ok(None);
        };
        let kind = message.kind;
        if message.compressed && self.state == State::Open {
            return self.inflate(frame, chunk, inflaters);
        }
        if kind == MessageKind::Text && !message.compressed {
            let checked = message.utf8.feed(chunk, message.received);
            checked.map_err(|at| Violation::InvalidUtf8 { at })?;
        }
        message.received += chunk.len();
        let received = message.received;
        let whole = frame.fin && frame.remaining == 0;
        if whole && !message.utf8.is_complete() {
            return Err(Violation::TruncatedUtf8 { len: received });
        }
        if whole {
            self.message = None;
        }
        if self.state == State::Closing {
            return Ok(None);
        }
        if whole && self.buffer.is_empty() {
            return Ok(Some(Found::Message(kind, Source::Input(chunk.len()))));
        }
        let most = if frame.fin { received + frame.remaining } else { self.buffer_bytes_max() };
        self.keep(chunk, most);
        Ok(whole.then(|| Found::Message(kind, Source::Gathered(mem::take(&mut self.buffer)))))
    }

    /// A further piece of a control frame; `frame` says what is left of it after that.
    fn control(&mut self, frame: Frame, chunk: &[u8], out: &mut Vec<u8>) -> Result<Option<Found>, Violation> {
        // While we are closing, the message under way is not kept.
        let message_len = match (&self.message, self.state) {
            (Some(message), State::Open) => message.received,
            _ => 0,
        };
        let split = self.buffer.len() > message_len;
        if split || frame.remaining > 0 {
            self.keep(chunk, self.buffer_bytes_max());
        }
        if frame.remaining > 0 {
            return Ok(None);
        }
        let source = match (split, message_len) {
            (false, _) => Source::Input(chunk.len()),
            (true, 0) => Source::Gathered(mem::take(&mut self.buffer)),
            (true, _) => Source::Gathered(self.buffer.split_off(message_len)),
        };
        let payload = match &source {
            Source::Gathered(payload) => payload,
            _ => chunk,
        };
        match frame.opcode {
            Opcode::Close => self.peer_closed(payload, out).map(|closed| Some(Found::Closed(closed))),
            _ if self.state == State::Closing => Ok(None),
            Opcode::Ping => {
                let key = self.config.next_mask();
                encode_frame(out, Opcode::Pong, payload, key);
                Ok(Some(Found::Ping(source)))
            }
            _ => Ok(Some(Found::Pong(source))),
        }
    }

    fn peer_closed(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<Closed, Violation> {
        let (code, reason) = match payload.split_first_chunk::<2>() {
            None => (NO_CODE, ""),
            Some((code, reason)) => {
                let code = u16::from_be_bytes(*code);
                if !is_close_code(code) {
                    return Err(Violation::InvalidCloseCode { code });
                }
                let reason = std::str::from_utf8(reason)
                    .map_err(|error| Violation::InvalidCloseReason { at: error.valid_up_to() })?;
                (code, reason)
            }
        };
        let by = if self.state == State::Open { ClosedBy::Peer } else { ClosedBy::Us };
        if by == ClosedBy::Peer {
            let key = self.config.next_mask();
            encode_close(out, code, "", key);
        }
        self.end();
        Ok(Closed { code, reason: reason.to_owned(), by })
    }

    fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) -> Closed {
        let code = violation.close_code();
        if self.state == State::Open {
            let key = self.config.next_mask();
            encode_close(out, code, &violation.to_string(), key);
        }
        self.end();
        Closed { code, reason: String::new(), by: ClosedBy::Violation(violation) }
    }

    pub(super) fn end(&mut self) {
        self.state = State::Closed;
        self.message = None;
        self.buffer = Vec::new();
        self.compression = None;
    }

    pub(super) fn buffer_bytes_max(&self) -> usize {
        self.config.message_bytes_max.saturating_add(CONTROL_BYTES_MAX)
    }

    /// Buffers what has arrived. Capacity doubles, for an amortised cost per byte, but not beyond `most`: what is
    /// there and may still come.
    pub(super) fn keep(&mut self, chunk: &[u8], most: usize) {
        let needed = self.buffer.len() + chunk.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(most.min(self.buffer.capacity() * 2));
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(chunk);
    }
}
