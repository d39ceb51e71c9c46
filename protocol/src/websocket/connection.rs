//! One endpoint of a WebSocket connection after its handshake: frames become messages, pings are answered, the close
//! handshake is kept, violations end it (RFC 6455 §5–§8). Bytes and their meaning only; who reads and writes them,
//! and when a silent peer is given up, is the caller's.

use std::mem;

use super::event::{Found, Source};
use super::frame::{FrameHeader, NO_CODE, Opcode, encode_close, encode_frame, is_close_code};
use super::utf8::Utf8;
use super::{
    CONTROL_BYTES_MAX, Closed, ClosedBy, Config, FRAME_HEADER_BYTES_MAX, MessageKind, Received, Violation,
    mask,
};

/// The state of one connection. Idle it owns no heap; a partial message or control frame is buffered as far as it
/// has arrived (never as far as it was announced) and handed over or freed at its end.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    reading: Reading,
    message: Option<PartialMessage>,
    /// The payload so far of the message under way; behind it, that of a control frame that came in between.
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// We sent a close frame and wait for the peer's; messages are checked and thrown away.
    Closing,
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Reading {
    /// The beginning of a header.
    Header {
        bytes: [u8; FRAME_HEADER_BYTES_MAX],
        len: u8,
    },
    Payload(Frame),
}

impl Reading {
    const NEXT_FRAME: Self = Self::Header {
        bytes: [0; FRAME_HEADER_BYTES_MAX],
        len: 0,
    };
}

/// A frame whose header has been accepted.
#[derive(Debug, Clone, Copy)]
struct Frame {
    remaining: usize,
    /// As it continues with the next byte.
    mask: Option<[u8; 4]>,
    opcode: Opcode,
    fin: bool,
}

#[derive(Debug, Clone, Copy)]
struct PartialMessage {
    received: usize,
    utf8: Utf8,
    kind: MessageKind,
}

impl Connection {
    /// A connection whose HTTP handshake is complete.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            reading: Reading::NEXT_FRAME,
            message: None,
            buffer: Vec::new(),
            state: State::Open,
        }
    }

    /// Takes bytes from the transport: consumes a beginning of `input` (and unmasks it in place), appends automatic
    /// answers to `out`, and returns at most one event. Call again with the rest until all is consumed; no event is
    /// ever due without a further byte.
    ///
    /// Pings are answered with pongs, a close frame with one of the same code, a violation with a close frame that
    /// says what was wrong. After our own close frame nothing is sent any more, not even pongs: peers take frames
    /// after it for an error.
    pub fn receive<'a>(&mut self, input: &'a mut [u8], out: &mut Vec<u8>) -> Received<'a> {
        let mut consumed = 0;
        while consumed < input.len() && self.state != State::Closed {
            let found = match self.step(&mut input[consumed..], out) {
                Ok((count, found)) => {
                    consumed += count;
                    found
                }
                Err(violation) => {
                    consumed = input.len();
                    Some(Found::Closed(self.fail(violation, out)))
                }
            };
            if let Some(found) = found {
                let event = found.into_event(&input[..consumed]);
                return Received {
                    consumed,
                    event: Some(event),
                };
            }
        }
        Received {
            consumed: input.len(),
            event: None,
        }
    }

    /// Starts the close handshake from our side; see [`encode_close`] for `code` and `reason`. From now on messages
    /// that come in are thrown away and [`Connection::send`] sends nothing; frames the caller encodes itself are its
    /// own duty. Without effect if we sent a close frame before. How long to wait for the answer is the caller's.
    pub fn close(&mut self, code: u16, reason: &str, out: &mut Vec<u8>) {
        if self.state != State::Open {
            return;
        }
        let key = self.config.next_mask();
        encode_close(out, code, reason, key);
        self.state = State::Closing;
        // Of a control frame that is half here we still need the beginning: it may be the peer's close.
        let message_len = self.message.map_or(0, |message| message.received);
        self.buffer.drain(..message_len);
        self.buffer.shrink_to_fit();
    }

    /// Appends a whole frame, masked as our role demands; nothing once a close frame was sent. Not for close frames.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_ne!(opcode, Opcode::Close, "a close frame is sent by `close`");
        if self.state == State::Open {
            let key = self.config.next_mask();
            encode_frame(out, opcode, payload, key);
        }
    }

    /// The transport has ended. `None` if that was due, because [`Event::Closed`](super::Event::Closed) has been delivered; else the
    /// abnormal end, 1006, once.
    pub fn transport_ended(&mut self) -> Option<Closed> {
        if self.state == State::Closed {
            return None;
        }
        self.end();
        Some(Closed {
            code: 1006,
            reason: String::new(),
            by: ClosedBy::Transport,
        })
    }

    /// Whether messages may be sent: no close frame has gone either way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the connection has ended: the transport is to be closed once `out` is sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Bytes of heap held for what is incomplete: at most `message_bytes_max` plus 125 for a control frame, at most
    /// twice what has arrived, and 0 when idle.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Goes on by the rest of one frame or of the input, whichever is shorter; with the event, if any, comes the
    /// count of bytes consumed.
    fn step(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<(usize, Option<Found>), Violation> {
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
        self.reading = if frame.remaining == 0 {
            Reading::NEXT_FRAME
        } else {
            Reading::Payload(frame)
        };

        let found = if frame.opcode.is_control() {
            self.control(frame, chunk, out)?
        } else {
            self.data(frame, chunk)?
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
        let FrameHeader {
            fin,
            opcode,
            mask,
            payload_len,
            ..
        } = header;
        let mut received = 0;
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(Violation::LoneContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::InterleavedMessage),
            (Opcode::Continuation, Some(message)) => received = message.received,
            _ => {}
        }
        let len = payload_len.saturating_add(received as u64);
        let max = self.config.message_bytes_max;
        if !opcode.is_control() && len > max as u64 {
            return Err(Violation::MessageTooLarge { len, max });
        }
        let start = |kind| {
            Some(PartialMessage {
                received: 0,
                utf8: Utf8::default(),
                kind,
            })
        };
        match opcode {
            Opcode::Text => self.message = start(MessageKind::Text),
            Opcode::Binary => self.message = start(MessageKind::Binary),
            _ => {}
        }
        // Lossless: a control frame's length is below 126, a data frame's within the limit, which is a usize.
        Ok(Frame {
            remaining: payload_len as usize,
            mask,
            opcode,
            fin,
        })
    }

    /// A further piece of a data frame; `frame` says what is left of it after that.
    fn data(&mut self, frame: Frame, chunk: &[u8]) -> Result<Option<Found>, Violation> {
        let Some(message) = &mut self.message else {
            debug_assert!(false, "a data frame was accepted outside a message");
            return Ok(None);
        };
        let kind = message.kind;
        if kind == MessageKind::Text {
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
        let most = if frame.fin {
            received + frame.remaining
        } else {
            self.buffer_bytes_max()
        };
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
            Source::Input(_) => chunk,
            Source::Gathered(payload) => payload,
        };
        match frame.opcode {
            Opcode::Close => self
                .peer_closed(payload, out)
                .map(|closed| Some(Found::Closed(closed))),
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
                let reason = std::str::from_utf8(reason).map_err(|error| Violation::InvalidCloseReason {
                    at: error.valid_up_to(),
                })?;
                (code, reason)
            }
        };
        let by = if self.state == State::Open {
            ClosedBy::Peer
        } else {
            ClosedBy::Us
        };
        if by == ClosedBy::Peer {
            let key = self.config.next_mask();
            encode_close(out, code, "", key);
        }
        self.end();
        Ok(Closed {
            code,
            reason: reason.to_owned(),
            by,
        })
    }

    fn fail(&mut self, violation: Violation, out: &mut Vec<u8>) -> Closed {
        let code = violation.close_code();
        if self.state == State::Open {
            let key = self.config.next_mask();
            encode_close(out, code, &violation.to_string(), key);
        }
        self.end();
        Closed {
            code,
            reason: String::new(),
            by: ClosedBy::Violation(violation),
        }
    }

    fn end(&mut self) {
        self.state = State::Closed;
        self.message = None;
        self.buffer = Vec::new();
    }

    fn buffer_bytes_max(&self) -> usize {
        self.config.message_bytes_max.saturating_add(CONTROL_BYTES_MAX)
    }

    /// Buffers what has arrived. Capacity doubles, for an amortised cost per byte, but not beyond `most`: what is
    /// there and may still come.
    fn keep(&mut self, chunk: &[u8], most: usize) {
        let needed = self.buffer.len() + chunk.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(most.min(self.buffer.capacity() * 2));
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(chunk);
    }
}
