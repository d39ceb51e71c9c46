//! The bytes of a `message` push for the wire, plain and compressed. Who gets which, and that each is made once only,
//! is the hub core's.

use topichub_protocol::codec::Codec;
use topichub_protocol::message::Message;
use topichub_protocol::websocket::deflate::{Deflater, WindowBits};
use topichub_protocol::websocket::{FrameHeader, Opcode};

/// A whole frame with a message.
pub(crate) fn encode(codec: Codec, message: &Message) -> Box<[u8]> {
    let opcode = if codec.is_text() { Opcode::Text } else { Opcode::Binary };
    let mut payload =
        Vec::with_capacity(message.payload.as_bytes().len() + message.topic.as_str().len() + 64);
    codec.encode_message(message, &mut payload);
    let header = FrameHeader::new(opcode, payload.len()).encode();
    let mut frame = Vec::with_capacity(header.len() + payload.len());
    frame.extend_from_slice(&header);
    frame.append(&mut payload);
    frame.into_boxed_slice()
}

/// What compresses frames: one for each thread, and its memory (370 KiB) only once there is something to compress.
pub(crate) struct Encoder {
    bytes_min: usize,
    level: u8,
    deflater: Option<Deflater>,
}

impl Encoder {
    /// Messages shorter than `bytes_min` stay plain. `level` is zlib's.
    pub(crate) fn new(bytes_min: usize, level: u8) -> Self {
        Self { bytes_min, level, deflater: None }
    }

    /// The same frame with its message compressed, for every peer that takes it so; none if it would not be shorter.
    pub(crate) fn compress(&mut self, frame: &[u8]) -> Option<Box<[u8]>> {
        let (opcode, payload) = opened(frame)?;
        if payload.len() < self.bytes_min {
            return None;
        }
        let deflater = self.deflater.get_or_insert_with(|| Deflater::new(self.level, WindowBits::MAX));
        let mut compressed = Vec::new();
        deflater.encode_frame(&mut compressed, opcode, payload, None);
        (compressed.len() < frame.len()).then(|| compressed.into_boxed_slice())
    }
}

/// The kind and the payload of a frame that [`encode`] made.
fn opened(frame: &[u8]) -> Option<(Opcode, &[u8])> {
    let opcode = if frame.first()? & 0x0f == Opcode::Text as u8 { Opcode::Text } else { Opcode::Binary };
    let header_len = match *frame.get(1)? {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    Some((opcode, frame.get(header_len..)?))
}
