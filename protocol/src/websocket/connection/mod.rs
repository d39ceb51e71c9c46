//! One endpoint of a WebSocket connection after its handshake: frames become messages, pings are answered, the close
//! handshake is kept, violations end it (RFC 6455 §5–§8). Bytes and their meaning only; who reads and writes them,
//! and when a silent peer is given up, is the caller's.

mod compressed;
mod incoming;
mod whole;

use self::compressed::Compression;
use super::deflate::{Deflater, INFLATER_BYTES, Inflaters};
use super::frame::{Opcode, encode_close, encode_frame};
use super::utf8::Utf8;
use super::{Closed, ClosedBy, Config, FRAME_HEADER_BYTES_MAX, MessageKind, Received};

/// The state of one connection. Idle it owns no heap, unless its peer has sent compressed messages (then what they said
/// is remembered, see [`deflate`](super::deflate)); a partial message or control frame is buffered as far as it
/// has arrived (never as far as it was announced) and handed over or freed at its end. A compressed message is
/// inflated as it arrives, and what is buffered of it is inflated; the inflater is borrowed.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    reading: Reading,
    message: Option<PartialMessage>,
    /// The payload so far of the message under way; behind it, that of a control frame that came in between.
    buffer: Vec<u8>,
    /// Once the peer has sent a compressed message.
    compression: Option<Box<Compression>>,
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
    const NEXT_FRAME: Self = Self::Header { bytes: [0; FRAME_HEADER_BYTES_MAX], len: 0 };
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
    /// Bytes of the message so far: inflated ones if it is compressed and will be delivered, else those of its frames.
    received: usize,
    utf8: Utf8,
    kind: MessageKind,
    compressed: bool,
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
            compression: None,
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
    ///
    /// Compressed messages, if they were agreed on, are understood too, but each makes its own inflater: see
    /// [`Connection::receive_with`].
    pub fn receive<'a>(&mut self, input: &'a mut [u8], out: &mut Vec<u8>) -> Received<'a> {
        let mut inflaters = Inflaters::new();
        let (consumed, found) = self.advance(input, out, &mut inflaters);
        let found = found.map(|found| found.without_scratch(inflaters.scratch()));
        let event = found.map(|found| found.into_event(&input[..consumed], &[]));
        Received { consumed, event }
    }

    /// [`Connection::receive`] for a connection on which compressed messages were agreed: they are inflated with
    /// `inflaters`, of which a thread needs one for all its connections. A short message that is whole in the input
    /// is inflated and delivered without an allocation; it is borrowed from `inflaters`.
    ///
    /// The size of a message is limited while it is inflated, however well it is compressed, and text is refused at
    /// the first byte that is no UTF-8, without waiting for the rest. After our own close frame compressed messages
    /// are thrown away unread.
    pub fn receive_with<'a>(
        &mut self,
        input: &'a mut [u8],
        out: &mut Vec<u8>,
        inflaters: &'a mut Inflaters,
    ) -> Received<'a> {
        let (consumed, found) = self.advance(input, out, inflaters);
        let event = found.map(|found| found.into_event(&input[..consumed], inflaters.scratch()));
        Received { consumed, event }
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
        self.stop_inflating();
    }

    /// Appends a whole frame, masked as our role demands; nothing once a close frame was sent. Not for close frames.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_ne!(opcode, Opcode::Close, "a close frame is sent by `close`");
        if self.state == State::Open {
            let key = self.config.next_mask();
            encode_frame(out, opcode, payload, key);
        }
    }

    /// [`Connection::send`] for a message that is to be compressed, which must have been agreed on. What many peers get
    /// is made once with [`Deflater::encode_frame`] instead.
    pub fn send_deflated(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Vec<u8>,
        deflater: &mut Deflater,
    ) {
        debug_assert!(self.config.deflate.is_some(), "compression was not agreed on");
        if self.state == State::Open {
            let key = self.config.next_mask();
            deflater.encode_frame(out, opcode, payload, key);
        }
    }

    /// The transport has ended. `None` if that was due, because [`Event::Closed`](super::Event::Closed) has been delivered; else the
    /// abnormal end, 1006, once.
    pub fn transport_ended(&mut self) -> Option<Closed> {
        if self.state == State::Closed {
            return None;
        }
        self.end();
        Some(Closed { code: 1006, reason: String::new(), by: ClosedBy::Transport })
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
    /// twice what has arrived (inflated), and 0 when idle. A compressed message under way adds [`INFLATER_BYTES`].
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let inflates = self.compression.as_ref().is_some_and(|compression| compression.inflater.is_some());
        self.buffer.capacity() + if inflates { INFLATER_BYTES } else { 0 }
    }

    /// Bytes of heap held for what the peer's next compressed message may refer to: at most 32 KiB and a few.
    #[must_use]
    pub fn remembered_bytes(&self) -> usize {
        self.compression
            .as_ref()
            .map_or(0, |compression| size_of::<Compression>() + compression.context.bytes())
    }
}
